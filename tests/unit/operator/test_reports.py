"""Reports in memory, tokens in a cache, runs as metrics."""

import base64
import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from unit.operator.builders import NOW, UID, owned, platform, resource

from luthier_api.progress import ProgressReport
from luthier_operator import runs
from luthier_operator.reports import INDICES, News, Reports, Speaker, duration
from luthier_operator.resources import ADAPTER_BUNDLES, FINE_TUNE_JOBS, OPTIMIZE_JOBS
from luthier_operator.series import text_of
from luthier_operator.store import Store
from luthier_operator.tokens import Authenticator, Refused


def report(
    sequence: int, *, pod: str = "a", revision: str = "r1-a", **fields: Any
) -> ProgressReport:
    return ProgressReport.model_validate(
        {
            "run": {
                "namespace": "team",
                "name": "tone",
                "uid": UID,
                "revision": revision,
                "attempt": 1,
            },
            "pod": pod,
            "sequence": sequence,
            "progress": {"step": sequence, "loss": 0.5},
            "etaSeconds": 90,
            **fields,
        }
    )


def test_a_late_report_of_the_same_pod_is_dropped_and_a_new_pods_is_not() -> None:
    reports = Reports()
    assert reports.put(report(5), NOW) is News.FACTS
    assert reports.put(report(5), NOW) is News.LATE
    assert reports.put(report(4), NOW) is News.LATE
    assert reports.put(report(6), NOW) is News.PROGRESS
    assert reports.put(report(1, pod="b"), NOW) is News.FACTS
    received = reports.get(FINE_TUNE_JOBS, ("team", "tone"))
    assert received is not None
    assert received.report.progress.eta == "1m30s"
    assert received.report.progress.estimated_finish == "2026-01-02T03:05:35Z"
    reports.drop(FINE_TUNE_JOBS, ("team", "tone"))
    assert reports.get(FINE_TUNE_JOBS, ("team", "tone")) is None


FIRST_POD = Speaker("uid-a", "2026-01-02T03:04:05Z")
SECOND_POD = Speaker("uid-b", "2026-01-02T03:05:05Z")


def told(reports: Reports, index: int = 0) -> tuple[str, int] | None:
    """Pod and sequence of what is remembered."""
    received = reports.get(FINE_TUNE_JOBS, ("team", "tone"), index)
    return (received.report.pod, received.report.sequence) if received else None


def test_an_older_pods_late_report_does_not_take_the_place_of_a_newer_pods() -> None:
    reports = Reports()
    assert reports.put(report(7, pod="a"), NOW, FIRST_POD) is News.FACTS
    assert reports.put(report(1, pod="b"), NOW, SECOND_POD) is News.FACTS
    assert reports.put(report(8, pod="a"), NOW, FIRST_POD) is News.LATE
    assert told(reports) == ("b", 1)
    assert reports.put(report(2, pod="b"), NOW, SECOND_POD) is News.PROGRESS
    # Nor once its end is on record.
    reports.close(FINE_TUNE_JOBS, ("team", "tone"))
    assert reports.put(report(9, pod="a"), NOW, FIRST_POD) is News.LATE
    assert told(reports) == ("b", 2)


@pytest.mark.parametrize(
    ("revision", "attempt", "uid", "late"),
    [
        ("r3-00000000", 3, UID, False),
        ("r4-00000000", 1, UID, False),
        ("r3-00000000", 1, UID, True),
        ("r2-00000000", 9, UID, True),
        ("r2-00000000", 9, "created anew", False),
    ],
)
def test_an_older_runs_late_report_does_not_either(
    revision: str, attempt: int, uid: str, late: bool
) -> None:
    reports = Reports()

    def of(revision: str, attempt: int, uid: str) -> ProgressReport:
        run = report(1).run.model_copy(
            update={"revision": revision, "attempt": attempt, "uid": uid}
        )
        return report(1, pod=f"{revision}-{attempt}", run=run.to_json())

    assert reports.put(of("r3-00000000", 2, UID), NOW, FIRST_POD) is News.FACTS
    news = reports.put(of(revision, attempt, uid), NOW, FIRST_POD)
    assert (news is News.LATE) is late
    assert told(reports) == (("r3-00000000-2" if late else f"{revision}-{attempt}"), 1)


