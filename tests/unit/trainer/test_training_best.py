"""Early stopping: when it stops, and whose weights are the result."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from unit.trainer.training_runs import Fit, llama, rows, same

from luthier_api.training import EarlyStopping
from luthier_trainer.errors import TrainerError
from luthier_trainer.training.best import Best, updated
from luthier_trainer.training.checkpointfolder import complete_steps
from luthier_trainer.training.checkpointwriter import CheckpointWriter

Measure = Callable[[Any, Any], Mapping[str, float]]


def replayed(values: dict[int, float], seen: dict[int, Any], name: str = "loss") -> Measure:
    """A measure with given values, one an evaluation, that notes the weights it saw."""
    steps: Iterator[int] = iter(values)

    def measure(model: Any, _items: Any) -> Mapping[str, float]:
        step = next(steps)
        seen[step] = {n: p.detach().clone() for n, p in model.named_parameters()}
        return {"loss": 1.0, name: values[step]}

    return measure


def stopping(tmp_path: Path, measure: Measure, **changes: Any) -> Fit:
    early = {"patience": 3, **changes.pop("early", {})}
    return Fit(
        tmp_path,
        settings={
            "maxSteps": 20,
            "evalEverySteps": 1,
            "saveEverySteps": 5,
            "gradientAccumulationSteps": 1,
            "earlyStopping": early,
        },
        eval_items=rows(4, seed=9),
        measure=measure,
        **changes,
    )


def test_the_best_weights_are_the_result_and_their_checkpoint_is_kept(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    values = {1: 3.0, 2: 2.0, 3: 1.0, 4: 1.5, 5: 1.2, 6: 1.1}
    fit = stopping(tmp_path, replayed(values, seen), keep_last=1)
    outcome = fit()
    assert (outcome.step, outcome.best_step, outcome.total_steps) == (6, 3, 20)
    assert outcome.learning_seconds is None  # of fewer steps than were estimated
    assert same(fit.weights, seen[3])
    assert not same(seen[3], seen[6])
    assert complete_steps(fit.store) == [3, 6]
    assert [ref.step for ref in fit.writer.refs] == [3, 6]

    again = fit()  # as after a pod that died while it evaluated the result
    assert (again.step, again.best_step, again.trained_tokens) == (6, 3, 0)
    assert same(fit.weights, seen[3])


def test_more_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    values = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.8, 5: 0.85}
    fit = stopping(tmp_path, replayed(values, seen, "f1"), watched="f1", lower_is_better=False)
    outcome = fit()
    assert (outcome.step, outcome.best_step) == (5, 2)
    assert same(fit.weights, seen[2])
    assert outcome.journal.series("eval_f1")[1] == list(values.values())


@pytest.mark.parametrize("stop_at", [2, 4, 5, 6])
def test_a_stop_in_between_changes_nothing(stop_at: int, tmp_path: Path) -> None:
    """The evaluation of the step that is stopped in is made by the pod that goes on, which makes
    no further step where that evaluation ends the training."""
    seen: dict[int, Any] = {}
    values = {1: 3.0, 2: 2.0, 3: 1.0, 4: 1.5, 5: 1.2, 6: 1.1}
    fit = stopping(tmp_path, replayed(values, seen), keep_last=1, stop_at=stop_at + 1)
    assert fit().step == stop_at
    assert list(seen) == list(range(1, stop_at))
    fit.stop_at = None
    outcome = fit()
    assert (outcome.step, outcome.best_step) == (6, 3)
    assert same(fit.weights, seen[3])
    assert outcome.journal.series("eval_loss") == ([*values], [*values.values()])


@pytest.mark.parametrize("stop_at", [4, 6], ids=["within-an-epoch", "at-its-end"])
def test_what_is_saved_after_a_late_evaluation_has_the_generators_of_its_step(
    stop_at: int, tmp_path: Path
) -> None:
    """A second pod dies right after that checkpoint, and a third one goes on from it."""

    def ever_better() -> Measure:
        values = count(20, -1)

        def measure(_model: Any, _items: Any) -> Mapping[str, float]:
            torch.rand(3)  # as a loss of the user's own may
            return {"loss": float(next(values))}

        return measure

    def fit(name: str) -> Fit:
        dropout = partial(llama, dropout=0.3)
        return stopping(tmp_path / name, ever_better(), make_model=dropout, items=rows(12))

    undisturbed, stopped = fit("undisturbed"), fit("stopped")
    undisturbed.settings["maxSteps"] = stopped.settings["maxSteps"] = 8
    undisturbed()
    stopped.stop_at = stop_at + 1  # told while the step ends: its evaluation isn't begun
    assert stopped().step == stop_at
    stopped.stop_at = None
    stopped()
    assert same(stopped.weights, undisturbed.weights)
    later = range(stop_at + 1, 9)
    stopped.store.delete([f"checkpoints/step-{step:06d}/manifest.json" for step in later])
    assert complete_steps(stopped.store)[-1] == stop_at
    outcome = stopped()
    assert (outcome.step, outcome.best_step) == (8, 8)
    assert same(stopped.weights, undisturbed.weights)


def test_a_best_state_that_waits_for_its_upload_gives_way_to_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage is slow: the first state is on its way until training waits for room."""
    seen: dict[int, Any] = {}
    values = {1: 3.0, 2: 2.0, 3: 1.0, 4: 1.5, 5: 1.2, 6: 1.1}
    replay, first_is_on_its_way, waited = replayed(values, seen), Event(), Event()

    def measure(model: Any, items: Any) -> Mapping[str, float]:
        assert not seen or first_is_on_its_way.wait(60)
        return replay(model, items)

    fit = stopping(tmp_path, measure, keep_last=1, keep_all=False)
    upload, make_room = fit.store.upload, CheckpointWriter.make_room
    uploaded: dict[str, None] = {}

    def slow(key: str, path: Path) -> None:
        first_is_on_its_way.set()
        assert waited.wait(60)
        uploaded[key.split("/")[1]] = None
        upload(key, path)

    def crowded(writer: CheckpointWriter, best_step: int | None) -> None:
        if 4 in seen:  # the first is on its way, and the best waits
            waited.set()
        make_room(writer, best_step)

    fit.store.upload = slow  # type: ignore[method-assign]
    monkeypatch.setattr(CheckpointWriter, "make_room", crowded)
    outcome = fit()
    assert outcome.best_step == 3
    assert same(fit.weights, seen[3])
    steps = list(uploaded)
    assert steps[:2] == ["step-000001", "step-000003"]
    assert steps[-1] == "step-000006"


