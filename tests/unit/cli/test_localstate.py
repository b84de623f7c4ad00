"""A run on this machine as a resource."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from contract.manifests import ADAPTER_BUNDLE, OPTIMIZE_JOB
from unit.cli.orders import build

from luthier_api.adapterbundle import BundleProof
from luthier_api.finetunejob import CheckpointRef, Progress
from luthier_api.optimizejob import Candidate, OptimizedArtifact
from luthier_api.progress import ProgressReport
from luthier_api.result import AdapterEnd, BundleResult, OptimizeResult, RunError, RunResult
from luthier_api.runstatus import ArtifactRef
from luthier_cli import localstate
from luthier_cli.localstate import AnyOrder
from luthier_cli.state import cause, outcome, stage, warnings

NOW = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=9)
SOURCE = Candidate(precision="fp32", perplexity=12.5)
INT8 = Candidate(precision="int8", perplexity=12.6, verdict="Passed")


def report(order: AnyOrder | None = None, **values: object) -> ProgressReport:
    progress = Progress(stage="Training", step=4, total_steps=10)
    run = (order or build()).run
    return ProgressReport.model_validate(
        {"run": run, "pod": "here", "sequence": 1, "progress": progress, **values}
    )


def test_a_run_that_goes_on() -> None:
    body = localstate.running(build(), NOW, report(eta_seconds=60, resumed_from_step=3), NOW)
    status = body["status"]
    assert status["phase"] == "Running"
    assert status["progress"]["estimatedFinish"] == (NOW + timedelta(minutes=1)).isoformat()
    assert [c["message"] for c in status["conditions"]] == ["from the checkpoint of step 3"]
    assert outcome(body) is None


def test_before_the_first_report() -> None:
    assert localstate.running(build(), NOW, None, NOW)["status"]["phase"] == "Starting"


@pytest.mark.parametrize(
    ("result", "ended", "words"),
    [
        (RunResult(revision="r1-a", attempt=1, outcome="Succeeded"), "Complete", "published"),
        (
            RunResult(
                revision="r1-a",
                attempt=1,
                outcome="Failed",
                error=RunError(code="BadRow", message="line 3", param="dataset.uri"),
            ),
            "Failed",
            "line 3 [spec.dataset.uri]",
        ),
        (
            RunResult(
                revision="r1-a",
                attempt=1,
                outcome="Interrupted",
                checkpoints=[CheckpointRef(step=4, uri="file:///x", sha256="0")],
            ),
            None,
            "",
        ),
    ],
)
def test_a_run_that_has_ended(result: RunResult, ended: str | None, words: str) -> None:
    body = localstate.ended(build(), NOW, LATER, result)
    assert outcome(body) == ended
    assert words in cause(body)[1]
    assert len(body["status"].get("checkpoints", [])) == len(result.checkpoints)


def test_candidates_as_they_come() -> None:
    order = build(OPTIMIZE_JOB, gates={"metric": "f1", "maxMetricDrop": 0.01})
    told = report(order, baseline=SOURCE, candidates=[INT8])
    body = localstate.running(order, NOW, told, NOW)
    assert stage(body) == "Training"
    # As the operator has it: no steps.
    assert "progress" not in body["status"]
    assert body["status"]["candidates"] == [INT8.to_json()]
    assert body["status"]["baseline"] == SOURCE.to_json()
    assert body["spec"]["gates"]["metric"] == "f1"


def test_the_end_of_an_optimisation() -> None:
    order, known = build(OPTIMIZE_JOB), {"revision": "r1-a", "attempt": 1, "candidates": [INT8]}
    artifact = OptimizedArtifact(uri="file:///x", manifest_sha256="0", precision="int8")
    done = OptimizeResult(**known, outcome="Succeeded", artifact=artifact)
    body = localstate.ended(order, NOW, LATER, done)
    assert outcome(body) == "Complete"
    assert body["status"]["artifact"] == artifact.to_json()
    assert conditions(body) == {"Complete": "True", "GatesPassed": "True"}

    error = RunError(code="GatesNotMet", message="none passed", param="gates")
    missed = OptimizeResult(**known, outcome="Failed", error=error)
    body = localstate.ended(order, NOW, LATER, missed)
    assert cause(body) == ("GatesNotMet", "none passed [spec.gates]")
    assert conditions(body) == {"Failed": "True", "GatesPassed": "False"}
    assert body["status"]["candidates"] == [INT8.to_json()]


def test_a_bundle_and_what_became_of_its_adapters() -> None:
    own = {"name": "own", "uri": "s3://a/own"}
    order = build(ADAPTER_BUNDLE, adapters=[*ADAPTER_BUNDLE["spec"]["adapters"], own])
    body = localstate.running(order, NOW, report(order), NOW)
    assert states(body) == {"tone": "Pending", "own": "Pending"}
    end = AdapterEnd(name="own", included=False, code="Dora", message="it is a DoRA")
    body = localstate.running(order, NOW, report(order, adapters=[end]), NOW)
    assert states(body) == {"tone": "Pending", "own": "LeftOut"}
    assert warnings(body) == ["AdaptersCompatible: own (Dora): it is a DoRA"]

    # Of what a short result says nothing, the package has it.
    result = BundleResult(
        revision="r1-a",
        attempt=1,
        outcome="Succeeded",
        adapters=[end],
        proof=BundleProof(adapters=1, isolated=True),
        artifact=ArtifactRef(uri="file:///x", manifest_sha256="0"),
    )
    body = localstate.ended(order, NOW, LATER, result)
    assert states(body) == {"tone": "Included", "own": "LeftOut"}
    assert body["status"]["current"]["uri"] == "file:///x"
    assert body["status"]["proof"]["isolated"]


def conditions(body: dict[str, Any]) -> dict[str, str]:
    return {it["type"]: it["status"] for it in body["status"]["conditions"]}


def states(body: dict[str, Any]) -> dict[str, str]:
    return {it["name"]: it["state"] for it in body["status"]["adapters"]}
