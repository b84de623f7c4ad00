"""The metrics: each is a function of how often every example counts, so that its value and
its bootstrap intervals come from one pass over the answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from luthier_api.evaluation import lower_is_better
from luthier_trainer.data.row import hidden
from luthier_trainer.errors import data_error, unsupported
from luthier_trainer.evaluation import (
    calibration,
    classes,
    errors,
    pairs,
    preferences,
    spans,
    texts,
)
from luthier_trainer.evaluation.bootstrap import Floats, Weighted
from luthier_trainer.objectives.objective import AnswerKind, Objective, Prediction
from luthier_trainer.objectives.reading import Read

# Models whose loss is per token of a text: only theirs has a perplexity.
LANGUAGE_MODELS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM")
_LARGEST_EXPONENT = 709.0


@dataclass(frozen=True)
class Family:
    """Metrics that come from the same statistics.

    `weigh` takes the right answers and the predictions. `answers` are the kinds of answer
    that it compares; empty: it needs none. `scored`: the predictions' scores tell it, which they
    have without an answer, too.
    """

    values: tuple[str, ...]
    answers: tuple[AnswerKind, ...]
    weigh: Callable[[Sequence[Any], Sequence[Prediction]], Weighted]
    scored: bool = False


def summed(statistics: Floats, value: Callable[[Floats], Floats]) -> Weighted:
    """A metric of summed statistics: [examples, k], and [rows, k] → the values."""
    return lambda counts: value(counts @ statistics)


Comparing = Callable[[Sequence[Any], Sequence[Any]], Any]


def _of_answers(
    kinds: AnswerKind | tuple[AnswerKind, ...],
    names: tuple[str, ...],
    weigh: Callable[[Sequence[Any], list[Any]], Weighted],
) -> Family:
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    return Family(names, kinds, lambda gold, found: weigh(gold, [each.answer for each in found]))


def _of_sums(
    kind: AnswerKind | tuple[AnswerKind, ...],
    names: tuple[str, ...],
    statistics: Comparing,
    value: Callable[[Floats], Floats],
) -> Family:
    return _of_answers(kind, names, lambda gold, answers: summed(statistics(gold, answers), value))


def _of_scores(
    kind: AnswerKind,
    names: tuple[str, ...],
    statistics: Callable[[Floats], Floats],
    value: Callable[[Floats], Floats],
) -> Family:
    def weigh(_: Sequence[Any], found: Sequence[Prediction]) -> Weighted:
        return summed(statistics(np.array([each.scores for each in found], float)), value)

    return Family(names, (kind,), weigh, scored=True)


def _losses(_: Sequence[Any], predictions: Sequence[Prediction]) -> Weighted:
    return summed(np.array([(each.loss, each.targets) for each in predictions], float), _per_target)


def _calibration(gold: Sequence[Any], predictions: Sequence[Prediction]) -> Weighted:
    right = [each.answer == label for each, label in zip(predictions, gold, strict=True)]
    sure = [each.confidence or 0.0 for each in predictions]
    return summed(calibration.statistics(right, sure), calibration.ece)


def _per_target(sums: Floats) -> Floats:
    """[rows, 2] → loss, perplexity; the largest float where that overflows."""
    loss = sums[:, 0] / np.maximum(sums[:, 1], 1)
    return np.stack([loss, np.exp(np.minimum(loss, _LARGEST_EXPONENT))], axis=1)


_ENTITIES = ("entity_f1", "entity_precision", "entity_recall")
FAMILIES = (
    Family(("loss", "perplexity"), (), _losses),
    Family(("ece",), ("label",), _calibration),
    _of_sums(("label", "labels"), classes.VALUES, classes.statistics, classes.values),
    _of_sums("tags", _ENTITIES, partial(spans.statistics, find=spans.found_entities), spans.values),
    _of_sums("text", ("exact_match",), texts.exact_statistics, texts.means),
    _of_sums(
        "text",
        ("json_f1", "json_precision", "json_recall"),
        partial(spans.statistics, find=spans.found_fields),
        spans.values,
    ),
    _of_sums("text", ("bleu",), texts.bleu_statistics, texts.bleu),
    _of_sums("text", ("chrf",), texts.chrf_statistics, texts.chrf),
    _of_sums("text", texts.ROUGE, texts.rouge_statistics, texts.means),
    _of_answers(("score", "number"), ("spearman",), pairs.spearman),
    _of_answers(("score", "number"), ("pearson",), pairs.pearson),
    _of_sums("number", errors.VALUES, errors.statistics, errors.values),
    _of_scores("preference", preferences.PAIRS, preferences.of_pairs, preferences.means),
    _of_scores("preference", preferences.REWARDS, preferences.of_rewards, preferences.rewards),
    _of_scores("preference", ("kl",), preferences.of_kl, preferences.means),
)
_FAMILY = {name: family for family in FAMILIES for name in family.values}


def chosen(names: Sequence[str], objective: Objective) -> tuple[str, ...]:
    """The values that stand for the metrics a user named, in order.

    `rouge` stands for three. Perplexity is left out where the model is none of language:
    the API's default holds it. Raises TrainerError (MetricNotMeasurable).
    """
    found: list[str] = []
    for name in names:
        if name == "perplexity" and not _has_perplexity(objective):
            continue
        for value in texts.ROUGE if name == "rouge" else (name,):
            if value not in measurable(objective):
                raise unsupported(
                    "MetricNotMeasurable",
                    f"{name} can't be measured here; choose from "
                    f"{', '.join(measurable(objective))}",
                    "evaluation.metrics",
                )
            found.append(value)
    return tuple(found)


def measurable(objective: Objective) -> tuple[str, ...]:
    """All values that can be measured of an objective's answers."""
    return tuple(
        name
        for family in FAMILIES
        if not family.answers or objective.answer_kind in family.answers
        for name in family.values
        if name != "perplexity" or _has_perplexity(objective)
        if name != "ece" or isinstance(objective, Read)
    )


