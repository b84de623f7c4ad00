"""No interval where rows tell too little of others; and it is said why."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from luthier_api.finetunejob import EvaluationResult
from luthier_api.optimizejob import Candidate, Gates
from luthier_trainer.evaluation.bootstrap import FEWEST, intervals, resample
from luthier_trainer.evaluation.compare import Comparison, compare
from luthier_trainer.evaluation.measure import Measurement
from luthier_trainer.objectives.objective import Prediction
from luthier_trainer.optimize.gates import judge
from luthier_trainer.pages.numbers import changed

LABEL = ("accuracy", "f1", "loss")
TEXT = ("exact_match", "bleu", "chrf", "rougeL", "loss")
SCORE = ("spearman", "pearson", "loss")


def measured(kind: str, answers: Sequence[object], gold: Sequence[object]) -> Measurement:
    predictions = [Prediction(1.0 + n / 7, 1, answer) for n, answer in enumerate(answers)]
    return Measurement(kind, gold, predictions, 1.0)  # type: ignore[arg-type]


def compared(kind: str, names: Sequence[str], count: int) -> Comparison:
    """A base that is wrong in the odd rows against a tuned model that is wrong in every third."""
    gold: list[object] = [f"the answer to this question is {n}" for n in range(count)]
    if kind == "score":
        gold = [n / count for n in range(count)]
    wrong: object = 0.25 if kind == "score" else "nothing of it"
    sides = [
        measured(kind, [wrong if n % step == 1 else gold[n] for n in range(count)], gold)
        for step in (2, 3)
    ]
    return compare(sides[0], sides[1], names, "test")


@pytest.mark.parametrize(("kind", "names"), [("label", LABEL), ("text", TEXT), ("score", SCORE)])
@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_of_too_few_rows_there_is_none(kind: str, names: Sequence[str], count: int) -> None:
    found = compared(kind, names, count)
    assert found.result.tuned  # the values themselves are told
    for change in found.result.change.values():
        assert change.low is change.high is None
        assert change.no_interval
        assert change.no_interval.startswith(f"{count} row")
        by, interval = changed(change)
        assert by
        assert interval.startswith("none: ")
    for side in ("base", "tuned"):
        ends = found.document["intervals"][side]
        assert ends.keys() == set(names)
        assert all("noInterval" in each and "low" not in each for each in ends.values())
    json.dumps(found.document, allow_nan=False)
    stored = EvaluationResult.model_validate(found.result.to_json())
    assert stored == found.result


@pytest.mark.parametrize(("kind", "names"), [("label", LABEL[:2]), ("text", TEXT[:4])])
def test_of_enough_rows_there_is_one(kind: str, names: Sequence[str]) -> None:
    for change in compared(kind, names, 4 * FEWEST).result.change.values():
        assert change.low is not None
        assert change.high is not None
        assert change.low < change.high
        assert change.no_interval is None


def test_of_the_same_in_every_row_there_is_none() -> None:
    gold = ["red"] * 50
    never = measured("label", ["blue"] * 50, gold)
    found = compare(never, never, ["accuracy", "loss"])
    assert found.result.change["accuracy"].by == 0
    assert found.result.change["accuracy"].low is None
    assert "the same in every sample" in (found.result.change["accuracy"].no_interval or "")
    assert "noInterval" in found.document["intervals"]["base"]["accuracy"]
    assert found.document["intervals"]["base"]["loss"].keys() == {"low", "high"}


def test_a_constant_that_rounding_moves_is_one() -> None:
    tenths = np.full(30, 0.1)
    (values,) = resample([lambda counts: (counts @ tenths)[:, None] / 30], 30)
    (found,) = intervals(values, 30)
    assert isinstance(found, str)


@pytest.mark.parametrize(
    ("rows", "delta", "verdict"),
    [(2, 0.0, "Undecided"), (2, 0.5, "Undecided"), (200, 0.0, "Passed"), (200, -0.5, "Rejected")],
)
def test_a_gate_is_not_passed_by_rows_that_tell_nothing(
    rows: int, delta: float, verdict: str
) -> None:
    gates = Gates.model_validate({"metric": "accuracy", "maxMetricDrop": 0.01})
    candidate = Candidate(precision="int8", metric=0.5, metric_delta=delta)
    found = judge(candidate, Candidate(precision="fp32", metric=0.5), gates, rows)
    assert found.verdict == verdict
