"""Base against tuned on the same rows, with what chance alone could have made of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier_api.finetunejob import Change, EvaluationResult
from luthier_trainer.evaluation import classes, spans
from luthier_trainer.evaluation.bootstrap import (
    RESAMPLES,
    SEED,
    Floats,
    Interval,
    intervals,
    point,
    resample,
)
from luthier_trainer.evaluation.measure import Measurement
from luthier_trainer.evaluation.metrics import weighted

_METHOD = (
    f"95%, percentile bootstrap: {RESAMPLES:,} resamples of the rows, seed {SEED}; the change "
    "is paired: both models on the same resamples"
)
_MOST_LABELS = 100  # of a confusion matrix
_DIGITS = 6
_OF_A_SCRIPT = "a script tells a number, and nothing of its rows"


@dataclass(frozen=True)
class Comparison:
    """`result`: for the resource's status. `document`: for report/evaluation.json."""

    result: EvaluationResult
    document: dict[str, Any]


def compare(
    base: Measurement, tuned: Measurement, names: Sequence[str], split: str | None = None
) -> Comparison:
    """The named values (metrics.chosen) of both, and their change.

    Numbers are rounded for people, and those that aren't defined (a correlation with equal
    numbers) are left out: JSON has no NaN.
    """
    sides = {"base": base, "tuned": tuned}
    count = len(base.predictions)
    functions = [weighted(names, side.gold, side.predictions) for side in sides.values()]
    points = [point(function, count) for function in functions]
    drawn = resample(functions, count)
    changes = _finite(names, points[1] - points[0])
    change_intervals = dict(zip(names, intervals(drawn[1] - drawn[0], count), strict=True))
    alone = {
        side: dict(zip(names, intervals(rows, count), strict=True))
        for side, rows in zip(sides, drawn, strict=True)
    }
    result = EvaluationResult(
        split=split,
        examples=count,
        base=_finite(names, points[0]),
        tuned=_finite(names, points[1]),
        change={
            name: Change(by=by, **_ends(change_intervals[name])) for name, by in changes.items()
        },
    )
    document = {
        **result.to_json(),
        "intervals": {
            "method": _METHOD,
            **{
                side: {n: _ends(each) for n, each in found.items()} for side, found in alone.items()
            },
        },
        "seconds": {name: round(side.seconds, 3) for name, side in sides.items()},
        **_details(sides),
    }
    return Comparison(result, document)


def with_incumbent(
    comparison: Comparison,
    tuned: Measurement,
    incumbent: Measurement,
    names: Sequence[str],
    revision: str,
) -> Comparison:
    """The same, with what the revision in use made of the same rows, and what is gained over it:
    as the change, by the same resamples."""
    sides = (incumbent, tuned)
    count = len(tuned.predictions)
    functions = [weighted(names, side.gold, side.predictions) for side in sides]
    points = [point(function, count) for function in functions]
    drawn = resample(functions, count)
    gains = _finite(names, points[1] - points[0])
    gain_intervals = dict(zip(names, intervals(drawn[1] - drawn[0], count), strict=True))
    alone = dict(zip(names, intervals(drawn[0], count), strict=True))
    result = comparison.result.model_copy(
        update={
            "compared_with": revision,
            "in_use": _finite(names, points[0]),
            "gain": {
                name: Change(by=by, **_ends(gain_intervals[name])) for name, by in gains.items()
            },
        }
    )
    document = comparison.document
    document = {
        **document,
        **result.to_json(),
        "intervals": {
            **document["intervals"],
            "inUse": {name: _ends(each) for name, each in alone.items()},
        },
        "seconds": {**document["seconds"], "inUse": round(incumbent.seconds, 3)},
    }
    return Comparison(result, document)


def with_reading(comparison: Comparison, split: str, found: Mapping[str, Any]) -> Comparison:
    """The same, with how the tuned model's logits are read, and what that changed on `split`."""
    return replace(
        comparison,
        document={**comparison.document, "reading": {"split": split, **found}},
    )


def not_compared(comparison: Comparison, why: str) -> Comparison:
    """The same, with why there is no comparison with what is in use."""
    result = comparison.result.model_copy(update={"not_compared": why[:300]})
    return Comparison(result, {**comparison.document, "notCompared": result.not_compared})


def with_incumbents_script(comparison: Comparison, values: Mapping[str, float]) -> Comparison:
    """The same, with what the user's own script found of what is in use."""
    found = {name: round(value, _DIGITS) for name, value in values.items()}
    before = comparison.result
    gained = {
        name: Change(by=round(before.tuned[name] - value, _DIGITS), no_interval=_OF_A_SCRIPT)
        for name, value in found.items()
        if name in before.tuned
    }
    result = before.model_copy(
        update={"in_use": {**before.in_use, **found}, "gain": {**before.gain, **gained}}
    )
    return Comparison(result, {**comparison.document, **result.to_json()})


def with_script(comparison: Comparison, values: Mapping[str, float]) -> Comparison:
    """The same, with what the user's own script found of the tuned model."""
    found = {name: round(value, _DIGITS) for name, value in values.items()}
    tuned = {**comparison.result.tuned, **found}
    result = comparison.result.model_copy(update={"tuned": tuned})
    return Comparison(result, {**comparison.document, "tuned": tuned})


def _finite(names: Sequence[str], values: Floats) -> dict[str, float]:
    return {
        name: round(float(value), _DIGITS)
        for name, value in zip(names, values, strict=True)
        if math.isfinite(value)
    }


def _ends(found: Interval | str) -> dict[str, Any]:
    """Of an interval; or why there is none."""
    if isinstance(found, str):
        return {"noInterval": found}
    return {"low": round(found.low, _DIGITS), "high": round(found.high, _DIGITS)}


def _details(sides: Mapping[str, Measurement]) -> dict[str, Any]:
    """Which classes, or kinds of entities, are found how well."""
    kind, gold = next((side.kind, side.gold) for side in sides.values())
    answers = {
        name: [prediction.answer for prediction in side.predictions] for name, side in sides.items()
    }
    if kind not in ("label", "labels", "tags") or any(None in each for each in answers.values()):
        return {}  # other kinds have no classes; or only losses were asked for
    if kind == "tags":
        return {"entities": {n: spans.entity_table(gold, each) for n, each in answers.items()}}
    details: dict[str, Any] = {
        "classes": {name: classes.table(gold, each) for name, each in answers.items()}
    }
    if kind == "labels":
        return details
    labels = sorted({*gold, *(label for each in answers.values() for label in each)})
    if len(labels) <= _MOST_LABELS:
        details["confusion"] = {
            "labels": labels,
            "rows": "the right label; columns: the answer",
            **{name: classes.confusion(gold, each, labels) for name, each in answers.items()},
        }
    return details
