"""Classes of uneven size: weights and the focal loss, as torch and the paper have them, in steps of
any shape."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from unit.trainer.data_support import bare_preparer, lines
from unit.trainer.objectives_support import (
    LABELLED,
    LABELS,
    assert_same,
    backward,
    gradients,
    learnt,
    model_of,
    tokenizer_of,
)
from unit.trainer.support import MakeSpec, TrainerProcess, folder_of
from unit.trainer.test_distributed import SETTINGS, Pods
from unit.trainer.test_run import losses

from luthier_api.classification import Classification
from luthier_trainer.errors import TrainerError
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.classloss import summed_cross_entropy
from luthier_trainer.objectives.classweights import class_weights

WEIGHTS = [0.25, 4.0, 1.5]
BATCHES = [[[0, 1, 2, 3]], [[0], [3], [1, 2]], [[0, 1], [2, 3]]]


def classifier(**options: Any) -> Classifier:
    return Classifier(tokenizer_of("bert"), LABELS, 64, **options)


def written_out(logits: Any, labels: Any, weights: Any, gamma: float) -> Any:
    """-α (1 - p)^γ log p, of each example (Lin et al. 2017, equation 5)."""
    p = logits.softmax(-1)[torch.arange(len(labels)), labels]
    return -torch.tensor(weights)[labels] * (1 - p) ** gamma * p.log()


def logits_of(model: Any, objective: Any, items: Any) -> Any:
    batch = objective.collate(items)
    labels = batch.pop("labels")
    return model(**batch).logits, labels


@pytest.mark.parametrize("batches", BATCHES, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weights_are_those_of_torch(batches: list[list[int]], smoothing: float) -> None:
    objective = classifier(weights=WEIGHTS, smoothing=smoothing)
    model, items = model_of("bert", objective), objective.encode(LABELLED)
    logits, labels = logits_of(model, objective, items)
    theirs = F.cross_entropy(
        logits, labels, weight=torch.tensor(WEIGHTS), label_smoothing=smoothing
    )
    expected = backward(theirs), gradients(model)
    assert_same(model, learnt(objective, model, items, batches), expected)


@pytest.mark.parametrize("batches", BATCHES, ids=str)
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_loss_is_that_of_the_paper(
    batches: list[list[int]], gamma: float, weights: list[float] | None
) -> None:
    objective = classifier(gamma=gamma, weights=weights)
    model, items = model_of("bert", objective), objective.encode(LABELLED)
    logits, labels = logits_of(model, objective, items)
    alpha = weights or [1.0] * len(LABELS)
    theirs = written_out(logits, labels, alpha, gamma).sum() / torch.tensor(alpha)[labels].sum()
    expected = backward(theirs), gradients(model)
    assert_same(model, learnt(objective, model, items, batches), expected)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_what_is_surest_has_a_slope(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    loss = summed_cross_entropy(logits, torch.tensor([0, 0]), gamma=gamma)
    torch.autograd.backward(loss)
    assert float(loss.detach()) == pytest.approx(200)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().max() == 0
    assert logits.grad[1].abs().min() > 0.9


def test_what_is_measured_is_the_plain_loss() -> None:
    plain, weighed = classifier(), classifier(weights=WEIGHTS, gamma=2.0)
    model, items = model_of("bert", plain), plain.encode(LABELLED)
    with torch.inference_mode():
        found = [each.predict(model, items, answers=True) for each in (plain, weighed)]
    assert found[0] == found[1]


def test_rows_of_light_classes_alone_are_a_step() -> None:
    """Whose weights are less than one row's."""
    objective = classifier(weights=[0.01, 0.01, 0.01])
    plain = classifier()
    model, items = model_of("bert", plain), plain.encode(LABELLED)
    expected = learnt(plain, model, items, [[0], [1, 2]])
    assert_same(model, learnt(objective, model, items, [[0], [1, 2]]), expected)


@pytest.mark.usefixtures("nothing_hidden")
def test_balanced_weights_are_those_of_scikit_learn() -> None:
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    rows = {"deep blue": 3, "green": 90, "red": 17}
    seen = [label for label, count in rows.items() for _ in range(count)]
    theirs: Sequence[float] = compute_class_weight("balanced", classes=np.array(LABELS), y=seen)
    found = class_weights(Classification(class_weights="Balanced"), LABELS, rows)
    assert found == pytest.approx(list(theirs))
    assert class_weights(Classification(), LABELS, rows) is None
    given = Classification(weights={"green": 0.5})
    assert class_weights(given, LABELS, rows) == [1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"blue": 2.0}, r"the label 'blue', .* \(it has green, red\): write labels as the rows do"),
        ({"red": 1.0, "Red": 2.0}, r"the label 'Red', .*; did you mean 'red'\?"),
    ],
)
def test_a_weight_of_no_label_is_refused(
    tmp_path: Path, weights: dict[str, float], told: str
) -> None:
    rows = lines(("a", "red"), ("b", "green"), ("c", "red"), ("d", "green"))
    with pytest.raises(TrainerError, match=told) as caught:
        bare_preparer(tmp_path)(
            {"data.jsonl": rows},
            task="classification",
            template=None,
            columns={"text": "text", "label": "label"},
            train="train[:2]",
            test="train[2:]",
            training={"classification": {"weights": weights}},
        )
    assert caught.value.error.code == "WeightOfNoLabel"
    assert caught.value.error.param == "training.classification.weights"


def test_two_processes_learn_what_one_learns(
    start_warm_trainer: Callable[..., TrainerProcess], make_spec: MakeSpec, tmp_path: Path
) -> None:
    pods = Pods(start_warm_trainer)
    common: dict[str, Any] = {
        "dataset": {"template": None, "columns": {"text": "text", "label": "label"}},
        "lora": {"dropout": 0.0},
    }
    training = {
        **SETTINGS,
        "classification": {"classWeights": "Balanced", "focalGamma": 2.0},
    }
    more = {**training, "gradientAccumulationSteps": 4}
    alone = make_spec(output=f"file://{tmp_path}/one", training=more, **common)
    both = make_spec(output=f"file://{tmp_path}/two", training=training, **common)
    pods.succeed(alone, 1)
    assert "classWeights" in pods.succeed(both)["resolved"]
    one, two = (dict(losses(folder_of(spec))) for spec in (alone, both))
    assert two == pytest.approx(one, rel=1e-5)
