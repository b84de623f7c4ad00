"""However large objects are, the operator holds little of them, and reads little at once."""

import asyncio
import contextlib
import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration
from unit.operator.builders import (
    UID,
    NothingOptional,
    job_of,
    observed,
    platform,
    resource,
    slots,
)

from luthier_operator import cluster as cluster_module
from luthier_operator.cluster import EVENT_PAGES, NOTE_LENGTH, Cluster
from luthier_operator.events import Recorder
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.http import Served, serve
from luthier_operator.pace import Pace
from luthier_operator.reflector import Reflector
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, OWNERS, PODS, Obj, Resource
from luthier_operator.run.enquiry import Warnings
from luthier_operator.run.model import Revision
from luthier_operator.run.reconcile import Reconciler
from luthier_operator.store import Store, trim

MIB = 2**20
LABELS = {f"luthier.dev/{index:06}-{'x' * 40}": "y" * 63 for index in range(2_500)}


def huge(name: str, resource: Resource = FINE_TUNE_JOBS) -> Obj:
    """An object with half a megabyte of metadata, which the API server would take."""
    odd = [{"type": f"Odd{index}", "status": "True"} for index in range(500)]
    sides = [
        {"name": f"side-{i}", "state": {"waiting": {"message": "m" * 500}}} for i in range(200)
    ]
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "labels": LABELS | {"luthier.dev/uid": "owner", "luthier.dev/kind": resource.kind},
            "annotations": {f"luthier.dev/{index}": "z" * 250 for index in range(500)}
            | {"luthier.dev/retry": "now"},
            "ownerReferences": [{"uid": f"u{index}", "kind": "K" * 60} for index in range(500)]
            + [{"uid": "owner", "controller": True, "kind": "FineTuneJob", "name": "x"}],
            "finalizers": ["f" * 60] * 100,
        },
        "spec": {},
        # An owner's status is the operator's own.
        "status": {} if resource in OWNERS else {"conditions": odd, "containerStatuses": sides},
    }


@pytest.mark.parametrize("resource", [FINE_TUNE_JOBS, JOBS, PODS], ids=lambda it: str(it.kind))
def test_what_is_kept_of_a_huge_object(resource: Resource) -> None:
    kept = trim(resource, huge("a", resource))
    metadata = kept["metadata"]
    assert metadata["labels"] == {"luthier.dev/uid": "owner", "luthier.dev/kind": resource.kind}
    assert metadata["annotations"] == {"luthier.dev/retry": "now"}
    assert metadata["ownerReferences"] == [{"uid": "owner", "controller": True}]
    assert len(json.dumps(kept)) < 1000
    assert trim(resource, kept) == kept


class ApiServer:
    """Lists `objects` of one resource by pages, as the API server does."""

    def __init__(self, objects: list[Obj], plural: str = "finetunejobs") -> None:
        self._texts, self._plural = [json.dumps(obj).encode() for obj in objects], plural
        self.limits: list[int] = []
        self.labels: set[str] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        query = parse_qs(urlsplit(str(request.rel_url)).query)
        if "watch" in query:
            answer = web.StreamResponse()
            await answer.prepare(request)
            await asyncio.sleep(60)
            return answer
        first = int(query.get("continue", ["0"])[0])
        limit = int(query["limit"][0])
        texts = self._texts if request.path.endswith(self._plural) else []
        self.limits.append(limit)
        self.labels |= set(query.get("labelSelector", []))
        last = first + limit
        token = str(last) if last < len(texts) else ""
        metadata = json.dumps({"resourceVersion": "7", "continue": token}).encode()
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        # A client that has read enough closes the connection.
        with contextlib.suppress(ConnectionError):
            await answer.prepare(request)
            await answer.write(b'{"metadata":' + metadata + b',"items":[')
            for index, text in enumerate(texts[first:last]):
                await answer.write(b"," * bool(index) + text)
            await answer.write(b"]}")
        return answer

    async def start(self) -> Served:
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        return await serve(app, 0, host="127.0.0.1")


def client_of(port: int) -> Cluster:
    return Cluster(Configuration(host=f"http://127.0.0.1:{port}"))


