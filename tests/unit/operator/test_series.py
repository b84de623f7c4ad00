"""Which runs have series, and of which types."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from unit.operator.builders import NOW, Revision, job_of, resource
from unit.operator.test_reports import report, scrape

from luthier_operator.conditions import timestamp
from luthier_operator.reports import Reports
from luthier_operator.resources import ADAPTER_BUNDLES, FINE_TUNE_JOBS, JOBS, OPTIMIZE_JOBS
from luthier_operator.runs import ENDED_SECONDS
from luthier_operator.series import RunSample, text_of
from luthier_operator.store import Store


def lines_of(status: dict[str, Any], prefix: str = "luthier_run_state{") -> list[str]:
    store = Store()
    store.put(FINE_TUNE_JOBS, resource(status=status))
    return [it for it in scrape(store, Reports(), NOW) if it.startswith(prefix)]


@pytest.mark.parametrize(
    "phase",
    ["Pending", "Queued", "Running", "Restarting", "Suspended", "Finishing", "Complete", "Stalled"],
)
def test_the_phase_of_a_run_is_its_one_state(phase: str) -> None:
    (line,) = lines_of({"phase": phase})
    assert f'phase="{phase}"' in line
    assert line.endswith(" 1.0")


def test_a_resource_without_a_status_is_pending() -> None:
    (line,) = lines_of({})
    assert 'phase="Pending"' in line


@pytest.mark.parametrize(("seconds", "shown"), [(0, 1), (ENDED_SECONDS, 1), (ENDED_SECONDS + 1, 0)])
def test_what_ended_is_shown_for_a_while(seconds: int, shown: int) -> None:
    ended = timestamp(NOW - timedelta(seconds=seconds))
    for phase in ("Complete", "Failed"):
        assert len(lines_of({"phase": phase, "completionTime": ended})) == shown


def test_sums_are_counters_and_what_may_fall_is_a_gauge() -> None:
    store, reports = Store(), Reports()
    status = {
        "phase": "Running",
        "revision": "r1-a",
        "usage": {"cpuSeconds": 5, "gpuSeconds": 6, "trainedTokens": 7},
        "restarts": {"failures": 1, "disruptions": 2, "total": 3},
    }
    store.put(FINE_TUNE_JOBS, resource(status=status))
    cost = {"count": 3, "seconds": 4, "blockedSeconds": 1, "bytes": 9, "lastSeconds": 2}
    reports.put(report(7, checkpointCost=cost), NOW)
    text = "\n".join(scrape(store, reports, NOW)) + "\n"
    kinds = {it.name: it.type for it in text_string_to_metric_families(text) if it.samples}
    counters = {name.removeprefix("luthier_run_") for name, it in kinds.items() if it == "counter"}
    assert counters == {
        "cpu_seconds", "gpu_seconds", "trained_tokens", "restarts_failures",
        "restarts_disruptions", "checkpoints", "checkpoint_seconds",
        "checkpoint_blocked_seconds", "checkpoint_bytes",
    }  # fmt: skip
    assert {
        kinds[f"luthier_run_{name}"] for name in ("step", "loss", "checkpoint_last_seconds")
    } == {"gauge"}


def test_no_text_and_no_number_breaks_the_page() -> None:
    """What Prometheus reads is what was meant, whatever stands in a name."""
    odd = 'a"b\\c\nd{e="f"} 1\ud800'
    values = {"loss": float("nan"), "eval_loss": float("inf"), "step": 2.0**53, "grad_norm": 1e308}
    odd_run = RunSample((odd, odd, "FineTuneJob", odd), odd, {**values, "learning_rate": -1e-300})
    plain = RunSample(("team", "tone", "FineTuneJob", "cpu"), "Running", {"step": 3.0})
    text = text_of([odd_run, plain]).decode()
    found = {
        (sample.name, sample.labels["name"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    written = odd.replace("\ud800", "?")
    assert found["luthier_run_step", "tone"] == 3
    assert found["luthier_run_step", written] == 2**53
    assert found["luthier_run_grad_norm", written] == 1e308
    assert found["luthier_run_learning_rate", written] == -1e-300
    assert found["luthier_run_eval_loss", written] == float("inf")
    assert found["luthier_run_loss", written] != found["luthier_run_loss", written]


def test_why_a_run_does_not_go_on_is_one_reason() -> None:
    def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
        times = {"lastTransitionTime": "2026-01-02T03:04:05Z", "message": "m"}
        return {"type": kind, "status": status, "reason": reason, **times}

    held = [condition("Scheduled", "False", "Queued"), condition("Stalled", "False", "Progressing")]
    (line,) = lines_of({"phase": "Queued", "conditions": held}, "luthier_run_reason{")
    assert 'reason="Queued"' in line
    failed = [*held[1:], condition("Failed", "True", "StorageUnavailable")]
    (line,) = lines_of({"phase": "Failed", "conditions": failed}, "luthier_run_reason{")
    assert 'reason="StorageUnavailable"' in line
    well = [condition("Scheduled", "True", "Scheduled")]
    assert lines_of({"phase": "Running", "conditions": well}, "luthier_run_reason{") == []


@pytest.mark.parametrize(
    ("told", "shown"), [("Training", "Training"), ("Measuring int8", "Measuring"), ("x", "Other")]
)
def test_the_stage_is_one_of_ours(told: str, shown: str) -> None:
    status = {"phase": "Running", "progress": {"stage": told}}
    (line,) = lines_of(status, "luthier_run_stage{")
    assert f'stage="{shown}"' in line
    assert lines_of(status | {"phase": "Complete"}, "luthier_run_stage{") == []


def test_the_time_left_counts_from_when_the_job_began() -> None:
    store = Store()
    store.put(
        FINE_TUNE_JOBS, resource(status={"phase": "Running", "revision": "r1-a", "attempt": 1})
    )
    job = job_of(Revision("r1-a", 1, "a"))
    job["spec"]["activeDeadlineSeconds"] = 3600
    job["status"]["startTime"] = timestamp(NOW - timedelta(seconds=600))
    store.put(JOBS, job)
    earlier = job_of(Revision("r0-a", 1, "a"))
    earlier["metadata"] |= {"name": "earlier"}
    earlier["spec"]["activeDeadlineSeconds"] = 60
    earlier["status"]["startTime"] = job["status"]["startTime"]
    store.put(JOBS, earlier)
    (line,) = [it for it in scrape(store, Reports(), NOW) if it.startswith("luthier_run_deadline")]
    assert line.endswith(" 3000.0")


def test_packages_and_candidates_have_series() -> None:
    store = Store()
    candidates = [
        {"precision": "int8", "sizeBytes": 5, "tokensPerSecond": 7, "metricDelta": -0.1},
        {"precision": "int4", "sizeBytes": 3, "verdict": "Rejected"},
        {"precision": "made up", "sizeBytes": 3},
    ]
    candidates[0]["verdict"] = "Chosen"
    artifact = {"uri": "s3://a/b", "manifestSha256": "0", "precision": "int8"}
    status = {"phase": "Complete", "candidates": candidates, "artifact": artifact}
    store.put(OPTIMIZE_JOBS, resource(status=status))
    bundle = {
        "phase": "Complete",
        "proof": {"adapters": 2, "sizeBytes": 9},
        "adapters": [{"name": "a", "state": "Included"}, {"name": "b", "state": "LeftOut"}],
    }
    store.put(ADAPTER_BUNDLES, resource(status=bundle))
    found = {
        line.split("{")[0].removeprefix("luthier_run_"): line.rsplit(" ", 1)[1]
        for line in scrape(store, Reports(), NOW)
        if line and "int4" not in line and not line.startswith("#")
    }
    expected = {
        "candidate_bytes": "5.0", "candidate_metric_delta": "-0.1", "candidate_verdict": "1.0",
        "package_tokens_per_second": "7.0", "package_adapters": "2.0", "adapters_left_out": "1.0",
    }  # fmt: skip
    assert expected.items() <= found.items()
    text = "\n".join(scrape(store, Reports(), NOW))
    (line,) = [
        it for it in text.splitlines() if "luthier_run_candidate_verdict{" in it and "int4" in it
    ]
    assert 'precision="int4",verdict="Rejected"' in line
    assert "made up" not in text
