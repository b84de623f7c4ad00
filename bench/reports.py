"""What reports and scrapes cost the operator: CPU of its process, and how long its loop is held.

The real receiver, queue, workers and reconcilers run here, over a store of 10,000 resources of
which 1,000 run; their pods report from another process, over a connection each, as trainers do.
There is no API server: a stand-in answers token reviews and takes status writes, so that the CPU
of its client isn't in these figures.
"""

import asyncio
import base64
import json
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.figures import Rows
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.platform import Platform
from luthier_api.progress import PROGRESS_ROUTE
from luthier_api.revision import revision_name, shape_hash
from luthier_api.runspec import PROGRESS_AUDIENCE
from luthier_operator import metrics, runs
from luthier_operator.connections import Limits
from luthier_operator.finetunejob.build import build
from luthier_operator.finetunejob.kind import FINE_TUNE_JOB
from luthier_operator.http import progress_app, serve
from luthier_operator.pace import Pace
from luthier_operator.page import Page
from luthier_operator.queue import WorkQueue
from luthier_operator.receiver import Receiver
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, Obj, Resource
from luthier_operator.run.concurrency import Slots
from luthier_operator.run.enquiry import Warnings
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.reconcile import Reconciler
from luthier_operator.series import text_of
from luthier_operator.store import Store
from luthier_operator.work import WorkKey, work

RESOURCES = 10_000
RUNNING = 1_000
INTERVAL = 3.0
ROUNDS = 20
WORKERS = 8
LOOK = 0.005
TRAINERS_PATIENCE = 5.0

SPEC: dict[str, Any] = {
    "model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct"},
    "task": "classification",
    "dataset": {
        "uri": "s3://data/tickets.jsonl",
        "template": "{text}: {label}",
        "evalFraction": 0.1,
    },
    "method": {"type": "lora", "lora": {"rank": 16}},
    "training": {"maxSteps": 1000, "learningRate": 0.0002, "perDeviceBatchSize": 8},
    "evaluation": {"metrics": ["accuracy", "f1", "loss"]},
    "output": {"uri": "s3://artifacts/models"},
}
PLATFORM = Platform.model_validate(
    {
        "defaultPool": "cpu",
        "pools": [{"name": "cpu", "image": "trainer:1"}],
        "storage": {"endpoint": "http://s3:8333", "region": "r"},
        "progressUrl": "http://operator:8090",
    }
)
PARSED = FineTuneJobSpec.model_validate(SPEC)
SHAPE = shape_hash(PARSED, PARSED.output.uri)
REVISION = Revision(revision_name(1, SHAPE), 1, SHAPE)


def namespace(number: int) -> str:
    """Runs are spread over ten of them."""
    return f"team-{number % 10}"


def resource(number: int) -> Obj:
    """The first ones run; the others have ended long ago."""
    status: Obj = {}
    if number >= RUNNING:
        ended = "2026-01-02T03:04:05Z"
        conditions = [
            {
                "type": kind,
                "status": value,
                "reason": "Completed",
                "message": "The result is published.",
                "observedGeneration": 1,
                "lastTransitionTime": ended,
            }
            for kind, value in (("Ready", "True"), ("Stalled", "False"), ("Complete", "True"))
        ]
        status = {
            "phase": "Complete",
            "observedGeneration": 1,
            "revision": REVISION.name,
            "attempt": 1,
            "startTime": ended,
            "completionTime": ended,
            "conditions": conditions,
            "progress": {"step": 1000, "totalSteps": 1000, "percent": "100%", "loss": 0.5},
            "usage": {"cpuSeconds": 3600, "gpuSeconds": 0, "trainedTokens": 1_000_000},
            "restarts": {"failures": 0, "disruptions": 1, "total": 1},
            "artifact": {"uri": f"s3://artifacts/models/{number}", "manifestSha256": "0" * 64},
        }
    metadata = {
        "namespace": namespace(number),
        "name": f"run-{number}",
        "uid": f"uid-{number}",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    return {"metadata": metadata, "spec": SPEC, "status": status}


def job_and_pod(number: int) -> tuple[Obj, Obj]:
    """Of one that runs."""
    owner = Owner(FINE_TUNE_JOBS, namespace(number), f"run-{number}", f"uid-{number}")
    job = build(owner, PARSED, REVISION, PLATFORM)[-1]
    created = "2026-01-02T03:04:05Z"
    own = {"uid": f"job-{number}", "resourceVersion": "1", "creationTimestamp": created}
    job = {"metadata": job["metadata"] | own, "spec": {}, "status": {"conditions": []}}
    pod = {
        "metadata": {
            "namespace": namespace(number),
            "name": f"pod-{number}",
            "uid": f"uid-pod-{number}",
            "resourceVersion": "1",
            "creationTimestamp": created,
            "labels": job["metadata"]["labels"],
            "ownerReferences": [{"uid": f"job-{number}", "controller": True}],
        },
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {"name": "trainer", "state": {"running": {"startedAt": created}}}
            ],
        },
    }
    return job, pod


