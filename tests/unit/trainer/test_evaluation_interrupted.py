"""A stop that comes while eval is measured costs nothing: the evaluation is made up for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from unit.trainer import training_runs
from unit.trainer.training_runs import Fit, course, measured_loss, rows, same

from luthier_trainer.errors import Interrupted
from luthier_trainer.evaluation.rowprogress import RowProgress
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.training import checkpoint

SETTINGS = {"evalEverySteps": 4, "earlyStopping": {"patience": 50}, "saveEverySteps": 100}


@pytest.fixture
def interrupts(monkeypatch: pytest.MonkeyPatch) -> list[Interrupt]:
    """Those of the trainings, the newest last."""
    made: list[Interrupt] = []

    def make(grace: float) -> Interrupt:
        made.append(Interrupt(grace))
        return made[-1]

    monkeypatch.setattr(training_runs, "Interrupt", make)
    return made


def fit(folder: Path, measure: Callable[..., Mapping[str, float]] = measured_loss) -> Fit:
    return Fit(folder, settings=SETTINGS, eval_items=rows(6), measure=measure)


def stopped_in(number: int, interrupts: list[Interrupt]) -> Callable[..., Mapping[str, float]]:
    """SIGTERM comes within that evaluation, which would take far longer than there is time."""
    count = 0

    def measure(model: Any, items: Sequence[Any]) -> Mapping[str, float]:
        nonlocal count
        count += 1
        if count == number:
            interrupts[-1]._on_signal(15, None)
            raise AssertionError("the evaluation went on")
        return measured_loss(model, items)

    return measure


@pytest.mark.parametrize(("number", "step"), [(1, 4), (2, 8), (3, 12)])
def test_it_ends_at_once_and_is_made_up_for(
    number: int, step: int, tmp_path: Path, interrupts: list[Interrupt]
) -> None:
    undisturbed = fit(tmp_path / "undisturbed")
    expected = undisturbed()
    disturbed = fit(tmp_path / "disturbed", stopped_in(number, interrupts))
    assert disturbed().step == step
    found = checkpoint.read_latest(disturbed.store, tmp_path)
    assert found
    assert (found[0].step, found[0].document["owes_evaluation"]) == (step, True)
    assert not found[0].document["done"]
    disturbed.measure = measured_loss
    outcome = disturbed()
    assert course(outcome) == course(expected)
    assert outcome.best_step == expected.best_step
    assert same(disturbed.weights, undisturbed.weights)


def test_what_is_made_up_for_can_be_stopped_too(
    tmp_path: Path, interrupts: list[Interrupt]
) -> None:
    undisturbed = fit(tmp_path / "undisturbed")
    expected = undisturbed()
    disturbed = fit(tmp_path / "disturbed", stopped_in(2, interrupts))
    assert disturbed().step == 8
    for _ in range(2):  # two pods that are stopped before they took a step
        disturbed.measure = stopped_in(1, interrupts)
        assert disturbed().step == 8
    disturbed.measure = measured_loss
    assert course(disturbed()) == course(expected)
    assert same(disturbed.weights, undisturbed.weights)


def test_a_stop_in_the_last_step_leaves_its_evaluation_to_the_next_pod(
    tmp_path: Path, interrupts: list[Interrupt]
) -> None:
    measured: list[int] = []

    def counting(model: Any, items: Sequence[Any]) -> Mapping[str, float]:
        measured.append(len(items))
        return measured_loss(model, items)

    disturbed = fit(tmp_path, counting)
    disturbed.stop_at = 13  # while step 12, the last one, ends
    assert disturbed().step == 12
    assert len(measured) == 2
    disturbed.stop_at = None
    assert disturbed().journal.series("eval_loss")[0] == [4, 8, 12]


def test_a_signal_that_a_library_swallowed_is_raised_between_batches() -> None:
    interrupt = Interrupt(30)
    progress = RowProgress(_Reports(), "Evaluating", 10, interrupt.check)  # type: ignore[arg-type]
    progress(4)
    with pytest.raises(Interrupted):
        interrupt._on_signal(15, None)
    with pytest.raises(Interrupted):
        progress(4)


def test_within_what_is_deferred_a_part_may_be_left_at_once() -> None:
    interrupt = Interrupt(30)
    with interrupt.deferred():
        with pytest.raises(Interrupted), interrupt.at_once():
            interrupt._on_signal(15, None)
        with pytest.raises(Interrupted), interrupt.at_once():
            raise AssertionError("it was asked for before")
    assert interrupt.requested


class _Reports:
    def update(self, **_: Any) -> None: ...
