"""Heads for several classes and for numbers: loss and gradients are torch's, in steps of any
shape."""

import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from unit.trainer.objectives_support import (
    LABELLED,
    LABELS,
    SEVERAL,
    VALUED,
    assert_same,
    backward,
    gradients,
    learnt,
    model_of,
    tokenizer_of,
)

from luthier_api.classification import Classification
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.classweights import positive_weights
from luthier_trainer.objectives.multilabel import MultiLabel
from luthier_trainer.objectives.reading import Reading, read_by
from luthier_trainer.objectives.regressor import Regressor

BATCHES = [[[0, 1, 2, 3]], [[0], [3], [1, 2]]]
WEIGHTS = [0.5, 3.0, 7.0]
SCALE = (5.0, 20.0)


def several(name: str = "bert", **options: Any) -> MultiLabel:
    return MultiLabel(tokenizer_of(name), LABELS, 64, **options)


def regressor(name: str = "bert", **options: Any) -> Regressor:
    return Regressor(tokenizer_of(name), "stars", SCALE, 64, **options)


def outputs_of(model: Any, objective: Any, items: Any) -> tuple[Any, Any]:
    batch = objective.collate(items)
    labels = batch.pop("labels")
    return model(**batch).logits, labels


@pytest.mark.parametrize("batches", BATCHES, ids=str)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_classes_are_learnt_as_by_torch(
    name: str, weights: list[float] | None, batches: list[list[int]]
) -> None:
    objective = several(name, weights=weights)
    model, items = model_of(name, objective), objective.encode(SEVERAL)
    assert model.config.problem_type == "multi_label_classification"
    logits, labels = outputs_of(model, objective, items)
    assert labels.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]]
    positive = None if weights is None else torch.tensor(weights)
    theirs = F.binary_cross_entropy_with_logits(logits, labels, pos_weight=positive)
    expected = backward(theirs), gradients(model)
    assert_same(model, learnt(objective, model, items, batches), expected)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_the_focal_loss_of_classes_is_that_of_the_paper(weights: list[float] | None) -> None:
    objective = several(weights=weights, gamma=2.0)
    model, items = model_of("bert", objective), objective.encode(SEVERAL)
    logits, labels = outputs_of(model, objective, items)
    p = torch.where(labels == 1, logits.sigmoid(), 1 - logits.sigmoid())
    alpha = torch.where(labels == 1, torch.tensor(weights or [1.0] * 3), torch.ones(3))
    expected = backward((-alpha * (1 - p) ** 2 * p.log()).mean()), gradients(model)
    assert_same(model, learnt(objective, model, items, [[0, 1], [2, 3]]), expected)


@pytest.mark.parametrize("batches", BATCHES, ids=str)
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_numbers_are_learnt_on_their_scale(name: str, batches: list[list[int]]) -> None:
    objective = regressor(name)
    model, items = model_of(name, objective), objective.encode(VALUED)
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 1)
    logits, labels = outputs_of(model, objective, items)
    assert labels.tolist() == [0.25, -1.75, 0.375, 0.75]
    expected = backward(F.mse_loss(logits[:, 0], labels)), gradients(model)
    assert_same(model, learnt(objective, model, items, batches), expected)


def test_what_is_measured_is_the_plain_loss_whatever_is_learnt() -> None:
    plain, weighed = several(), several(weights=WEIGHTS, gamma=1.0)
    model, items = model_of("bert", plain), plain.encode(SEVERAL)
    with torch.inference_mode():
        found = [each.predict(model, items, answers=True) for each in (plain, weighed)]
        logits, labels = outputs_of(model, plain, items)
    assert found[0] == found[1]
    mean = sum(each.loss for each in found[0]) / sum(each.targets for each in found[0])
    assert mean == pytest.approx(
        float(F.binary_cross_entropy_with_logits(logits, labels)), rel=1e-5
    )


def test_classes_are_given_by_their_thresholds() -> None:
    plain = several()
    model, items = model_of("bert", plain), plain.encode(SEVERAL)
    with torch.inference_mode():
        logits, _ = outputs_of(model, plain, items)
        sure = (logits / 2.0).sigmoid()
        least = sure.median(dim=0).values
        reading = Reading(answer="labels", temperature=2.0, thresholds=least.tolist())
        found = read_by(plain, reading).predict(model, items, answers=True)
    for row, each in zip(sure, found, strict=True):
        assert each.answer == [n for n, p, t in zip(LABELS, row, least, strict=True) if p >= t]
    assert plain.reading == Reading(answer="labels")  # it was copied


def test_a_number_is_told_on_the_scale_of_the_data() -> None:
    plain = regressor()
    model, items = model_of("bert", plain), plain.encode(VALUED)
    with torch.inference_mode():
        logits, labels = outputs_of(model, plain, items)
        own = plain.predict(model, items, answers=True)
        other = read_by(plain, Reading(answer="number", mean=1.0, deviation=2.0))
        theirs = other.predict(model, items, answers=True)
    for each, value, label in zip(own, logits[:, 0].tolist(), labels.tolist(), strict=True):
        assert each.answer == pytest.approx(value * 20 + 5)
        assert each.loss == pytest.approx((value - label) ** 2, rel=1e-4)
    # What reads on another scale is measured on that of this data.
    for each, value, example in zip(theirs, logits[:, 0].tolist(), VALUED, strict=True):
        assert each.answer == pytest.approx(value * 2 + 1)
        assert each.loss == pytest.approx(((value * 2 + 1 - example.label) / 20) ** 2, rel=1e-4)


def test_how_sure_a_class_is() -> None:
    plain = Classifier(tokenizer_of("bert"), LABELS, 64)
    model, items = model_of("bert", plain), plain.encode(LABELLED)
    with torch.inference_mode():
        logits, _ = outputs_of(model, plain, items)
        found = read_by(plain, Reading(answer="label", temperature=0.5)).predict(
            model, items, answers=True
        )
    sure = (logits / 0.5).softmax(-1).max(-1).values.tolist()
    assert [each.confidence for each in found] == pytest.approx(sure)


@pytest.mark.parametrize(
    "reading",
    [
        None,
        Reading(answer="label"),
        Reading(answer="labels", thresholds=[0.1]),
    ],
)
def test_what_was_told_of_another_head_is_not_taken(reading: Reading | None) -> None:
    objective = several()
    assert read_by(objective, reading) is objective


@pytest.mark.parametrize(
    ("objective", "rows"), [(several(), SEVERAL), (regressor(), VALUED)], ids=["classes", "number"]
)
def test_items_are_kept_as_numbers(objective: Any, rows: Any) -> None:
    for item in objective.encode(rows):
        assert objective.item.of_numbers(item.numbers) == item
        assert pickle.loads(pickle.dumps(item)) == item


def test_balanced_weights_of_classes() -> None:
    rows = {"deep blue": 10, "green": 50, "red": 100}
    found = positive_weights(Classification(class_weights="Balanced"), LABELS, rows, 100)
    assert found == [9.0, 1.0, 0.01]
    given = Classification(weights={"red": 3.0})
    assert positive_weights(given, LABELS, rows, 100) == [1.0, 1.0, 3.0]
    assert positive_weights(Classification(), LABELS, rows, 100) is None