def test_the_parts_of_a_run_are_told_apart() -> None:
    reports = Reports()
    large = {"datasetSummary": "x" * 200, "checkpointCost": {"count": 3}}
    assert reports.put(report(5, pod="a"), NOW, FIRST_POD) is News.FACTS
    other = replace(SECOND_POD, index=7)
    assert reports.put(report(2, pod="b", **large), NOW, other) is News.PART
    assert reports.put(report(2, pod="b", **large), NOW, other) is News.LATE
    assert (told(reports), told(reports, 7), told(reports, 1)) == (("a", 5), ("b", 2), None)
    # No status is drawn from it: its costs are kept, and how far it is.
    received = reports.get(FINE_TUNE_JOBS, ("team", "tone"), 7)
    assert received is not None
    assert (received.report.progress.step, received.report.checkpoint_cost.count) == (2, 3)
    assert received.report.dataset_summary is None
    # An older pod of another part isn't late.
    assert reports.put(report(6, pod="a"), NOW, FIRST_POD) is News.PROGRESS
    # All are gone with their run.
    assert reports.put(report(1, pod="c", revision="r2-00000000"), NOW) is News.FACTS
    assert (told(reports), told(reports, 7)) == (("c", 1), None)


def test_however_many_parts_speak_what_is_remembered_is_bounded() -> None:
    reports = Reports()
    text = {"resolved": {f"n{number}": "x" * 1000 for number in range(30)}}
    for index in INDICES:
        by = replace(FIRST_POD, uid=f"uid-{index}", index=index)
        assert reports.put(report(1, pod=f"p-{index}", **text), NOW, by) is not News.LATE
    [parts] = reports._last.values()
    assert len(parts) == len(INDICES)
    sizes = [len(it.report.model_dump_json()) for it in parts.values()]
    assert sizes[0] > 30_000
    assert max(sizes[1:]) < 4_000
    reports.close(FINE_TUNE_JOBS, ("team", "tone"))
    [parts] = reports._last.values()
    assert list(parts) == [0]


def test_namesakes_of_other_kinds_have_reports_of_their_own() -> None:
    reports = Reports()
    assert reports.put(report(5), NOW) is News.FACTS
    run = {**report(1).run.to_json(), "kind": "OptimizeJob"}
    assert reports.put(report(1, run=run), NOW) is News.FACTS
    for resource_, sequence in ((FINE_TUNE_JOBS, 5), (OPTIMIZE_JOBS, 1)):
        received = reports.get(resource_, ("team", "tone"))
        assert received is not None
        assert received.report.sequence == sequence
    assert reports.get(ADAPTER_BUNDLES, ("team", "tone")) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.6, "1m"), (200, "3m20s"), (7500, "2h5m"), (3600, "1h"), (273_600, "3d4h")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Reviewer:
    """Stands for the API server's TokenReview, and counts."""

    def __init__(self, **user: Any) -> None:
        self.asked = 0
        self.answer = {
            "authenticated": True,
            "audiences": ["luthier.dev/progress"],
            "user": {
                "username": "system:serviceaccount:team:default",
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["pod"],
                    "authentication.kubernetes.io/pod-uid": ["uid"],
                },
            }
            | user,
        }

    async def review_token(self, token: str, audience: str) -> dict[str, Any]:
        self.asked += 1
        return self.answer

    async def list_all(self, *_: Any, **__: Any) -> tuple[list[Any], int]:
        return [], 0