def report(number: int, step: int) -> bytes:
    """As a trainer in the middle of its training sends it."""
    checkpoints = [
        {"step": n * 100, "uri": f"s3://artifacts/models/{number}/c{n}", "sha256": "0" * 64}
        for n in range(3)
    ]
    document = {
        "run": {
            "kind": "FineTuneJob",
            "namespace": namespace(number),
            "name": f"run-{number}",
            "uid": f"uid-{number}",
            "revision": REVISION.name,
            "attempt": 1,
        },
        "pod": f"pod-{number}",
        "sequence": step,
        "progress": {
            "stage": "Training",
            "step": step,
            "totalSteps": 1000,
            "percent": f"{step // 10}%",
            "epoch": step / 100,
            "loss": 1 / step,
            "evalLoss": 0.75,
            "learningRate": 0.0002,
            "gradNorm": 0.5,
            "tokensPerSecond": 1234.5,
            "samplesPerSecond": 12.5,
            "memoryBytes": 2**31 + step,
            "updated": "2026-01-02T03:04:05+00:00",
            "estimatedFinish": "2026-01-02T04:04:05+00:00",
        },
        "etaSeconds": 3600 - step,
        "datasetDigest": "sha256:" + "0" * 64,
        "datasetValid": True,
        "datasetSummary": "4,500 train rows, 300 test",
        "dataset": {"train": 4500, "test": 300, "labels": 4, "tokensMedian": 60},
        "estimate": {"memoryBytes": 2**31, "durationSeconds": 3600},
        "resolved": {f"training.field{n}": "a value that was chosen" for n in range(10)},
        "evalMetrics": {"eval_accuracy": 0.9, "eval_f1": 0.8, "eval_loss": 0.7},
        "machine": {"cpuPercent": 99.5, "dataWaitPercent": 1.5},
        "checkpoints": checkpoints,
        "checkpointCost": {"count": 3, "seconds": 4.5, "bytes": 2**20},
        "usage": {"cpuSeconds": 10.0 + step, "trainedTokens": 1000 * step},
    }
    return json.dumps(document).encode()


def token(number: int) -> str:
    """Its subject is what the stand-in for the API server finds in it."""
    claims = {"aud": [PROGRESS_AUDIENCE], "exp": 2**40, "sub": number}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.{'s' * 340}"


