"""Observe, decide, act, write status: the one way in which a resource moves on."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from luthier_api.platform import Platform
from luthier_api.result import TERMINAL_EXIT_CODES
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import RunStatus
from luthier_operator.cluster import Cluster
from luthier_operator.errors import ApiError, Refusal, refusal_of
from luthier_operator.events import Recorder
from luthier_operator.patches import merge_diff
from luthier_operator.reports import Reports
from luthier_operator.resources import (
    CONFIG_MAPS,
    FINE_TUNE_JOBS,
    JOBS,
    OWNERS,
    PODS,
    UID_LABEL,
    Key,
    Obj,
    Resource,
    controller_uid,
    key_of,
)
from luthier_operator.run.decide import Plan
from luthier_operator.run.enquiry import Enquiry
from luthier_operator.run.events import Told, transitions
from luthier_operator.run.model import AnyObserved, Around, Observed
from luthier_operator.store import Store

log = logging.getLogger(__name__)

# Status writes that only carry progress: at least this far apart for one run …
PROGRESS_SECONDS = 5.0
# … and about this many a second for all runs together.
PROGRESS_WRITES_PER_SECOND = 20.0
# How long a Job may take to tell what its pod's end means; the look in between.
ENDING_PATIENCE_SECONDS = 10.0
ENDING_SECONDS = 1.0


@dataclass
class _Memory:
    """What is worth keeping between reconciliations of one resource; losing it is harmless."""

    uid: str
    wrote: float = float("-inf")
    refusals: int = 0
    enquiry: Enquiry = field(default_factory=Enquiry)


KindSpec = TypeVar("KindSpec", bound=RunSettings)
KindStatus = TypeVar("KindStatus", bound=RunStatus)
KindSources = TypeVar("KindSources")


@dataclass(frozen=True)
class Kind(Generic[KindSpec, KindStatus, KindSources]):
    """What is a kind's own: pure functions, and which conditions are worth an Event."""

    resource: Resource
    observe: Callable[[Obj, Around], Observed[KindSpec, KindStatus, KindSources]]
    decide: Callable[[Observed[KindSpec, KindStatus, KindSources]], Plan]
    compute: Callable[
        [Observed[KindSpec, KindStatus, KindSources], Plan, Refusal | None], KindStatus
    ]
    # What of a status is more than progress: a change of it is written at once.
    essence: Callable[[KindStatus], object]
    told: tuple[Told, ...] = ()


