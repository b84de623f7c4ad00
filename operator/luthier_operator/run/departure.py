"""A resource that is being deleted, and whose artifacts go with it (`deletionPolicy: Delete`).

Its finalizer holds it until what runs has stopped and an errand has deleted them. Each way ends in
bounded time with the finalizer gone; where something stays in storage, an Event says what and why.
The errand's Job has no owner: with foreground deletion, the garbage collector would delete it
before it has begun. It is found by its name.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from luthier_api import reasons
from luthier_api.result import KeepResult
from luthier_operator.cluster import RUN_PAGE_BYTES, Cluster
from luthier_operator.errors import ApiError, creation_reason, refusal_of
from luthier_operator.events import Recorder
from luthier_operator.resources import (
    ARTIFACTS_FINALIZER,
    JOBS,
    PODS,
    UID_LABEL,
    Obj,
    Resource,
    key_of,
    label_of,
)
from luthier_operator.run import policy
from luthier_operator.run.adoption import is_the_same
from luthier_operator.run.errands import NOTHING, Wanted, errand_job
from luthier_operator.run.events import Note
from luthier_operator.run.model import AnyObserved
from luthier_operator.run.observe import parse_pod, parse_result
from luthier_operator.run.workload import job_end
from luthier_operator.store import Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
REFUSED_SECONDS = 10.0
# Beyond the errand's own deadline: for what runs to stop, and for a quota to have room.
PATIENCE_SECONDS = 900

ObservedT = TypeVar("ObservedT", bound=AnyObserved)


@dataclass(frozen=True)
class Artifacts(Generic[ObservedT]):
    """What a kind says of artifacts that go with their resource."""

    wanted: Callable[[ObservedT], bool]  # whether they do
    errand: Callable[[ObservedT], Wanted | None]  # what deletes them; None where there are none


class Departure(Generic[ObservedT]):
    """Sees resources of a kind off."""

    def __init__(
        self,
        resource: Resource,
        artifacts: Artifacts[ObservedT],
        cluster: Cluster,
        store: Store,
        recorder: Recorder,
    ) -> None:
        self._resource = resource
        self._artifacts = artifacts
        self._cluster = cluster
        self._store = store
        self._recorder = recorder

    async def hold(self, obj: Obj, observed: ObservedT) -> bool:
        """Set or remove the finalizer as the spec says; False where the API server refuses."""
        wanted = self._artifacts.wanted(observed)
        if observed.spec is None or wanted == is_held(obj):
            return True
        try:
            await self._set(obj, held=wanted)
        except ApiError as error:
            if error.status != 403:
                raise
            log.warning("finalizer not set %s: %s", key_of(obj), error)
            return False
        return True

    async def see_off(self, obj: Obj, observed: ObservedT) -> float | None:
        """Bring the deletion forward; seconds until it is to be looked at again."""
        spec, platform = observed.spec, observed.platform
        if spec is not None and not self._artifacts.wanted(observed):
            return await self._let_go(obj, None)
        late = _is_overdue(obj, observed)
        if not late and await self._stop(observed):
            return LOOK_SECONDS
        if spec is None:
            return await self._let_go(obj, _stays("its spec can't be read"))
        denied = policy.check(spec, NOTHING, observed.owner.namespace, platform)
        if denied is not None:
            return await self._let_go(obj, _stays(denied.message))
        try:
            wanted = self._artifacts.errand(observed)
            if wanted is None:
                return await self._let_go(obj, None)
            job = errand_job(observed.owner, spec, platform, wanted, outlives=True)
        except LookupError:
            return await self._let_go(obj, _stays("luthier.yaml has no pool for errands"))
        return await self._delete(obj, wanted.order.output, job, late=late)

    async def _delete(self, obj: Obj, folder: str, job: Obj, *, late: bool) -> float | None:
        """Run the errand to its end."""
        found = await self._cluster.get(JOBS, key_of(job))
        if found is None:
            if late:
                return await self._let_go(obj, _stays("there was no time for it", folder))
            return await self._create(obj, folder, job)
        if not is_the_same(job, found):
            name = job["metadata"]["name"]
            return await self._let_go(obj, _stays(f"there is another Job {name}", folder))
        end = job_end((found.get("status") or {}).get("conditions") or [])
        if end is None and not late:
            return LOOK_SECONDS
        result = await self._result(found)
        await self._cluster.delete(JOBS, found)
        if end is not None and end.complete:
            count = f", {len(result.deleted)} revisions" if result and result.deleted else ""
            return await self._let_go(obj, Note("ArtifactsDeleted", f"Deleted: {folder}{count}."))
        if result is not None and result.error is not None:
            why = result.error.message
        else:
            why = f"{end.reason}: {end.message}" if end else "the errand didn't end in time"
        return await self._let_go(obj, _stays(why, folder))

    async def _create(self, obj: Obj, folder: str, job: Obj) -> float | None:
        # The fence: what has gone meanwhile gets no errand again.
        live = await self._cluster.get(self._resource, key_of(obj))
        if live is None or live["metadata"]["uid"] != obj["metadata"]["uid"] or not is_held(live):
            self._store.remove(self._resource, obj)
            return None
        try:
            await self._cluster.create(JOBS, job)
        except ApiError as error:
            if error.status == 409:
                return LOOK_SECONDS
            refusal = refusal_of(error)
            if refusal is None:
                raise
            ending = creation_reason(error.message) == reasons.NAMESPACE_TERMINATING
            if ending or refusal.terminal:
                return await self._let_go(obj, _stays(refusal.message, folder))
            return REFUSED_SECONDS
        log.info("errand created %s child=%s", key_of(obj), job["metadata"]["name"])
        return LOOK_SECONDS

    async def _stop(self, observed: ObservedT) -> bool:
        """Delete what runs; whether something of it is still there."""
        going = [(it.resource, it.obj) for it in observed.jobs if not it.deleting]
        going += [(JOBS, it.obj) for it in observed.errands if not it.deleting]
        for resource, obj in going:
            await self._cluster.delete(resource, obj)
        running = any(pod.alive for pod in observed.pods)
        return bool(observed.jobs or observed.errands or running)

    async def _result(self, job: Obj) -> KeepResult | None:
        """What its newest pod said."""
        labels = f"{UID_LABEL}={label_of(job, UID_LABEL)},job-name={job['metadata']['name']}"
        pages = self._cluster.pages(PODS, key_of(job)[0], labels=labels, most_bytes=RUN_PAGE_BYTES)
        pods = []
        async for page, _ in pages:
            pods += [parse_pod(pod) for pod in page]
            break
        pods.sort(key=lambda pod: (pod.created, pod.name))
        told = (parse_result(KeepResult, pod.message) for pod in reversed(pods) if pod.message)
        return next((it for it in told if it is not None), None)

    async def _let_go(self, obj: Obj, note: Note | None) -> float | None:
        """Its finalizer goes, and so does it; nothing is looked at again."""
        if note is not None:
            level = logging.WARNING if note.warning else logging.INFO
            log.log(level, "deleted %s: %s", key_of(obj), note.message)
            self._recorder.emit(self._resource, obj, note)
        await self._set(obj, held=False)
        return None

    async def _set(self, obj: Obj, *, held: bool) -> None:
        """The finalizer, among those of others; ApiError 409 where somebody changed them."""
        live = await self._cluster.get(self._resource, key_of(obj))
        if live is None or live["metadata"]["uid"] != obj["metadata"]["uid"]:
            self._store.remove(self._resource, obj)
            return
        found = live["metadata"].get("finalizers") or []
        others = [it for it in found if it != ARTIFACTS_FINALIZER]
        metadata = {
            "uid": obj["metadata"]["uid"],
            "resourceVersion": live["metadata"]["resourceVersion"],
            "finalizers": [*others, *([ARTIFACTS_FINALIZER] if held else [])],
        }
        answer = await self._cluster.patch(self._resource, live, {"metadata": metadata})
        if metadata["finalizers"] or "deletionTimestamp" not in live["metadata"]:
            self._store.put(self._resource, answer)
        else:
            self._store.remove(self._resource, obj)


def is_held(obj: Obj) -> bool:
    """Whether it has our finalizer."""
    return ARTIFACTS_FINALIZER in (obj["metadata"].get("finalizers") or [])


def _is_overdue(obj: Obj, observed: AnyObserved) -> bool:
    since = datetime.fromisoformat(obj["metadata"]["deletionTimestamp"])
    most = observed.platform.errands.deadline_seconds + PATIENCE_SECONDS
    return (observed.now - since).total_seconds() > most


def _stays(why: str, folder: str = "its folder") -> Note:
    words = (
        f"What the resource has made stays in storage ({folder}), although deletionPolicy is "
        f"Delete: {why}. Delete it there."
    )
    return Note("ArtifactsKept", words, warning=True)