class StandIn:
    """Answers as the API server would, from memory."""

    def __init__(self) -> None:
        self.writes = 0

    def want(self, _: Resource) -> None:
        """No Kueue comes."""

    def installed(self, _: Resource) -> bool | None:
        """Nor is it there."""
        return False

    def served(self, _: Resource) -> Resource | None:
        """In no version."""
        return None

    def watched(self, _: Resource, _namespace: str) -> bool | None:
        """Nor watched."""
        return False

    async def review_token(self, token: str, audience: str) -> Obj:
        """Every token is good, and bound to the pod of its subject."""
        payload = token.split(".")[1]
        number = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
        extra = {"pod-name": [f"pod-{number}"], "pod-uid": [f"uid-pod-{number}"]}
        return {
            "authenticated": True,
            "audiences": [audience],
            "user": {
                "username": f"system:serviceaccount:{namespace(number)}:default",
                "extra": {f"authentication.kubernetes.io/{name}": it for name, it in extra.items()},
            },
        }

    async def list_all(self, *_: Any, **__: Any) -> tuple[list[Obj], int]:
        """All pods are in the store."""
        return [], 0

    async def patch_status(self, _: Resource, obj: Obj, changes: Obj) -> Obj:
        """Merged, as a new version."""
        self.writes += 1
        return {
            **obj,
            "metadata": {**obj["metadata"], "resourceVersion": str(self.writes + 1)},
            "status": merged(obj["status"], changes),
        }

    def emit(self, *_: Any) -> None:
        """Events are let go."""


def merged(before: Obj, changes: Obj) -> Obj:
    """RFC 7386."""
    after = dict(before)
    for name, it in changes.items():
        if it is None:
            after.pop(name, None)
        else:
            after[name] = merged(after.get(name) or {}, it) if isinstance(it, dict) else it
    return after


