"""The termination message fits the kubelet's limit, and what matters survives the cut."""

import math

import pytest

from luthier_api.finetunejob import (
    Change,
    CheckpointRef,
    DatasetFacts,
    Estimate,
    EvaluationResult,
    Progress,
)
from luthier_api.result import MAX_RESULT_BYTES, AdapterEnd, BundleResult, RunError, RunResult
from luthier_api.runstatus import ArtifactRef, Restarts, Usage

# The longest URI below an output of 512 characters: NAMESPACE/NAME/REVISION.
LONG_URI = "s3://" + "é" * 507 + f"/{'n' * 63}/{'j' * 40}/r1234-5f2c1e9a"
METRICS = {f"metric_of_some_length_{i:02}": 0.123456789012345 * i for i in range(16)}
CHANGE = {name: Change(by=value, low=-value, high=2 * value) for name, value in METRICS.items()}
MEASURED = EvaluationResult(
    split="test", examples=10**6, base=METRICS, tuned=METRICS, change=CHANGE
)

SMALL = RunResult(
    revision="r1-5f2c1e9a",
    attempt=1,
    outcome="Succeeded",
    checkpoints=[CheckpointRef(step=1, uri="s3://a/c", sha256="0" * 64)],
    artifact=ArtifactRef(uri="s3://a/b", manifest_sha256="0" * 64),
    restarts=Restarts(failures=1, disruptions=2, total=3),
)

LARGEST = RunResult(
    revision="r123456-5f2c1e9a",
    attempt=99,
    outcome="Failed",
    error=RunError(code="C" * 64, message="€" * 1500, param="dataset.template"),
    dataset_digest="sha256:" + "0" * 64,
    dataset_valid=False,
    dataset_summary="ü" * 200,
    progress=Progress(step=10**7, total_steps=10**7, loss=1.2345678901234567, eta="1d2h3m4s"),
    checkpoints=[CheckpointRef(step=i, uri=LONG_URI, sha256="0" * 64) for i in range(100)],
    dataset=DatasetFacts(train=10**9, eval=10**6, truncated_percent=1 / 3, tokens_max=10**6),
    estimate=Estimate(
        memory_bytes=10**12,
        duration_seconds=1e9 / 3,
        measured_memory_bytes=10**12,
        measured_duration_seconds=1e9 / 3,
    ),
    resolved={f"training.option{i}": "ü" * 60 for i in range(20)},
    overfitting="ü" * 300,
    inexact_resume="ü" * 300,
    evaluation=MEASURED,
    artifact=ArtifactRef(uri=LONG_URI, manifest_sha256="0" * 64),
    usage=Usage(cpu_seconds=1e9 / 3, gpu_seconds=1e9 / 3, trained_tokens=10**15),
    restarts=Restarts(failures=100, disruptions=100, total=200),
)


def test_a_small_result_is_whole() -> None:
    assert RunResult.model_validate_json(SMALL.to_bytes()) == SMALL


def test_the_largest_result_fits_and_keeps_what_matters() -> None:
    encoded = LARGEST.to_bytes()
    assert len(encoded) <= MAX_RESULT_BYTES
    result = RunResult.model_validate_json(encoded)
    assert result.outcome == "Failed"
    assert result.artifact == LARGEST.artifact
    assert result.evaluation == MEASURED.model_copy(update={"change": {}})
    assert result.restarts == LARGEST.restarts
    assert result.usage == LARGEST.usage
    assert result.error is not None
    assert result.error.code == "C" * 64
    assert result.error.message.startswith("€€€")
    assert result.error.message.endswith("€…")


def test_the_last_checkpoint_goes_before_the_metrics_and_after_the_others() -> None:
    metrics = MEASURED.model_copy(update={"change": {}})
    result = LARGEST.model_copy(
        update={"error": None, "dataset_summary": None, "artifact": None, "evaluation": metrics}
        | {"overfitting": None, "inexact_resume": None}
    )
    kept = RunResult.model_validate_json(result.to_bytes())
    assert kept.checkpoints == LARGEST.checkpoints[-1:]
    assert kept.resolved == {}
    assert kept.evaluation == metrics
    assert kept.progress == LARGEST.progress


def test_an_ordinary_result_keeps_its_intervals_and_warnings() -> None:
    some = dict(list(CHANGE.items())[:6])
    result = SMALL.model_copy(
        update={
            "evaluation": EvaluationResult(base=METRICS, tuned=METRICS, change=some),
            "overfitting": LARGEST.overfitting,
            "inexact_resume": LARGEST.inexact_resume,
            "dataset": LARGEST.dataset,
            "estimate": LARGEST.estimate,
        }
    )
    assert RunResult.model_validate_json(result.to_bytes()) == result


def test_control_characters_are_counted_as_they_are_encoded() -> None:
    result = SMALL.model_copy(update={"error": RunError(code="Data", message="\x00" * 1500)})
    assert len(result.to_bytes()) <= MAX_RESULT_BYTES


def test_what_can_not_fit_is_an_error() -> None:
    artifact = ArtifactRef(uri="s3://" + "é" * 2043, manifest_sha256="0" * 64)
    with pytest.raises(ValueError, match="r1-5f2c1e9a exceeds 4000 bytes"):
        SMALL.model_copy(update={"artifact": artifact}).to_bytes()


def test_the_end_of_a_bundle_that_leaves_out_all_of_the_most_adapters() -> None:
    message, code = "x" * 400, "AdapterOfAnotherBase"
    ends = [
        AdapterEnd(name=f"{number:063}", included=False, code=code, message=message)
        for number in range(64)
    ]
    error = RunError(code="NoAdapterLeft", message="y" * 1500)
    told = BundleResult(revision="r1-a", attempt=1, outcome="Failed", error=error, adapters=ends)
    found = BundleResult.model_validate_json(told.to_bytes())
    assert found.error
    assert found.error.code == "NoAdapterLeft"


def test_what_is_no_number_is_left_out() -> None:
    """The perplexity of a diverged model is infinite, its loss NaN; JSON has neither."""
    diverged = SMALL.model_copy(
        update={
            "progress": Progress(step=3, loss=math.nan),
            "evaluation": EvaluationResult(
                tuned={"perplexity": math.inf, "accuracy": 0.5},
                change={
                    "perplexity": Change(by=math.inf, low=1, high=math.inf),
                    "accuracy": Change(by=0.1, low=0.05, high=0.15),
                },
            ),
        }
    )
    encoded = diverged.to_bytes()
    assert b"NaN" not in encoded
    assert b"Infinity" not in encoded
    read = RunResult.model_validate_json(encoded)
    assert read.progress == Progress(step=3)
    assert read.evaluation == EvaluationResult(
        tuned={"accuracy": 0.5}, change={"accuracy": Change(by=0.1, low=0.05, high=0.15)}
    )