def test_without_early_stopping_the_last_weights_are_the_result(tmp_path: Path) -> None:
    seen: dict[int, Any] = {}
    fit = stopping(tmp_path, replayed(dict.fromkeys(range(1, 21), 1.0), seen))
    del fit.settings["earlyStopping"]
    outcome = fit()
    assert (outcome.step, outcome.best_step) == (20, None)
    assert same(fit.weights, seen[20])


def test_a_lost_best_checkpoint_is_told(tmp_path: Path) -> None:
    values = {1: 3.0, 2: 2.0, 3: 2.5, 4: 2.5, 5: 2.5}
    fit = stopping(tmp_path, replayed(values, {}))
    fit()
    fit.store.delete(["checkpoints/step-000002/manifest.json"])
    with pytest.raises(TrainerError, match="BestCheckpointLost: the checkpoint of step 2"):
        fit()


def test_patience_counts_what_is_not_better_enough() -> None:
    settings = EarlyStopping(patience=2, min_delta=0.1)
    best = updated(None, 1, 1.0, settings, True)
    best = updated(best, 2, 0.95, settings, True)  # the best, but not by enough
    assert best == Best(2, 0.95, waited=1)
    best = updated(best, 3, 0.96, settings, True)
    assert best == Best(2, 0.95, waited=2)
    assert updated(best, 4, 0.8, settings, True) == Best(4, 0.8, waited=0)


def test_what_is_no_number_is_never_the_best() -> None:
    settings = EarlyStopping()
    best = updated(None, 1, float("nan"), settings, False)
    best = updated(best, 2, float("nan"), settings, False)
    assert best.waited == 1
    assert updated(best, 3, 0.1, settings, False) == Best(3, 0.1)