@dataclass
class Loop:
    """How late the loop comes to what is due."""

    late: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        """Look every few milliseconds, for ever."""
        while True:
            due = time.perf_counter() + LOOK
            await asyncio.sleep(LOOK)
            self.late.append(time.perf_counter() - due)

    def figure(self) -> str:
        """Median, 99th percentile and most."""
        late = sorted(self.late)
        half, most = late[len(late) // 2], late[-1]
        rare = late[len(late) * 99 // 100]
        return f"{1000 * half:.1f} ms, p99 {1000 * rare:.1f} ms, most {1000 * most:.1f} ms"


@asynccontextmanager
async def watched() -> AsyncIterator[Loop]:
    """The loop's delay while the block runs."""
    loop = Loop()
    task = asyncio.create_task(loop.watch())
    try:
        yield loop
    finally:
        task.cancel()


async def post(port: int, number: int, step: int) -> int:
    """One report over a connection of its own; the answer's code."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(f"127.0.{1 + number // 250}.{1 + number % 250}", 0)
    )
    body = report(number, step)
    head = (
        f"POST {PROGRESS_ROUTE} HTTP/1.1\r\nHost: operator:8090\r\nConnection: close\r\n"
        "Accept-Encoding: identity\r\nUser-Agent: Python-urllib/3.13\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {token(number)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


async def report_all(port: int, done: Any) -> None:
    """Each run reports once in the interval, all of them evenly spread."""
    codes: list[int] = []

    async def one(number: int, step: int, at: float) -> None:
        await asyncio.sleep(at - time.monotonic())
        try:
            codes.append(await asyncio.wait_for(post(port, number, step), TRAINERS_PATIENCE))
        except TimeoutError:
            codes.append(0)

    for step in range(1, ROUNDS + 3):
        began = time.monotonic()
        gap = INTERVAL / RUNNING
        await asyncio.gather(*(one(n, step, began + n * gap) for n in range(RUNNING)))
        if step == 2:  # the first rounds are another matter: tokens are reviewed, statuses begin
            done.send(len(codes))
            codes.clear()
    done.send({code: codes.count(code) for code in set(codes)})


def clients(port: int, done: Any) -> None:
    """The process of those who report."""
    asyncio.run(report_all(port, done))


def taken() -> float:
    """Reports that were taken so far."""
    return sum(
        sample.value
        for family in metrics.REPORTS.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


async def received(store: Store, reports: Reports) -> Rows:
    """Rows about reports."""
    api = StandIn()
    queue: WorkQueue[WorkKey] = WorkQueue()
    pace = Pace(lambda: store.running)
    receiver = Receiver(
        api,
        store,
        reports,
        pace,
        ready=lambda: True,
        look=lambda resource, key, seconds: queue.add_after(WorkKey(resource, key), seconds),
    )
    reconcile = Reconciler(
        FINE_TUNE_JOB,
        api,  # type: ignore[arg-type]
        store,
        reports,
        api,  # type: ignore[arg-type]
        PLATFORM,
        api,
        pace,
        slots=Slots(store.live, PLATFORM, lambda *_: None),
        warnings=Warnings(api),  # type: ignore[arg-type]
        written=lambda *_: None,
    )
    reconciled = 0

    async def counted(key: tuple[str, str]) -> float | None:
        nonlocal reconciled
        reconciled += 1
        return await reconcile(key)

    workers = [asyncio.create_task(work(queue, {FINE_TUNE_JOBS: counted})) for _ in range(WORKERS)]
    served = await serve(progress_app(receiver.routes), 0, Limits(), host="127.0.0.1")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=clients, args=(served.port, theirs), daemon=True
    )
    process.start()
    try:
        await asyncio.to_thread(ours.poll, 120)
        ours.recv()
        writes, looks, before = api.writes, reconciled, taken()
        cpu, wall = time.process_time(), time.perf_counter()
        async with watched() as loop:
            await asyncio.to_thread(ours.poll, ROUNDS * INTERVAL * 4)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        codes: dict[int, int] = ours.recv()
        process.join(10)
    finally:
        process.kill()
        for worker in workers:
            worker.cancel()
        await served.cleanup()
    # The operator's own count: who has given up waiting is served nevertheless.
    count = taken() - before
    answers = ", ".join(f"{code or 'none'}: {number}" for code, number in sorted(codes.items()))
    what = f"{RUNNING:,} runs that report every {INTERVAL:.0f} s"
    return [
        (f"{what}: answers", f"{answers} ({count / wall:.0f}/s)"),
        (
            f"{what}: CPU",
            f"{1000 * cpu / count:.2f} ms a report, {100 * cpu / wall:.0f}% of a core",
        ),
        (f"{what}: the loop is late by", loop.figure()),
        (
            f"{what}: reconciliations, status writes",
            f"{(reconciled - looks) / wall:.0f}/s, {(api.writes - writes) / wall:.0f}/s",
        ),
    ]


async def scraped(store: Store, reports: Reports) -> Rows:
    """Rows about /metrics."""
    known: list[runs.Known] = []
    took: list[float] = []

    def snapshot() -> None:
        nonlocal known
        began = time.thread_time()
        known = runs.take(store, reports, datetime.now(UTC))
        took.append(time.thread_time() - began)

    def render() -> bytes:
        return text_of(runs.samples(known, PLATFORM, datetime.now(UTC)))

    page = Page(snapshot, render)
    cpu, wall = time.process_time(), time.perf_counter()
    async with watched() as loop:
        text = await page.text()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    lines = sum(not line.startswith(b"#") for line in text.splitlines())
    what = f"scrape, {RESOURCES:,} resources, {RUNNING:,} of them running"
    return [
        (f"{what}: series", f"{lines:,} ({len(text) / 1e6:.1f} MB)"),
        (f"{what}: the loop is held by the snapshot", f"{1000 * max(took):.1f} ms"),
        (f"{what}: the loop is late by, in all", loop.figure()),
        (f"{what}: CPU, in a thread", f"{cpu:.2f} s of {wall:.2f} s"),
    ]


async def measured() -> Rows:
    """All rows."""
    store, reports = Store(), Reports()
    for number in range(RESOURCES):
        store.put(FINE_TUNE_JOBS, resource(number))
        if number < RUNNING:
            job, pod = job_and_pod(number)
            store.put(JOBS, job)
            store.put(PODS, pod)
    return [*await received(store, reports), *await scraped(store, reports)]


def rows() -> Rows:
    """(what, figure) for the table."""
    return asyncio.run(measured())