def _has_perplexity(objective: Objective) -> bool:
    """Whether its loss is that of tokens of a text."""
    language = objective.head.auto_class in LANGUAGE_MODELS
    return language and objective.answer_kind != "preference"


def watched(
    metric: str, objective: Objective, param: str = "training.earlyStopping.metric"
) -> tuple[str, bool]:
    """The value on eval that the field `param` names, and whether less of it is better.

    `eval_loss` and `loss` are the same, and of `rouge` it is rougeL. Raises TrainerError
    (MetricNotMeasurable).
    """
    name = metric.removeprefix("eval_")
    name = "rougeL" if name == "rouge" else name
    if name not in measurable(objective):
        raise unsupported(
            "MetricNotMeasurable",
            f"{metric} can't be watched here: this task has "
            f"{', '.join(measurable(objective))}; watch eval_loss, or one of them that "
            "evaluation.metrics names",
            param,
        )
    return name, lower_is_better(name)


def needs_answers(values: Sequence[str]) -> bool:
    """Whether the loss alone doesn't tell them."""
    return any(_FAMILY[name].answers and not _FAMILY[name].scored for name in values)


def weighted(
    values: Sequence[str], gold: Sequence[Any], predictions: Sequence[Prediction]
) -> Weighted:
    """The values as one function of how often each example counts: [rows, len(values)]."""
    families = list(dict.fromkeys(_FAMILY[name] for name in values))
    functions = [family.weigh(gold, predictions) for family in families]
    order = [name for family in families for name in family.values]
    columns = [order.index(name) for name in values]

    def compute(counts: Floats) -> Floats:
        found = np.concatenate([function(counts) for function in functions], axis=1)
        return found[:, columns]

    return compute


def check_gold(values: Sequence[str], gold: Sequence[Any], places: Sequence[str]) -> None:
    """Whether the right answers can be compared at all. Raises TrainerError."""
    for answer, place in zip(gold, places, strict=True):
        if "json_f1" in values and spans.parse_document(answer) is None:
            raise data_error(
                "NotJson",
                f"{place}: json_f1 compares JSON objects, and the expected answer is "
                f"{hidden(place, answer.strip())}; correct the row, or measure exact_match",
                "evaluation.metrics",
            )
        if answer is None and needs_answers(values):
            raise data_error(
                "NoLabel",
                f"{place}: spearman and pearson compare scores, and the row has none: set "
                "dataset.columns.label, or measure loss",
                "evaluation.metrics",
            )
