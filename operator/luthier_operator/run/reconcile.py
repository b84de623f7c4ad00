"""Observe, decide, act, write status: the one way in which a resource moves on."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from luthier_api.platform import Platform
from luthier_api.runsettings import RunSettings
from luthier_api.runstatus import RunStatus
from luthier_operator.cluster import RUN_PAGE_BYTES, Cluster
from luthier_operator.conditions import find
from luthier_operator.errors import ApiError, Refusal, classify, refusal_of
from luthier_operator.events import Recorder
from luthier_operator.pace import Pace
from luthier_operator.patches import merge_diff
from luthier_operator.reports import Reports
from luthier_operator.resources import (
    CONFIG_MAPS,
    FINE_TUNE_JOBS,
    JOB_SETS,
    JOBS,
    KIND_LABEL,
    PODS,
    QUEUE_LABEL,
    ROLE_LABEL,
    UID_LABEL,
    WORKLOADS,
    Key,
    Obj,
    Resource,
    key_of,
    label_of,
)
from luthier_operator.run import adoption, scheduling
from luthier_operator.run.actions import Action, Delete, Ensure, Patch
from luthier_operator.run.build import handed_over, name_label
from luthier_operator.run.carriers import CARRIERS
from luthier_operator.run.concurrency import (
    LOOK_SECONDS,
    POOL_FULL,
    QUOTA_EXCEEDED,
    TOO_MANY_RUNS,
    Slots,
)
from luthier_operator.run.decide import Plan
from luthier_operator.run.departure import Artifacts, Departure, is_held
from luthier_operator.run.enquiry import Enquiry, Warnings
from luthier_operator.run.events import ConditionEvent, transitions
from luthier_operator.run.kueue import Admission, parse_admission
from luthier_operator.run.model import AnyObserved, Around, Observed, have_ended, newest_of_each
from luthier_operator.run.taken import taken_in
from luthier_operator.run.workload import job_end
from luthier_operator.store import Store

log = logging.getLogger(__name__)

# Of the pods that carry a run's labels only so many are asked for.
MOST_PODS = 500
# A change that was refused is tried again after so long.
UNPATCHED_SECONDS = 60.0
# It is found out within this time whether the cluster has JobSet, and what there is of it.
JOBSET_SECONDS = 2.0
_CREATED = {it.kind: it for it in (CONFIG_MAPS, JOBS, JOB_SETS)}
# How long a Job may take to tell what its pod's end means: in a rush its controller has much to do.
ENDING_SECONDS = 30.0


@dataclass
class _Memory:
    """What is worth keeping between reconciliations of one resource; losing it is harmless."""

    uid: str
    enquiry: Enquiry = field(default_factory=Enquiry)
    refusals: int = 0
    unpatched: bool = False  # the API server refused a change
    ended: tuple[str, float] = ("", 0.0)  # the pod that has ended the run, and when that was seen

    def until_ended(self, pod: str, clock: float) -> float:
        """Seconds within which the Job of a pod that has ended is to say so.

        When it ended is by its node's clock, which may be off: it counts since when it was seen.
        """
        if self.ended[0] != pod:
            self.ended = (pod, clock)
        return self.ended[1] + ENDING_SECONDS - clock


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
    events: tuple[ConditionEvent, ...] = ()
    # Of a kind whose artifacts may go with their resource.
    artifacts: Artifacts[Observed[KindSpec, KindStatus, KindSources]] | None = None


class Optional(Protocol):
    """What is known of kinds that a cluster may lack (watches.py)."""

    def want(self, resource: Resource) -> None:
        """Watch it from now on, once it is there."""

    def installed(self, resource: Resource) -> bool | None:
        """Whether it is there; None: not known yet."""

    def served(self, resource: Resource) -> Resource | None:
        """It, in the version that is served."""

    def watched(self, resource: Resource, namespace: str) -> bool | None:
        """Whether it is there; None: that, or what there is of it, isn't known yet."""


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
        optional: Optional,
        pace: Pace,
        *,
        slots: Slots,
        warnings: Warnings,
        written: Callable[[Resource, Obj], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`written` is told of each status that says more than progress."""
        self._kind = kind
        self._resource = kind.resource
        self._cluster = cluster
        self._store = store
        self._reports = reports
        self._recorder = recorder
        self._platform = platform
        self._optional = optional
        self._pace = pace
        self._slots = slots
        self._written = written
        self._clock = clock
        self._now = now
        self._warnings = warnings
        self._memories: dict[Key, _Memory] = {}
        self._departure = (
            Departure(kind.resource, kind.artifacts, cluster, store, recorder)
            if kind.artifacts is not None
            else None
        )

    async def __call__(self, key: Key) -> float | None:
        """Bring one resource forward. Returns seconds until it wants to be looked at again.

        Raises ApiError or ApiUnreachableError where trying again with backoff is right.
        """
        obj = self._store.get(self._resource, key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            # Its children go by their owner references.
            self._memories.pop(key, None)
            self._reports.drop(self._resource, key)
            self._pace.drop(self._resource, key)
            self._slots.leave(self._resource, key)
            if obj is None or self._departure is None or not is_held(obj):
                return None
            leaving = self._look(key, obj, _Memory(obj["metadata"]["uid"]))
            return await self._departure.see_off(obj, leaving)
        memory = self._memories.get(key)
        if memory is None or memory.uid != obj["metadata"]["uid"]:
            memory = self._memories[key] = _Memory(obj["metadata"]["uid"])

        observed = await self._observe(key, obj, memory)
        if observed.jobset is None and _has_several_nodes(observed):
            return JOBSET_SECONDS
        plan = self._kind.decide(observed)
        if _lacks_result(observed, plan):
            # The Job's end may be seen before its pod's, which holds the result.
            await self._fetch_pods(key[0], memory.uid)
            observed = self._look(key, obj, memory)
            plan = self._kind.decide(observed)
        waits = self._slots.admit(self._resource, obj, starts=plan.starts)
        if waits is not None:
            plan = replace(plan, actions=tuple(it for it in plan.actions if isinstance(it, Delete)))
        if plan.created or any(isinstance(it, Ensure) for it in plan.beside):
            # The fence: neither a ghost nor a namesake gets a Job, nor a spec of yesterday.
            live = await self._cluster.get(self._resource, key)
            if live is None or live["metadata"]["uid"] != memory.uid:
                self._store.remove(self._resource, obj)
            if live is None:
                return None
            if self._store.put(self._resource, live):
                return 0.0
        # Before there is anything that it is to hold the resource for.
        held = self._departure is None or await self._departure.hold(obj, observed)
        memory.unpatched = not held
        refused = await self._act(obj, plan.actions, memory) or waits
        unsent = await self._send(obj, plan.beside, memory)
        if plan.starts and waits is None:
            self._slots.settle(self._resource, obj, refused)
        if plan.created and refused is None:
            self._pace.begin(self._resource, key)
            observed = self._look(key, obj, memory)
            plan = self._kind.decide(observed)
        ending = _ending(observed, plan)
        if ending and (left := memory.until_ended(ending, self._clock())) > 0:
            return left
        status = self._kind.compute(observed, replace(plan, unsent=unsent), refused)
        return _soonest(
            await self._write_status(obj, observed, status),
            _retry_refused(memory, refused or next(iter(unsent.values()), None)),
            UNPATCHED_SECONDS if memory.unpatched else None,
            plan.again,
            scheduling.until_overdue(observed),
            memory.enquiry.due(observed, self._clock()),
        )

    async def _observe(
        self, key: Key, obj: Obj, memory: _Memory
    ) -> Observed[KindSpec, KindStatus, KindSources]:
        observed = self._look(key, obj, memory)
        if await memory.enquiry.ask(self._warnings, observed, self._clock()):
            observed = self._look(key, obj, memory)
        return observed

    async def _fetch_pods(self, namespace: str, uid: str) -> None:
        """Pods as they are now: page by page into the store, which trims.

        Whoever may create pods may label any number of any size so. Those of the kind's label are
        what the admission policy bounds, and what the watch tells anyhow.
        """
        read = 0
        ours = f"{UID_LABEL}={uid},{KIND_LABEL}"
        pages = self._cluster.pages(PODS, namespace, labels=ours, most_bytes=RUN_PAGE_BYTES)
        async for page, _ in pages:
            for pod in page:
                self._store.put(PODS, pod)
            read += len(page)
            if read >= MOST_PODS:
                break

    def _look(
        self, key: Key, obj: Obj, memory: _Memory
    ) -> Observed[KindSpec, KindStatus, KindSources]:
        received = self._reports.get(self._resource, key)
        jobs = self._store.children(JOBS, key[0], memory.uid)
        job_sets = self._store.children(JOB_SETS, key[0], memory.uid)
        around = Around(
            jobs=jobs,
            pods=self._store.children(PODS, key[0], memory.uid),
            namesakes=self._store.pods_for(self._resource.kind, key[0], name_label(key[1])),
            report=received.report if received else None,
            notes=memory.enquiry.notes,
            admission=self._admission([*jobs, *job_sets]),
            kueue=self._optional.installed(WORKLOADS),
            platform=self._platform,
            now=self._now(),
            look_up=lambda name: self._store.get(FINE_TUNE_JOBS, (key[0], name)),
            jobset=self._optional.watched(JOB_SETS, key[0]),
            job_sets=job_sets,
            taken=lambda: list(taken_in(self._store, key[0])),
        )
        return self._kind.observe(obj, around)

    def _admission(self, jobs: list[Obj]) -> Admission | None:
        """Kueue's Workload of the Job or JobSet that goes on. Watched once there is a use."""
        if any(label_of(job, QUEUE_LABEL) or job["spec"].get("suspend") for job in jobs):
            self._optional.want(WORKLOADS)
        served = self._optional.served(WORKLOADS)
        for job in sorted(jobs, key=lambda it: str(it["metadata"].get("creationTimestamp"))):
            if job_end(job["status"].get("conditions") or []) is not None:
                continue
            metadata = job["metadata"]
            of_it = self._store.children(WORKLOADS, metadata["namespace"], metadata["uid"])
            if served is not None and of_it:
                return parse_admission(served, of_it[0])
        return None

    async def _act(self, obj: Obj, actions: tuple[Action, ...], memory: _Memory) -> Refusal | None:
        """Carry out actions, in their order; what the API server refused of them."""
        made: list[Obj] = []
        for action in actions:
            match action:
                case Delete(resource, target, why):
                    await self._cluster.delete(resource, target)
                    self._log("deleted", obj, resource, target, why)
                case Patch(resource, target, changes, why):
                    patched = await self._patch(obj, resource, target, changes, why)
                    memory.unpatched |= not patched
                case Ensure(wanted):
                    try:
                        made.append(await self._create(obj, wanted))
                    except ApiError as error:
                        if (refusal := refusal_of(error)) is None:
                            raise
                        log.warning("refused %s reason=%s", self._who(obj), refusal.reason)
                        return refusal
        for config_map in made[:-1]:
            await self._cluster.patch(CONFIG_MAPS, config_map, handed_over(config_map, made[-1]))
        return None

    async def _send(
        self, obj: Obj, errands: tuple[Action, ...], memory: _Memory
    ) -> dict[str, Refusal]:
        """Carry out what is done about errands, of which none holds up another; what the API server
        refused of them, by their roles."""
        unsent: dict[str, Refusal] = {}
        for action in errands:
            refusal = await self._act(obj, (action,), memory)
            if refusal is not None and isinstance(action, Ensure):
                unsent[label_of(action.obj, ROLE_LABEL) or ""] = refusal
        return unsent

    async def _patch(
        self, obj: Obj, resource: Resource, target: Obj, changes: Obj, why: str
    ) -> bool:
        """Whether the API server took a change. One that it refuses (a webhook, a right that is
        lacking) holds up nothing else of the resource."""
        try:
            self._store.put(resource, await self._cluster.patch(resource, target, changes))
        except ApiError as error:
            if classify(error) == "retry":
                raise
            name = target["metadata"]["name"]
            log.warning("not patched %s child=%s (%s): %s", self._who(obj), name, why, error)
            return False
        self._log("patched", obj, resource, target, why)
        return True

    def _log(self, done: str, obj: Obj, resource: Resource, target: Obj, why: str) -> None:
        kind, name = resource.kind.lower(), target["metadata"]["name"]
        log.info("%s %s %s child=%s: %s", kind, done, self._who(obj), name, why)

    async def _create(self, obj: Obj, child: Obj) -> Obj:
        resource = _CREATED[child["kind"]]
        name = child["metadata"]["name"]
        try:
            created = await self._cluster.create(resource, child)
            log.info("%s created %s child=%s", child["kind"].lower(), self._who(obj), name)
        except ApiError as error:
            if error.status != 409:
                raise
            # There already: ours from before a restart, or somebody else's.
            found = await self._cluster.get(resource, key_of(child))
            if found is None or adoption.is_leaving(child, found):
                raise
            if problem := adoption.obstacle(obj, child, found):
                raise ApiError(422, "NameTaken", problem) from error
            created = found
        if resource in CARRIERS:
            self._store.put(resource, created)
        return created

    async def _write_status(
        self,
        obj: Obj,
        observed: Observed[KindSpec, KindStatus, KindSources],
        status: KindStatus,
    ) -> float | None:
        before, previous = obj.get("status") or {}, observed.previous
        key = key_of(obj)
        changes = merge_diff(before, status.to_json())
        if not changes:
            self._pace.up_to_date(self._resource, key)
            return None
        settling = self._pace.until_settled(self._resource, key)
        if status.phase == "Pending" and settling > 0 and not _is_held(status):
            return settling
        material = self._kind.essence(previous) != self._kind.essence(status)
        if not _is_step(previous, status):
            wait = self._pace.turn(self._resource, key, material=material)
            if wait > 0:
                return wait
        try:
            answer = await self._cluster.patch_status(self._resource, obj, changes)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            return await self._catch_up(obj)
        self._pace.up_to_date(self._resource, key)
        self._store.put(self._resource, answer)
        if status.completion_time is not None:
            self._reports.close(self._resource, key)
        if material:
            self._written(self._resource, answer)
        if (previous.phase, previous.revision) != (status.phase, status.revision):
            who, phase = self._who(obj), status.phase
            log.info("phase %s phase=%s revision=%s", who, phase, status.revision)
        for note in transitions(previous, status, self._kind.events):
            self._recorder.emit(self._resource, obj, note)
        # What is done about an end, or about what is in use, waits for its record, and the own
        # write wakes nobody.
        return 0.0 if _awaited(status) != _awaited(previous) else None

    async def _catch_up(self, obj: Obj) -> float | None:
        """The store was behind the API server: take the live object, and look again."""
        live = await self._cluster.get(self._resource, key_of(obj))
        if live is None:
            self._store.remove(self._resource, obj)
            return None
        self._store.put(self._resource, live)
        return 0.0

    def _who(self, obj: Obj) -> str:
        metadata = obj["metadata"]
        kind = self._resource.kind
        return f"kind={kind} namespace={metadata['namespace']} name={metadata['name']}"


def _has_several_nodes(observed: AnyObserved) -> bool:
    return observed.spec is not None and observed.spec.placement.nodes > 1


def _is_step(previous: RunStatus, status: RunStatus) -> bool:
    """Whether the run itself came to another point of its life, as Job, pods and spec say."""
    return any(
        getattr(previous, name) != getattr(status, name)
        for name in ("observed_generation", "phase", "revision", "attempt", "job_name")
    )


def _awaited(status: RunStatus) -> tuple[object, ...]:
    """What of a status something is done about."""
    return status.completion_time, status.in_use, getattr(status, "kept", None)


def _is_held(status: RunStatus) -> bool:
    """Whether something holds the run back that its user should hear of at once."""
    scheduled = find(status.conditions, "Scheduled")
    if scheduled is None or scheduled.status == "True":
        return False
    return scheduled.reason != scheduling.WAITING.reason


def _lacks_result(observed: AnyObserved, plan: Plan) -> bool:
    """Whether the Job has ended, its end isn't on record, and no pod of it is known to have."""
    if plan.job is None or plan.job.end is None or plan.ended:
        return False
    pods = observed.pods_of(plan.job)
    return not pods or any(pod.alive for pod in newest_of_each(pods))


def _ending(observed: AnyObserved, plan: Plan) -> str | None:
    """The uid of the last pod where it has just ended the run, and its Job will say so in a moment.

    A status of this moment would show a restart that never comes, and cost a write.
    """
    job = plan.job
    if job is None or job.end is not None or job.deleting:
        return None
    pods = observed.pods_of(job)
    return pods[-1].uid if have_ended(pods, job.parts) else None


def _retry_refused(memory: _Memory, refused: Refusal | None) -> float | None:
    memory.refusals = memory.refusals + 1 if refused else 0
    if refused is None:
        return None
    if refused.reason in (TOO_MANY_RUNS, POOL_FULL):
        return LOOK_SECONDS
    most = LOOK_SECONDS if refused.reason == QUOTA_EXCEEDED else 60.0
    return min(most, 2.0 ** min(memory.refusals, 9))


def _soonest(*delays: float | None) -> float | None:
    return min((delay for delay in delays if delay is not None), default=None)
