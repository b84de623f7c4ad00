"""Every optimiser on the GPU: it trains, and goes on from a checkpoint bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.test_optimizers import WORK
from unit.trainer.training_runs import Fit, llama, rows, same

from luthier_trainer.training import loop

# Weights of more than 100,000 numbers: those of paged optimisers are paged from there on.
_HIDDEN = 256


@pytest.mark.parametrize("name", WORK)
def test_trains_and_goes_on_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizers: list[Any] = []
    make = loop.make_optimizer

    def seen(*arguments: Any) -> Any:
        optimizers.append(make(*arguments))
        return optimizers[-1]

    monkeypatch.setattr(loop, "make_optimizer", seen)

    def fit(folder: str, stop_at: int | None = None) -> Fit:
        return Fit(
            tmp_path / folder,
            make_model=lambda: llama(hidden=_HIDDEN),
            settings={
                "optimizer": name,
                "maxSteps": 4,
                "learningRate": 0.5 if name == "sgd" else 0.001,
                "weightDecay": 0.01,
                "gradientAccumulationSteps": 1,
                "perDeviceBatchSize": 8,
                "logEverySteps": 1,
                "scheduler": "constant",
            },
            items=rows(8),
            stop_at=stop_at,
        )

    whole, stopped = fit("whole"), fit("stopped", 2)
    losses = whole().journal.series("loss")[1]
    assert losses[-1] < losses[0]
    stopped()
    stopped.stop_at = None
    stopped()
    assert all(p.is_cuda for p in stopped.weights.values())
    assert same(stopped.weights, whole.weights)
    paged = list(map(_paged, optimizers))
    assert paged[0] == paged[2]
    assert bool(paged[0]) == name.startswith("paged")


def _paged(optimizer: Any) -> int:
    """Bytes of state that the GPU may move to the machine's memory."""
    return sum(
        value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and getattr(value, "is_paged", False)
    )