class Reconciler(Generic[KindSpec, KindStatus, KindSources]):
    """Reconciles one resource of a kind at a time; the queue sees to that."""

    def __init__(
        self,
        kind: Kind[KindSpec, KindStatus, KindSources],
        cluster: Cluster,
        store: Store,
        reports: Reports,
        recorder: Recorder,
        platform: Platform,
        *,
        written: Callable[[Resource, Obj], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`written` is told of each status that says more than progress."""
        self._kind = kind
        self._resource = kind.resource
        self._cluster = cluster
        self._store = store
        self._reports = reports
        self._recorder = recorder
        self._platform = platform
        self._written = written
        self._clock = clock
        self._memories: dict[Key, _Memory] = {}

    async def __call__(self, key: Key) -> float | None:
        """Bring one resource forward. Returns seconds until it wants to be looked at again.

        Raises ApiError or ApiUnreachableError where trying again with backoff is right.
        """
        obj = self._store.get(self._resource, key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            # Its children go by their owner references.
            self._memories.pop(key, None)
            self._reports.drop(self._resource, key)
            return None
        memory = self._memories.get(key)
        if memory is None or memory.uid != obj["metadata"]["uid"]:
            memory = self._memories[key] = _Memory(obj["metadata"]["uid"])

        observed = await self._observe(key, obj, memory)
        plan = self._kind.decide(observed)
        if plan.create:
            # The fence: neither a ghost nor a namesake gets a Job, nor a spec of yesterday.
            live = await self._cluster.get(self._resource, key)
            if live is None or live["metadata"]["uid"] != memory.uid:
                self._store.remove(self._resource, obj)
            if live is None:
                return None
            if self._store.put(self._resource, live):
                return 0.0
        refused = await self._act(obj, plan)
        if plan.create and refused is None:
            observed = self._look(key, obj, memory)
            plan = self._kind.decide(observed)
        if _is_ending(observed, plan):
            return ENDING_SECONDS
        status = self._kind.compute(observed, plan, refused)
        return _soonest(
            await self._write_status(obj, observed, status, memory),
            _retry_refused(memory, refused),
            memory.enquiry.due(observed, self._clock()),
        )

    async def _observe(
        self, key: Key, obj: Obj, memory: _Memory
    ) -> Observed[KindSpec, KindStatus, KindSources]:
        observed = self._look(key, obj, memory)
        if await memory.enquiry.ask(self._cluster, observed, self._clock()):
            observed = self._look(key, obj, memory)
        if _lacks_result(observed):
            # The Job's end may be seen before its pod's, which holds the result.
            pods, _ = await self._cluster.list_all(PODS, key[0], labels=f"{UID_LABEL}={memory.uid}")
            for pod in pods:
                self._store.put(PODS, pod)
            observed = self._look(key, obj, memory)
        return observed

    def _look(
        self, key: Key, obj: Obj, memory: _Memory
    ) -> Observed[KindSpec, KindStatus, KindSources]:
        received = self._reports.get(self._resource, key)
        around = Around(
            jobs=self._store.children(JOBS, memory.uid),
            pods=self._store.children(PODS, memory.uid),
            report=received.report if received else None,
            notes=memory.enquiry.notes,
            workload=memory.enquiry.workload,
            platform=self._platform,
            now=datetime.now(UTC),
            look_up=lambda name: self._store.get(FINE_TUNE_JOBS, (key[0], name)),
        )
        return self._kind.observe(obj, around)

    async def _act(self, obj: Obj, plan: Plan) -> Refusal | None:
        for job in plan.delete:
            await self._cluster.delete(JOBS, job.obj)
            log.info("job deleted %s job=%s revision=%s", self._who(obj), job.name, job.revision)
        if plan.patch is not None and plan.job is not None:
            self._store.put(JOBS, await self._cluster.patch(JOBS, plan.job.obj, plan.patch))
            log.info("job patched %s job=%s %s", self._who(obj), plan.job.name, plan.patch["spec"])
        for child in plan.create:
            try:
                await self._create(obj, child)
            except ApiError as error:
                if (refusal := refusal_of(error)) is None:
                    raise
                log.warning("job refused %s reason=%s", self._who(obj), refusal.reason)
                return refusal
        return None

    async def _create(self, obj: Obj, child: Obj) -> None:
        resource = JOBS if child["kind"] == "Job" else CONFIG_MAPS
        name = child["metadata"]["name"]
        try:
            created = await self._cluster.create(resource, child)
            log.info("%s created %s child=%s", child["kind"].lower(), self._who(obj), name)
        except ApiError as error:
            if error.status != 409:
                raise
            # There already: ours from before a restart, or somebody else's.
            found = await self._cluster.get(resource, key_of(child))
            if found is None:
                raise
            if controller_uid(found) != obj["metadata"]["uid"]:
                raise ApiError(
                    422, "NameTaken", f"{child['kind']} {name} exists and belongs to another owner"
                ) from error
            created = found
        if resource == JOBS:
            self._store.put(JOBS, created)

    async def _write_status(
        self,
        obj: Obj,
        observed: Observed[KindSpec, KindStatus, KindSources],
        status: KindStatus,
        memory: _Memory,
    ) -> float | None:
        before, previous = obj.get("status") or {}, observed.previous
        changes = merge_diff(before, status.to_json())
        if not changes:
            return None
        now = self._clock()
        material = self._kind.essence(previous) != self._kind.essence(status)
        if not material:
            due = memory.wrote + self._progress_interval()
            if now < due:
                return due - now
        try:
            answer = await self._cluster.patch_status(self._resource, obj, changes)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return await self._catch_up(obj)
        memory.wrote = now
        self._store.put(self._resource, answer)
        if material:
            self._written(self._resource, answer)
        if (previous.phase, previous.revision) != (status.phase, status.revision):
            who, phase = self._who(obj), status.phase
            log.info("phase %s phase=%s revision=%s", who, phase, status.revision)
        for note in transitions(previous, status, self._kind.told):
            self._recorder.emit(self._resource, obj, note)
        return None

    async def _catch_up(self, obj: Obj) -> float | None:
        """The store was behind the API server: take the live object, and look again."""
        live = await self._cluster.get(self._resource, key_of(obj))
        if live is None:
            self._store.remove(self._resource, obj)
            return None
        self._store.put(self._resource, live)
        return 0.0

    def _progress_interval(self) -> float:
        running = sum(
            1
            for resource in OWNERS
            for _, obj in self._store.all(resource)
            if (obj.get("status") or {}).get("phase") == "Running"
        )
        return max(PROGRESS_SECONDS, running / PROGRESS_WRITES_PER_SECOND)

    def _who(self, obj: Obj) -> str:
        metadata = obj["metadata"]
        kind = self._resource.kind
        return f"kind={kind} namespace={metadata['namespace']} name={metadata['name']}"


def _lacks_result(observed: AnyObserved) -> bool:
    """Whether a Job has ended, its end isn't on record, and no pod of it is known to have."""
    previous = observed.previous
    for job in observed.jobs:
        recorded = (previous.revision, previous.attempt) == (job.revision, job.attempt)
        if job.end is None or (recorded and previous.completion_time is not None):
            continue
        pods = [pod for pod in observed.pods if pod.job_uid == job.uid]
        if not pods or pods[-1].alive:
            return True
    return False


def _is_ending(observed: AnyObserved, plan: Plan) -> bool:
    """Whether the last pod has just ended the run, and its Job will say so in a moment.

    A status of this moment would show a restart that never comes, and cost a write.
    """
    job = plan.job
    if job is None or job.end is not None or job.deleting:
        return False
    pods = [pod for pod in observed.pods if pod.job_uid == job.uid]
    if not pods or pods[-1].alive or pods[-1].exit_code not in (0, *TERMINAL_EXIT_CODES):
        return False
    try:
        ended = datetime.fromisoformat(pods[-1].finished or "")
    except ValueError:
        return False
    return (observed.now - ended).total_seconds() < ENDING_PATIENCE_SECONDS


def _retry_refused(memory: _Memory, refused: Refusal | None) -> float | None:
    memory.refusals = memory.refusals + 1 if refused else 0
    return min(60.0, 2.0 ** min(memory.refusals, 6)) if refused else None


def _soonest(*delays: float | None) -> float | None:
    return min((delay for delay in delays if delay is not None), default=None)
