"""fp16 on a GPU: the loss is scaled, and what is no number is told or costs its step alone."""

from pathlib import Path

import pytest
import torch
from unit.trainer.test_training_faults import Spoilt
from unit.trainer.training_runs import Fit, llama, rows, same

from luthier_trainer.errors import TrainerError
from luthier_trainer.training import checkpoint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rows_without_a_finite_loss_are_named_before_the_step(value: float, tmp_path: Path) -> None:
    """The sixth batch is the second of step 3; no scale would help."""
    objective = Spoilt(6, value)
    fit = Fit(tmp_path, objective=objective, precision="fp16")
    with pytest.raises(TrainerError) as caught:
        fit()
    message = caught.value.error.message
    assert caught.value.error.code == "LossNotFinite"
    assert "step 3" in message
    named = {int(part.split(",")[0].split(";")[0]) for part in message.split("data.jsonl:")[1:]}
    ids = {tuple(row[row != 0].tolist()) for row in objective.batch["input_ids"]}
    assert {tuple(fit.items[index].ids) for index in named} == ids
    found = checkpoint.read_latest(fit.store, tmp_path)
    assert found
    assert found[0].step == 2
    kept = {n.removeprefix("model."): t for n, t in found[0].tensors.items()}
    assert all(torch.equal(p.cpu(), kept[n]) for n, p in fit.weights.items())


def test_a_gradient_that_overflows_costs_its_step_alone(tmp_path: Path) -> None:
    fit = Fit(tmp_path, objective=Spoilt(6, 1.0, gradient=True), precision="fp16")
    outcome = fit()
    assert outcome.step == 12
    states = {}
    for step in (2, 3, 4):
        fresh = llama().cuda()
        checkpoint.restore_weights(fit.store, step, tmp_path, fresh)
        states[step] = dict(fresh.named_parameters())
    assert same(states[2], states[3])
    assert not same(states[3], states[4])
    assert all(torch.isfinite(p).all() for p in fit.weights.values())


def test_going_on_takes_the_scale_from_the_checkpoint(tmp_path: Path) -> None:
    """The gradient of step 2 overflows, which halves the scale; the run is stopped at step 4."""

    def fit(folder: str, stop_at: int | None = None) -> Fit:
        return Fit(
            tmp_path / folder,
            make_model=lambda: llama(hidden=64),
            settings={"maxSteps": 8, "logEverySteps": 1, "gradientAccumulationSteps": 1},
            items=rows(16),
            objective=Spoilt(2, 1.0, gradient=True),
            stop_at=stop_at,
            precision="fp16",
        )

    whole, stopped = fit("whole"), fit("stopped", 4)
    whole()
    stopped()
    found = checkpoint.read_latest(stopped.store, tmp_path)
    assert found
    assert found[0].document["scaler"]["scale"] < 2.0**16
    stopped.stop_at = None
    stopped()
    assert same(stopped.weights, whole.weights)