def jwt(expires: float) -> str:
    claims = json.dumps({"exp": expires, "aud": ["luthier.dev/progress"]})
    payload = base64.urlsafe_b64encode(claims.encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


async def test_a_token_is_reviewed_once_a_minute_and_never_after_its_end() -> None:
    now = 1000.0
    reviewer = Reviewer()
    authenticator = Authenticator(reviewer, lambda: now)
    header = f"Bearer {jwt(1100)}"
    for _ in range(3):
        caller = await authenticator.caller(header, "10.0.0.1")
    assert (caller.namespace, caller.pod, caller.uid) == ("team", "pod", "uid")
    assert reviewer.asked == 1
    now = 1061
    await authenticator.caller(header, "10.0.0.1")
    assert reviewer.asked == 2
    now = 1101
    await authenticator.caller(header, "10.0.0.1")
    assert reviewer.asked == 3


@pytest.mark.parametrize(
    "change",
    [
        {"authenticated": False},
        {"audiences": ["another"]},
        {"user": {"username": "jane", "extra": {}}},
        {"user": {"username": "system:serviceaccount:team:default", "extra": {}}},
    ],
)
async def test_who_is_refused(change: dict[str, Any]) -> None:
    reviewer = Reviewer()
    reviewer.answer |= change
    with pytest.raises(Refused) as refused:
        await Authenticator(reviewer).caller(f"Bearer {jwt(2**40)}", "10.0.0.1")
    assert refused.value.code == 401
    assert reviewer.asked == 1


@pytest.mark.parametrize("header", ["", "Bearer ", "Basic abc"])
async def test_a_header_without_a_token(header: str) -> None:
    reviewer = Reviewer()
    with pytest.raises(Refused):
        await Authenticator(reviewer).caller(header, "10.0.0.1")
    assert reviewer.asked == 0


def scrape(store: Store, reports: Reports, now: datetime) -> list[str]:
    """The lines of all runs' series."""
    return (
        text_of(runs.samples(runs.take(store, reports, now), platform(), now)).decode().split("\n")
    )


def test_runs_as_metrics_come_and_go_with_the_resource() -> None:
    store, reports = Store(), Reports()
    status = {
        "phase": "Running",
        "revision": "r1-a",
        "progress": {"step": 1, "loss": 9.0},
        "restarts": {"failures": 2, "disruptions": 3},
    }
    obj = resource(status=status)
    store.put(FINE_TUNE_JOBS, obj)
    now = NOW + timedelta(seconds=30)
    labels = 'kind="FineTuneJob",name="tone",namespace="team",pool="cpu"'

    # After a restart: from the status alone.
    assert f"luthier_run_loss{{{labels}}} 9.0" in scrape(store, reports, now)
    assert f"luthier_run_restarts_disruptions_total{{{labels}}} 3.0" in scrape(store, reports, now)
    reports.put(report(7), NOW)
    assert f"luthier_run_step{{{labels}}} 7.0" in scrape(store, reports, now)
    assert f"luthier_run_eta_seconds{{{labels}}} 60.0" in scrape(store, reports, now)
    store.remove(FINE_TUNE_JOBS, obj)
    assert not [line for line in scrape(store, reports, now) if "tone" in line]


def test_runs_of_every_kind_have_a_series() -> None:
    store, reports = Store(), Reports()
    for kind, resource_ in (("OptimizeJob", OPTIMIZE_JOBS), ("AdapterBundle", ADAPTER_BUNDLES)):
        status = {
            "phase": "Running",
            "revision": "r1-a",
            "restarts": {"failures": 1, "disruptions": 0},
            "usage": {"cpuSeconds": 8},
        }
        store.put(resource_, owned(kind, "tone", {"placement": {"pool": "gpu"}}, status=status))
        run = {**report(1).run.to_json(), "kind": kind, "uid": f"uid-{kind}-tone"}
        told = report(3, run=run, progress={"step": 2, "totalSteps": 6, "memoryBytes": 512})
        reports.put(told, NOW)
    lines = scrape(store, reports, NOW)
    for kind in ("OptimizeJob", "AdapterBundle"):
        labels = f'kind="{kind}",name="tone",namespace="team",pool="gpu"'
        for series in (
            f"luthier_run_step{{{labels}}} 2.0",
            f"luthier_run_total_steps{{{labels}}} 6.0",
            f"luthier_run_memory_bytes{{{labels}}} 512.0",
            f"luthier_run_restarts_failures_total{{{labels}}} 1.0",
            f"luthier_run_cpu_seconds_total{{{labels}}} 8.0",
        ):
            assert series in lines


def test_load_and_metrics_by_name() -> None:
    store, reports = Store(), Reports()
    evaluation = {"base": {"f1": 0.25}, "tuned": {"f1": 0.75, 'rouge1"} 1\n': 1.0}}
    running = {"phase": "Running", "revision": "r1-a", "evaluation": evaluation}
    store.put(FINE_TUNE_JOBS, resource(status=running))
    machine = {
        "cpuPercent": 150,
        "dataWaitPercent": 2.5,
        "gpuPercent": 90,
        "gpuMemoryBytes": 1024,
    }
    many = {f"script_m{i:03}": 1.0 for i in range(60)} | {"f1": 0.5, "m001": 1.0}
    progress = {"step": 7, "gradNorm": 0.75, "samplesPerSecond": 12.5}
    reports.put(report(7, progress=progress, machine=machine, evalMetrics=many), NOW)
    labels = 'kind="FineTuneJob",name="tone",namespace="team",pool="cpu"'
    lines = scrape(store, reports, NOW)
    for series in (
        f"luthier_run_cpu_busy_cores{{{labels}}} 1.5",
        f"luthier_run_gpu_busy_ratio{{{labels}}} 0.9",
        f"luthier_run_gpu_memory_bytes{{{labels}}} 1024.0",
        f"luthier_run_data_wait_ratio{{{labels}}} 0.025",
        f"luthier_run_grad_norm{{{labels}}} 0.75",
        f"luthier_run_samples_per_second{{{labels}}} 12.5",
    ):
        assert series in lines
    named = labels.replace(",name=", ',metric="f1",name=')
    assert f"luthier_run_eval_metric{{{named}}} 0.5" in lines
    # Code of a user's may send anything: names are ours or a script's, and of those only some.
    assert len([it for it in lines if it.startswith("luthier_run_eval_metric{")]) == 17
    final = [it for it in lines if it.startswith("luthier_run_evaluation{")]
    assert [it.rsplit(" ", 1)[1] for it in final] == ["0.25", "0.75"]
