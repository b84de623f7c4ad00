"""Settings that go by evaluations, where the training has too few of them."""

from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.training_runs import Fit, rows

from luthier_api.training import Training
from luthier_trainer.errors import TrainerError
from luthier_trainer.training.evaluations import check_evaluations


def settings(**changes: Any) -> Training:
    return Training.model_validate({"epochs": 1, **changes})


@pytest.mark.parametrize(
    ("changes", "steps", "most"),
    [
        ({"earlyStopping": {}, "evalEverySteps": 8}, 8, 7),
        ({"scheduler": "greedy", "evalEverySteps": 3}, 33, 2),
        ({"scheduler": "reduce_lr_on_plateau", "evalEverySteps": 4}, 48, 3),
    ],
)
def test_too_few_evaluations(changes: dict[str, Any], steps: int, most: int) -> None:
    with pytest.raises(TrainerError, match=f"has {steps} steps.*at most {most}, or") as caught:
        check_evaluations(settings(**changes), steps)
    assert caught.value.error.param == "training.evalEverySteps"
    check_evaluations(settings(**{**changes, "evalEverySteps": most}), steps)
    check_evaluations(settings(**changes), steps + 1)


def test_no_interval_is_short_enough() -> None:
    with pytest.raises(TrainerError, match="train longer, or do without greedy"):
        check_evaluations(settings(scheduler="greedy", evalEverySteps=1), 11)


def test_an_evaluation_after_the_end_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    check_evaluations(settings(evalEverySteps=8), 8)
    assert "warning" not in "".join(capsys.readouterr())
    check_evaluations(settings(evalEverySteps=9), 8)
    assert "evalEverySteps 9 is more than the 8 steps" in "".join(capsys.readouterr())


def test_the_steps_of_epochs_are_checked_before_the_first(tmp_path: Path) -> None:
    fit = Fit(
        tmp_path,
        settings={"epochs": 1, "evalEverySteps": 100, "earlyStopping": {}},
        items=rows(8),
        eval_items=rows(4),
        measure=lambda _model, _items: {"loss": next(repeat(1.0))},
    )
    with pytest.raises(TrainerError, match="TooFewEvaluations"):
        fit()
