"""Whether a result comes into use, by what was measured."""

from typing import Any

import pytest

from luthier_api.finetunejob import EvaluationResult
from luthier_api.promotion import Promote
from luthier_api.verdict import Verdict, deciding_metric, judge

BETTER = {"by": 0.1, "low": 0.02, "high": 0.18}
UNSURE = {"by": 0.1, "low": -0.02, "high": 0.22}
WORSE = {"by": -0.1, "low": -0.18, "high": -0.02}


def measured(
    change: dict[str, Any] | None, metric: str = "accuracy", tuned: float = 0.9, **fields: Any
) -> EvaluationResult:
    return EvaluationResult.model_validate(
        {
            "examples": 200,
            "tuned": {"loss": 0.5, metric: tuned},
            "comparedWith": "r1-00000001",
            "inUse": {metric: 0.8},
            "gain": {metric: change} if change else {},
        }
        | fields
    )


def verdict(evaluation: EvaluationResult | None, **promote: Any) -> Verdict:
    asked = Promote.model_validate({"when": "IfBetter"} | promote)
    return judge(asked, evaluation, in_use="r1-00000001")


@pytest.mark.parametrize(
    ("change", "promote", "promoted", "reason"),
    [
        (BETTER, {}, True, "Better"),
        (WORSE, {}, False, "NotBetter"),
        (UNSURE, {}, False, "Undecided"),
        (BETTER, {"minGain": 0.05}, False, "Undecided"),
        (BETTER, {"minGain": 0.5}, False, "NotBetter"),
        (UNSURE, {"tolerance": 0.05}, True, "Better"),
        (WORSE, {"tolerance": 0.01}, False, "NotBetter"),
        ({"by": 0.0, "low": 0.0, "high": 0.0}, {}, False, "NotBetter"),
        ({"by": 0.0, "low": 0.0, "high": 0.0}, {"tolerance": 0.01}, True, "Better"),
    ],
)
def test_the_whole_interval_decides(
    change: dict[str, Any], promote: dict[str, Any], promoted: bool, reason: str
) -> None:
    found = verdict(measured(change), metric="accuracy", **promote)
    assert (found.promoted, found.reason) == (promoted, reason)
    assert f"{change['by']:+.4g} against r1-00000001" in found.sentence
    assert found.sentence.endswith(".")


def test_of_a_loss_less_is_better() -> None:
    fell = {"by": -0.2, "low": -0.3, "high": -0.1}
    found = verdict(measured(fell, "loss", 0.5), metric="eval_loss")
    assert (found.promoted, found.reason) == (True, "Better")
    rose = {"by": 0.2, "low": 0.1, "high": 0.3}
    assert verdict(measured(rose, "loss", 0.5), metric="loss").reason == "NotBetter"
    assert verdict(measured(fell, "loss", 0.5), metric="loss", minGain=0.2).reason == "Undecided"


def test_too_few_rows_are_told_with_the_remedy() -> None:
    found = verdict(measured(UNSURE), metric="accuracy")
    assert "200 rows are too few" in found.sentence
    assert "evaluation.maxSamples" in found.sentence


def test_without_an_interval_nothing_is_promoted() -> None:
    change = {"by": 0.1, "noInterval": "a script's metric"}
    found = verdict(measured(change, "script_score"), metric="script_score")
    assert (found.promoted, found.reason) == (False, "Undecided")
    assert "a script's metric" in found.sentence


def test_a_metric_that_was_not_measured() -> None:
    found = verdict(measured(BETTER), metric="f1")
    assert (found.promoted, found.reason) == (False, "MetricNotMeasured")
    assert "loss, accuracy" in found.sentence
    assert verdict(None, metric="f1").reason == "MetricNotMeasured"
    assert verdict(None, atLeast={"f1": 0.1}).reason == "MetricNotMeasured"


def test_a_result_that_was_not_measured_beside_it() -> None:
    found = verdict(measured(None, comparedWith=None), metric="accuracy")
    assert (found.promoted, found.reason) == (False, "NotCompared")
    assert "luthier rerun" in found.sentence
    assert verdict(measured(None), metric="accuracy").reason == "NotCompared"
    told = measured(None, comparedWith=None, notCompared="its base is another one")
    assert "(its base is another one)" in verdict(told, metric="accuracy").sentence


def test_values_of_diverged_models() -> None:
    nan, inf = float("nan"), float("inf")
    assert verdict(measured(None, "loss", nan), metric="loss").reason == "Diverged"
    assert verdict(measured(BETTER, tuned=nan), atLeast={"accuracy": 0.1}).reason == "GatesNotMet"
    # What is in use has diverged: anything that has a value is better.
    worse = measured(None, "loss", 0.5, inUse={"loss": inf})
    assert verdict(worse, metric="loss").promoted


def test_gates_hold_for_the_first_one_too() -> None:
    gated = Promote.model_validate({"atLeast": {"accuracy": 0.8, "loss": 0.6}})
    assert judge(gated, measured(None), in_use=None).promoted
    low = judge(gated, measured(None, tuned=0.7), in_use=None)
    assert (low.promoted, low.reason) == (False, "GatesNotMet")
    assert "accuracy is 0.7; promote.atLeast asks for 0.8 at least" in low.sentence
    high = judge(Promote(at_least={"loss": 0.1}), measured(None), in_use=None)
    assert "0.1 at most" in high.sentence


def test_always_manual_and_the_first() -> None:
    assert judge(None, None, in_use="r1-00000001").promoted
    manual = judge(Promote(when="Manual"), measured(BETTER), in_use=None)
    assert (manual.promoted, manual.reason) == (False, "AwaitsPin")
    first = judge(Promote(when="IfBetter"), measured(None), in_use=None)
    assert (first.promoted, first.reason) == (True, "First")


def test_the_metric_that_decides() -> None:
    both = EvaluationResult(tuned={"loss": 1, "perplexity": 2, "f1": 0.5, "accuracy": 0.5})
    assert deciding_metric(Promote(), both) == "f1"
    assert deciding_metric(Promote(), EvaluationResult(tuned={"perplexity": 2})) == "loss"
    assert deciding_metric(Promote(metric="rouge"), both) == "rougeL"
