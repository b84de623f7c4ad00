"""A resource whose artifacts go with it: each way ends, with the finalizer gone."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest
from unit.operator.builders import NOW, ended, job_of, observed, platform, pod_of
from unit.operator.jobset_support import inner_of, job_set_of, node_of
from unit.operator.promotion_support import Life

from luthier_operator.cluster import Cluster
from luthier_operator.errors import ApiError
from luthier_operator.events import Note, Recorder
from luthier_operator.finetunejob.keeping import deletion, is_to_delete
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.resources import (
    ARTIFACTS_FINALIZER,
    FINE_TUNE_JOBS,
    JOB_SETS,
    JOBS,
    PODS,
    Resource,
)
from luthier_operator.run.departure import LOOK_SECONDS, REFUSED_SECONDS, Artifacts, Departure
from luthier_operator.store import Store

FOLDER = "s3://artifacts/models/team/tone"
TERMINATING = 'jobs is forbidden: unable to create: namespace "team" is being terminated'


class World:
    """The API server's answers, and what was asked of it; one FineTuneJob that is being deleted."""

    def __init__(self, life: Life, *, finalizers: list[str] | None = None) -> None:
        self.life = life
        self.obj = life.obj
        self.obj["metadata"]["deletionTimestamp"] = NOW.isoformat()
        self.obj["metadata"]["finalizers"] = finalizers or [ARTIFACTS_FINALIZER]
        self.jobs: dict[str, Any] = {}
        self.pods: list[dict[str, Any]] = []
        self.refusal: ApiError | None = None
        self.deleted: list[str] = []
        self.deleted_of: list[Resource] = []
        self.notes: list[Note] = []
        self.departure = Departure[Observed](
            FINE_TUNE_JOBS,
            Artifacts(wanted=is_to_delete, errand=deletion),
            cast(Cluster, self),
            Store(),
            cast(Recorder, self),
        )

    async def get(self, resource: Resource, key: tuple[str, str]) -> Any:
        return self.jobs.get(key[1]) if resource == JOBS else self.obj

    async def create(self, resource: Resource, obj: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        created = obj | {"metadata": obj["metadata"] | {"uid": "errand"}, "status": {}}
        self.jobs[obj["metadata"]["name"]] = created
        return created

    async def patch(self, resource: Resource, obj: Any, changes: Any) -> Any:
        assert resource == FINE_TUNE_JOBS
        self.obj = obj | {"metadata": obj["metadata"] | changes["metadata"]}
        return self.obj

    async def delete(self, resource: Resource, obj: Any) -> None:
        self.deleted.append(obj["metadata"]["name"])
        self.deleted_of.append(resource)
        self.jobs.pop(obj["metadata"]["name"], None)

    async def pages(self, resource: Resource, *_: Any, **__: Any) -> AsyncIterator[Any]:
        assert resource == PODS
        yield self.pods, "1"

    def emit(self, _resource: Resource, _obj: Any, note: Note) -> None:
        self.notes.append(note)

    @property
    def held(self) -> bool:
        return ARTIFACTS_FINALIZER in self.obj["metadata"]["finalizers"]

    def look(self, **around: Any) -> float | None:
        return asyncio.run(self.departure.see_off(self.obj, observed(self.obj, **around)))

    def end(self, kind: str, **told: Any) -> None:
        """The errand ends."""
        [(name, job)] = self.jobs.items()
        end = {"type": kind, "status": "True", "reason": "Because", "message": "it did",
               "lastTransitionTime": NOW.isoformat()}  # fmt: skip
        self.jobs[name] = job | {"status": {"conditions": [end]}}
        said = {"revision": "r1-00000001", "attempt": 1, "outcome": "Succeeded", **told}
        state = ended(0, json.dumps(said))
        self.pods = [pod_of(job, phase="Succeeded", state=state)] if told else []


def leaving(**kwargs: Any) -> World:
    life = Life(deletionPolicy="Delete")
    life.run()
    return World(life, **kwargs)


def test_an_errand_deletes_all_and_it_goes() -> None:
    world = leaving(finalizers=["example.com/mine", ARTIFACTS_FINALIZER])
    assert world.look() == LOOK_SECONDS
    assert world.look() == LOOK_SECONDS
    assert len(world.jobs) == 1
    world.end("Complete", deleted=["r1-00000001", "r2-00000001"])
    assert world.look() is None
    assert world.obj["metadata"]["finalizers"] == ["example.com/mine"]
    assert not world.jobs
    [note] = world.notes
    assert (note.reason, note.warning) == ("ArtifactsDeleted", False)
    assert note.message == f"Deleted: {FOLDER}, 2 revisions."
    # Others hold it still: nothing begins anew.
    assert world.look() is None
    assert not world.jobs


def test_what_runs_ends_first() -> None:
    world = leaving()
    revision = world.life.revision()
    job = job_of(revision)
    assert world.look(jobs=[job], pods=[pod_of(job)]) == LOOK_SECONDS
    assert world.deleted == [job["metadata"]["name"]]
    assert not world.jobs
    # Its Job has gone before its pod.
    assert world.look(pods=[pod_of(job)]) == LOOK_SECONDS
    assert not world.jobs
    world.look()
    assert world.jobs


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"error": {"code": "Denied", "message": "the key may not delete"}}, "may not delete"),
        ({}, "Because: it did"),
    ],
)
def test_what_could_not_be_deleted_is_told(told: dict[str, Any], words: str) -> None:
    world = leaving()
    world.look()
    world.end("Failed", **told)
    assert world.look() is None
    assert not world.held
    [note] = world.notes
    assert (note.reason, note.warning) == ("ArtifactsKept", True)
    assert words in note.message
    assert FOLDER in note.message


