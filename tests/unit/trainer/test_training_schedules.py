"""The learning rate of each schedule, as training saw it."""

import math
from collections.abc import Iterator
from itertools import count, repeat
from pathlib import Path
from typing import Any, get_args

import pytest
from unit.trainer.training_runs import Fit, rows

from luthier_api.training import Training

STEPS, RATE = 20, 0.01


def warm(step: int, warmup: int = 4) -> float:
    return step / warmup


def decay(step: int, warmup: int = 4) -> float:
    """Share of the way from the end of the warm-up to the end."""
    return (step - warmup) / (STEPS - warmup)


def cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


# By name: its settings, and the rate of the `step`-th optimiser step, from 0, after warm-up.
SCHEDULES: dict[str, tuple[dict[str, Any], Any]] = {
    "linear": ({}, lambda step: 1 - decay(step)),
    "cosine": ({}, lambda step: cosine(decay(step))),
    "cosine_with_restarts": (
        {"schedulerOptions": {"cycles": 2}},
        lambda step: cosine(2 * decay(step) % 1),
    ),
    "polynomial": (
        {"schedulerOptions": {"power": 2}},
        lambda step: (1 - 1e-5) * (1 - decay(step)) ** 2 + 1e-5,
    ),
    "constant_with_warmup": ({}, lambda _: 1.0),
    "inverse_sqrt": ({}, lambda step: 1 / math.sqrt((step + 0) / 4)),
    "cosine_with_min_lr": (
        {"schedulerOptions": {"minLearningRate": 0.002}},
        lambda step: 0.8 * cosine(decay(step)) + 0.2,
    ),
    "cosine_warmup_with_min_lr": (
        {"schedulerOptions": {"minLearningRate": 0.002}},
        # transformers counts the decay from the step before the warm-up's end.
        lambda step: 0.8 * cosine((step - 3) / (STEPS - 4)) + 0.2,
    ),
    "warmup_stable_decay": (
        {"schedulerOptions": {"decayRatio": 0.5}},
        lambda step: 1.0 if step < 10 else cosine((step - 10) / 10),
    ),
}


def rates(tmp_path: Path, **settings: Any) -> list[float]:
    fit = Fit(
        tmp_path,
        settings={
            "maxSteps": STEPS,
            "learningRate": RATE,
            "logEverySteps": 1,
            "saveEverySteps": 100,
            "gradientAccumulationSteps": 1,
            **settings,
        },
        items=rows(8),
        eval_items=rows(4, seed=9) if "evalEverySteps" in settings else (),
    )
    return fit().journal.series("learning_rate")[1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_of_each_step(name: str, tmp_path: Path) -> None:
    settings, expected = SCHEDULES[name]
    found = rates(tmp_path, scheduler=name, warmupRatio=0.2, **settings)
    if name == "cosine_warmup_with_min_lr":
        assert found[:4] == pytest.approx([RATE * warm(step + 1) for step in range(4)])
    else:
        assert found[:5] == pytest.approx([RATE * warm(step) for step in range(5)])
    assert found[4:] == pytest.approx([RATE * expected(s) for s in range(4, STEPS)], rel=1e-4)


def test_constant(tmp_path: Path) -> None:
    assert rates(tmp_path, scheduler="constant") == [RATE] * STEPS


def watching(tmp_path: Path, scheduler: str, losses: Iterator[float]) -> list[float]:
    """The rates where the evaluations give these losses."""
    fit = Fit(
        tmp_path,
        settings={
            "maxSteps": STEPS,
            "learningRate": RATE,
            "logEverySteps": 1,
            "saveEverySteps": 100,
            "gradientAccumulationSteps": 1,
            "scheduler": scheduler,
            "evalEverySteps": 1,
        },
        items=rows(8),
        eval_items=rows(4),
        measure=lambda _model, _items: {"loss": next(losses)},
    )
    return fit().journal.series("learning_rate")[1]


def test_a_plateau_lowers_the_rate(tmp_path: Path) -> None:
    """transformers waits for ten evaluations without a better one."""
    found = watching(tmp_path, "reduce_lr_on_plateau", repeat(1.0))
    assert found[:12] == [RATE] * 12
    assert found[12:] == pytest.approx([RATE / 10] * (STEPS - 12))


def test_greedy_raises_the_rate_while_the_loss_falls_and_else_lowers_it(tmp_path: Path) -> None:
    falls = watching(tmp_path / "falls", "greedy", (1 / n for n in count(1)))
    stays = watching(tmp_path / "stays", "greedy", repeat(1.0))
    assert falls[0] == stays[0] == RATE
    assert falls[-1] > RATE
    assert stays[-1] < RATE


def test_all_schedulers_of_transformers_can_be_chosen() -> None:
    from transformers import SchedulerType

    chosen = get_args(Training.model_fields["scheduler"].annotation)
    assert set(chosen) == {kind.value for kind in SchedulerType}


def test_a_tiny_rate_with_polynomial(tmp_path: Path) -> None:
    """transformers refuses a rate below the end that it sets itself."""
    assert len(rates(tmp_path, scheduler="polynomial", learningRate=1e-8)) == STEPS
