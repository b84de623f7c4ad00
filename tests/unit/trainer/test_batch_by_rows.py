"""The batch that `auto` comes to leaves an epoch enough steps to learn from."""

from dataclasses import replace
from typing import Any

import pytest
from unit.trainer.training_runs import Causal, llama, rows

from luthier_api.training import Training
from luthier_trainer.models.precision import Precision
from luthier_trainer.training import estimate
from luthier_trainer.training import resolve as resolving
from luthier_trainer.training.resolve import Resolved, resolve

PLENTY = 1 << 50


def resolved(count: int, packed: bool = False, **changes: Any) -> Resolved:
    training = Training.model_validate(
        {"epochs": 1, "perDeviceBatchSize": "auto", "maxLength": 32, **changes}
    )
    return resolve(
        llama(),
        Causal(),
        rows(count),
        training,
        Precision("fp32"),
        PLENTY,
        batching="packed" if packed else "padded",
    )


@pytest.mark.parametrize(
    ("count", "changes", "size"),
    [
        (100, {}, 2),
        (400, {}, 8),
        (400, {"gradientAccumulationSteps": 4}, 2),
        (30, {}, 1),
        (3000, {}, 32),  # the largest that is any faster on a CPU
        (100, {"similarity": {"objective": "in_batch_negatives"}}, 8),
    ],
)
def test_an_epoch_has_some_fifty_steps(count: int, changes: dict[str, Any], size: int) -> None:
    assert resolved(count, **changes).batch_size == size


def test_packed_rows_are_counted_and_not_what_is_in_them() -> None:
    loose, packed = resolved(400), resolved(400, packed=True)
    tokens = sum(map(len, rows(400)))
    assert packed.batch_size <= max(1, tokens / 32 / 50) < loose.batch_size


@pytest.mark.parametrize(
    ("batch", "accumulation", "steps"), [(8, 1, "50"), (8, 3, "17"), (500, 1, "1")]
)
def test_the_steps_of_an_epoch_are_told(
    batch: int, accumulation: int, steps: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = resolved(400, perDeviceBatchSize=batch, gradientAccumulationSteps=accumulation)
    assert found.batch_size == batch  # a given one stays
    assert found.notes["stepsPerEpoch"] == steps
    assert f"an epoch has {steps} steps of {batch} × {accumulation} rows" in capsys.readouterr().err


def test_packed_steps_take_as_long_as_what_is_packed_into_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def calibrate(*given: Any, **more: Any) -> estimate.Calibration:
        return replace(estimate.calibrate(*given, **more), seconds_per_token=1e-3)

    monkeypatch.setattr(resolving, "calibrate", calibrate)
    estimates = [
        resolved(400, packed, epochs=None, maxSteps=100, perDeviceBatchSize=4).estimate
        for packed in (False, True)
    ]
    loose, packed = (each.duration_seconds or 0.0 for each in estimates)
    assert packed > loose