def test_a_namespace_that_ends_holds_nothing_up() -> None:
    world = leaving()
    world.refusal = ApiError(403, "Forbidden", TERMINATING)
    assert world.look() is None
    assert not world.held
    assert "is being terminated" in world.notes[0].message


def test_a_quota_may_find_room_until_time_is_over() -> None:
    world = leaving()
    world.refusal = ApiError(403, "Forbidden", "exceeded quota: pods")
    assert world.look() == REFUSED_SECONDS
    assert world.held
    assert world.look(now=NOW + timedelta(hours=2)) is None
    assert not world.held
    assert "no time" in world.notes[0].message


def test_a_jobset_stops_with_all_its_pods_first() -> None:
    world = leaving()
    job_set = job_set_of()
    inner = inner_of(job_set)
    pods = [node_of(inner, 0), node_of(inner, 1)]
    assert world.look(job_sets=[job_set], jobs=[inner], pods=pods) == LOOK_SECONDS
    assert world.deleted == [job_set["metadata"]["name"]]
    assert world.deleted_of == [JOB_SETS]
    assert world.look(pods=pods) == LOOK_SECONDS
    assert not world.jobs, "the errand waits for the pods"
    world.look()
    assert len(world.jobs) == 1


def test_an_errand_and_pods_that_never_end_hold_it_for_a_time() -> None:
    world = leaving()
    world.look()
    job = job_of(world.life.revision())
    assert world.look(pods=[pod_of(job)], now=NOW + timedelta(minutes=59)) == LOOK_SECONDS
    assert world.look(pods=[pod_of(job)], now=NOW + timedelta(hours=2)) is None
    assert not world.held
    assert "didn't end in time" in world.notes[0].message
    assert not world.jobs


def test_a_job_of_others_under_its_name_is_not_believed() -> None:
    world = leaving()
    world.look()
    [(name, job)] = world.jobs.items()
    metadata = job["metadata"] | {"annotations": {"luthier.dev/content-sha256": "other"}}
    world.jobs[name] = job | {"metadata": metadata}
    world.end("Complete", deleted=["r1-00000001"])
    assert world.look() is None
    assert world.notes[0].reason == "ArtifactsKept"
    assert world.deleted == []


def test_without_a_pool_or_a_readable_spec_it_goes_and_says_so() -> None:
    world = leaving()
    assert world.look(platform=platform().model_copy(update={"pools": []})) is None
    assert world.notes[0].reason == "ArtifactsKept"
    assert not world.held
    unread = leaving()
    unread.obj["spec"]["training"] = {"maxSteps": "many"}
    assert unread.look() is None
    assert "can't be read" in unread.notes[0].message
    assert not unread.held


def test_what_is_retained_or_never_ran_just_goes() -> None:
    kept = leaving()
    kept.obj["spec"]["deletionPolicy"] = "Retain"
    assert kept.look() is None
    fresh = World(Life(deletionPolicy="Delete"))
    assert fresh.look() is None
    for world in (kept, fresh):
        assert not world.held
        assert not world.notes
        assert not world.jobs


def test_it_is_held_as_the_spec_says() -> None:
    life = Life(deletionPolicy="Delete")
    world = World(life, finalizers=["example.com/mine"])
    del world.obj["metadata"]["deletionTimestamp"]

    def hold() -> bool:
        return asyncio.run(world.departure.hold(world.obj, observed(world.obj)))

    assert hold()
    assert world.obj["metadata"]["finalizers"] == ["example.com/mine", ARTIFACTS_FINALIZER]
    world.obj["spec"] = life.obj["spec"] | {"deletionPolicy": "Retain"}
    world.obj["metadata"]["uid"] += "-again"  # parsed anew
    assert hold()
    assert world.obj["metadata"]["finalizers"] == ["example.com/mine"]
