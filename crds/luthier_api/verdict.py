"""Whether a newer result comes into use: what was measured, held against what `promote` asks.

Pure, and the same for all who ask: the operator, a run's page, the command line.
"""

from dataclasses import dataclass
from math import isfinite

from luthier_api import reasons
from luthier_api.evaluation import METRIC_NAMES, lower_is_better
from luthier_api.finetunejob import EvaluationResult
from luthier_api.promotion import Promote

_RERUN = "`luthier rerun` measures it anew."


@dataclass(frozen=True)
class Verdict:
    """What was found. `sentence`: for people, with figures and the remedy."""

    promoted: bool
    reason: str
    sentence: str


def judge(
    promote: Promote | None, evaluation: EvaluationResult | None, *, in_use: str | None
) -> Verdict:
    """The verdict on a published result. `in_use`: the revision that was in use before it."""
    promote = promote or Promote()
    evaluation = evaluation or EvaluationResult()
    for name, bound in promote.at_least.items():
        if (missed := _missed(name, bound, evaluation)) is not None:
            return missed
    if promote.when == "Manual":
        return Verdict(
            False,
            reasons.AWAITS_PIN,
            "promote.when is Manual: it comes into use when promote.pin names it.",
        )
    if promote.when == "Always":
        return Verdict(True, reasons.NEWEST, "The newest result is in use.")
    if in_use is None:
        return Verdict(True, reasons.FIRST, "Nothing was in use before it.")
    return _compared(promote, evaluation, in_use)


def deciding_metric(promote: Promote, evaluation: EvaluationResult) -> str:
    """The metric that decides: the one named, else the first of the task's own, else the loss."""
    if promote.metric is not None:
        return _value_of(promote.metric)
    own = (it for it in evaluation.tuned if it in METRIC_NAMES and not lower_is_better(it))
    return next(own, "loss")


def _compared(promote: Promote, evaluation: EvaluationResult, in_use: str) -> Verdict:
    """Better than what is in use: the whole interval of the gain says so."""
    metric, before = deciding_metric(promote, evaluation), evaluation.compared_with
    tuned = evaluation.tuned.get(metric)
    if tuned is None:
        return _unmeasured(metric, evaluation)
    if not isfinite(tuned):
        return Verdict(False, reasons.DIVERGED, f"{metric} is {tuned:g}: the training diverged.")
    if before is None:
        why = f" ({evaluation.not_compared})" if evaluation.not_compared else ""
        return Verdict(
            False,
            reasons.NOT_COMPARED,
            f"It wasn't measured beside {in_use}, which is in use{why}. {_RERUN}",
        )
    incumbent = evaluation.in_use.get(metric)
    if incumbent is not None and not isfinite(incumbent):
        return Verdict(
            True, reasons.BETTER, f"{metric}: {tuned:.4g}, and that of {before} is {incumbent:g}."
        )
    change = evaluation.gain.get(metric)
    if change is None:
        return Verdict(
            False, reasons.NOT_COMPARED, f"{metric} of {before} wasn't measured beside it. {_RERUN}"
        )
    sign = -1.0 if lower_is_better(metric) else 1.0
    told = f"{metric}: {change.by:+.4g} against {before}"
    if change.low is None or change.high is None:
        why = change.no_interval or "it has no interval"
        return Verdict(
            False,
            reasons.UNDECIDED,
            f"{told}, but how sure that is isn't known ({why}). Pin it (promote.pin) to use it "
            "all the same, or name another promote.metric.",
        )
    low, high = sorted((sign * change.low, sign * change.high))
    told += f" (95 % interval {change.low:+.4g} to {change.high:+.4g})"
    bar = promote.min_gain - promote.tolerance
    asked = _asked(promote)
    if low > bar:
        return Verdict(True, reasons.BETTER, f"{told}; asked for: {asked}.")
    if high <= bar:
        return Verdict(False, reasons.NOT_BETTER, f"{told}; asked for: {asked}.")
    rows = f"{evaluation.examples:,} rows are" if evaluation.examples else "The rows are"
    return Verdict(
        False,
        reasons.UNDECIDED,
        f"{told}; asked for: {asked}. {rows} too few to be sure: give it more of them "
        "(dataset.eval, dataset.test, evaluation.maxSamples), or pin it to use it all the same.",
    )


def _asked(promote: Promote) -> str:
    if promote.tolerance:
        return f"surely not worse by {promote.tolerance:g} or more"
    return f"surely better by more than {promote.min_gain:g}"


def _missed(name: str, bound: float, evaluation: EvaluationResult) -> Verdict | None:
    """What an absolute gate says against it."""
    metric = _value_of(name)
    value = evaluation.tuned.get(metric)
    if value is None:
        return _unmeasured(metric, evaluation)
    lower = lower_is_better(metric)
    if value <= bound if lower else value >= bound:  # not so of NaN
        return None
    most = "most" if lower else "least"
    return Verdict(
        False,
        reasons.GATES_NOT_MET,
        f"{metric} is {value:.4g}; promote.atLeast asks for {bound:g} at {most}. Train a better "
        "one, or change promote.atLeast.",
    )


def _unmeasured(metric: str, evaluation: EvaluationResult) -> Verdict:
    there = ", ".join(evaluation.tuned) or "none"
    return Verdict(
        False,
        reasons.METRIC_NOT_MEASURED,
        f"{metric} wasn't measured (measured: {there}): add it to evaluation.metrics, or name "
        "another one in promote.",
    )


def _value_of(name: str) -> str:
    """`eval_loss` and `loss` are the same, and of `rouge` it is rougeL."""
    name = name.removeprefix("eval_")
    return "rougeL" if name == "rouge" else name