async def test_filling_the_store_with_huge_objects_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_module, "PAGE_BYTES", MIB)
    count = 24
    api = ApiServer([huge(f"tone-{index}") for index in range(count)])
    served, store = await api.start(), Store()
    cluster = client_of(served.port)
    queued: set[str] = set()

    def changed(_: Resource, obj: Obj) -> None:
        queued.add(obj["metadata"]["name"])

    reflector = Reflector(cluster, store, FINE_TUNE_JOBS, None, changed)
    tracemalloc.start()
    task = asyncio.create_task(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 60)
        gc.collect()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        task.cancel()
        await asyncio.wait([task])
        await cluster.close()
        await served.cleanup()
    assert len(queued) == len(list(store.all(FINE_TUNE_JOBS))) == count
    # All of them are 12 MiB as text, and some 30 MiB more as objects.
    assert peak < 16 * MIB
    assert held < 4 * MIB
    assert min(api.limits) < 5


async def test_small_objects_come_by_long_pages() -> None:
    def small(name: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "team", "name": name, "uid": name}}

    api = ApiServer([small(f"tone-{index}") for index in range(250)])
    served = await api.start()
    cluster = client_of(served.port)
    try:
        listed, version = await cluster.list_all(FINE_TUNE_JOBS, None)
    finally:
        await cluster.close()
        await served.cleanup()
    assert (len(listed), version) == (250, 7)
    assert api.limits == [cluster_module.PAGE] * 2


@contextlib.asynccontextmanager
async def measured(api: ApiServer, most: int) -> AsyncIterator[Cluster]:
    """A client of that server; what happens meanwhile takes so many bytes at most."""
    served = await api.start()
    cluster = client_of(served.port)
    tracemalloc.start()
    try:
        yield cluster
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        await cluster.close()
        await served.cleanup()
    assert peak < most


async def test_asking_for_a_runs_pods_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    revision = FINE_TUNE_JOB.decide(observed()).revision
    assert revision is not None
    job = job_of(Revision(revision.name, 1, ""), end="Failed")
    pods = [huge(f"pod-{index:02}", PODS) for index in range(24)]
    for pod in pods:
        pod["metadata"]["labels"] = pod["metadata"]["labels"] | {"luthier.dev/uid": UID}
    store = Store()
    store.put(FINE_TUNE_JOBS, resource())
    store.put(JOBS, job)
    api = ApiServer(pods, "pods")
    written: list[Obj] = []

    async def patch_status(_resource: Resource, obj: Obj, changes: Obj) -> Obj:
        written.append(changes)
        return obj

    async with measured(api, 12 * MIB) as cluster:
        monkeypatch.setattr(cluster, "patch_status", patch_status)
        reconcile = Reconciler(
            FINE_TUNE_JOB,
            cluster,
            store,
            Reports(),
            Recorder(cluster),
            platform(),
            NothingOptional(),
            Pace(lambda: store.running),
            slots=slots(store),
            warnings=Warnings(cluster),
            written=lambda *_: None,
        )
        await asyncio.wait_for(reconcile(("team", "tone")), 60)
    assert len(list(store.all(PODS))) == len(pods)
    assert [it["phase"] for it in written] == ["Failed"]
    # Only those that the admission policy bounds.
    assert api.labels == {f"luthier.dev/uid={UID},luthier.dev/kind"}


async def test_asking_for_a_namespaces_events_is_bounded() -> None:
    def event(number: int) -> Obj:
        reason = "FailedMount" if number % 2 else "Odd"
        return huge(f"e{number:02}") | {
            "reason": reason,
            "note": "n" * 9_000,
            "regarding": {"uid": f"uid-{number}"},
        }

    api = ApiServer([event(number) for number in range(2 * EVENT_PAGES)], "events")
    async with measured(api, 12 * MIB) as cluster:
        notes = await cluster.warnings("team", {"FailedMount"})
    assert notes["uid-1"] == ("FailedMount: " + "n" * NOTE_LENGTH,)
    assert "uid-2" not in notes, "nothing reads it"
    assert len(notes) < EVENT_PAGES, "they are as large as a page: so many were read"


async def test_many_events_of_one_reason_hide_no_other() -> None:
    def event(number: int) -> Obj:
        reason = "FailedMount" if number == 0 else "FailedCreate"
        metadata = {"namespace": "team", "name": f"e{number:03}"}
        at = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
        return {
            "metadata": metadata,
            "reason": reason,
            "note": f"{number}",
            "eventTime": at,
            "regarding": {"uid": "other" if number == 1 else "uid"},
        }

    api = ApiServer([event(number) for number in range(90)], "events")
    async with measured(api, 12 * MIB) as cluster:
        notes = await cluster.warnings("team", {"FailedCreate", "FailedMount"})
    assert notes == {"uid": ("FailedCreate: 89", "FailedMount: 0"), "other": ("FailedCreate: 1",)}
