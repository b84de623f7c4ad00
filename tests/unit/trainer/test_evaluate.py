"""Scoring of labels and the metrics, against the plainest computation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier_trainer.collate import collate
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluate import Evaluator, label_completions, score_labels
from luthier_trainer.loss import predict_targets
from luthier_trainer.metrics import accuracy, macro_f1, perplexity
from luthier_trainer.tokens import Tokens

LABELS = [[5], [6, 7], [6, 8, 9], [10, 11], [6, 7, 12]]


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        tiny_model, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def rows() -> list[Tokens]:
    prompts = [[20, 21, 22], [30, 31, 32, 33, 34, 35], [40]]
    completions = [[6, 7, 0], [5, 0], [6, 8, 9, 0]]
    return [Tokens(p, c, False) for p, c in zip(prompts, completions, strict=True)]


def plain_score(model: Any, prompt: list[int], label: list[int]) -> float:
    logp = model(input_ids=torch.tensor([prompt + label])).logits[0].log_softmax(-1)
    return sum(float(logp[len(prompt) - 1 + i, token]) for i, token in enumerate(label))


@pytest.mark.parametrize("sparse", [True, False])
def test_scores_are_the_likelihood_of_the_whole_label(model: Any, sparse: bool) -> None:
    with torch.no_grad():
        targets = predict_targets(model, collate(rows(), 0), sparse, use_cache=True)
        scores = score_labels(model, rows(), targets, LABELS)
        expected = [[plain_score(model, row.prompt, label) for label in LABELS] for row in rows()]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_metrics_do_not_depend_on_the_batch_size(model: Any) -> None:
    labels = {str(number): ids for number, ids in enumerate(LABELS)}
    found = [
        Evaluator(size, 0, True, None, labels).metrics(model, rows(), ["1", "0", "2"])
        for size in (1, 2, 3)
    ]
    assert found[0][1] == found[1][1] == found[2][1]
    for metrics, _ in found:
        assert metrics == pytest.approx(found[0][0], rel=1e-5)
    total, count = 0.0, 0
    for row in rows():
        with torch.no_grad():
            total -= plain_score(model, row.prompt, row.completion)
        count += len(row.completion)
    assert found[0][0]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert found[0][0]["perplexity"] == pytest.approx(perplexity(total / count), rel=1e-4)


def test_nested_labels_are_scored_with_their_end() -> None:
    apart = {"a": [1], "b": [2, 3]}
    assert label_completions(apart, 0) == apart
    assert label_completions({"a": [2], "b": [2, 3]}, 0) == {"a": [2, 0], "b": [2, 3, 0]}
    with pytest.raises(TrainerError) as caught:
        label_completions({"a": [2], "A": [2]}, 0)
    assert caught.value.error.code == "SameLabel"


def test_accuracy_and_macro_f1() -> None:
    expected, predicted = ["a", "a", "b", "c"], ["a", "b", "b", "d"]
    assert accuracy(expected, predicted) == 0.5
    # a: 2/3, b: 2/3, c: 0, d: 0, as scikit-learn has it
    assert macro_f1(expected, predicted) == pytest.approx((2 / 3 + 2 / 3) / 4)
    assert perplexity(1e9) < float("inf")
