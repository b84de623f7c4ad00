"""Measuring a model, and base against tuned: with a tiny classifier of padded words."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from luthier_trainer.data.examples import Labelled, Pair, Tagged
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation import metrics
from luthier_trainer.evaluation.bootstrap import counts, point
from luthier_trainer.evaluation.compare import compare, with_script
from luthier_trainer.evaluation.measure import Measurement, eval_metrics, mean_loss, measure
from luthier_trainer.evaluation.samples import answered, in_words
from luthier_trainer.objectives.objective import AnswerKind, Batch, Head, Prediction

LABELS = ("blue", "green", "red")
PADDING = 0


class Classifier(nn.Module):
    """Attention over words, then a class. Dropout tells whether eval mode is set."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(64, 32)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()
        self.head = nn.Linear(32, len(LABELS))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        words = self.embedding(ids)
        seen, _ = self.attention(words, words, words, key_padding_mask=~mask, need_weights=False)
        pooled = (seen * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class Words:
    """An objective on a few words per example."""

    head = Head("AutoModelForSequenceClassification", LABELS)
    answer_kind: AnswerKind = "label"

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []  # examples of a batch, with answers?

    def encode(self, examples: Sequence[Any]) -> list[list[int]]:
        return [[1 + sum(word.encode()) % 63 for word in each.text.split()] for each in examples]

    def collate(self, items: Sequence[list[int]]) -> Batch:
        width = max(map(len, items))
        ids = torch.tensor([item + [PADDING] * (width - len(item)) for item in items])
        return {"ids": ids, "mask": ids != PADDING}

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return len(batch["ids"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: int | Tensor) -> Tensor:
        raise AssertionError("evaluation doesn't train")

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        assert torch.is_inference_mode_enabled()
        self.asked.append((len(items), answers))
        logits = model(**self.collate(items)).float()
        losses = logits.logsumexp(-1) - logits[:, 0]
        best = logits.argmax(-1).tolist()
        return [
            Prediction(float(loss), 1, LABELS[index] if answers else None)
            for loss, index in zip(losses, best, strict=True)
        ]

    def gold(self, example: Any) -> str:
        label: str = example.label
        return label

    def show(self, example: Any) -> str:
        text: str = example.text
        return text


@pytest.fixture
def examples() -> list[Labelled]:
    rng = np.random.default_rng(0)
    return [
        Labelled(
            text=" ".join(f"w{n}" for n in rng.integers(0, 50, size=rng.integers(1, 20))),
            label=LABELS[number % 3],
            place=f"test.jsonl line {number + 1}",
        )
        for number in range(40)
    ]


def run(
    examples: Sequence[Labelled], batch_size: int, names: Sequence[str], **options: Any
) -> Measurement:
    objective = Words()
    items = objective.encode(examples)
    return measure(
        Classifier(1), objective, items, examples, names, batch_size=batch_size, **options
    )


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_batches_and_padding_do_not_matter(examples: list[Labelled], batch_size: int) -> None:
    """Alone an example has no padding; among all it has the most."""
    plain = Classifier(1).eval()
    objective = Words()
    with torch.inference_mode():
        expected = [
            objective.predict(plain, [item], answers=True)[0] for item in objective.encode(examples)
        ]
    found = run(examples, batch_size, ["accuracy"])
    assert [each.answer for each in found.predictions] == [each.answer for each in expected]
    np.testing.assert_allclose(
        [each.loss for each in found.predictions], [each.loss for each in expected], rtol=1e-5
    )
    assert found.gold == [example.label for example in examples]


def test_it_tells_of_every_row_once(examples: list[Labelled]) -> None:
    told: list[int] = []
    run(examples, 7, ["loss"], samples=10, on_rows=told.append)
    assert told == [7, 3, 7, 7, 7, 7, 2]


def test_the_order_of_examples_does_not_matter(examples: list[Labelled]) -> None:
    names = ["loss", "accuracy", "f1"]
    forwards, backwards = run(examples, 8, names), run(examples[::-1], 8, names)
    assert backwards.values(names) == pytest.approx(forwards.values(names))
    there, back = forwards.predictions, backwards.predictions
    assert [each.answer for each in back[::-1]] == [each.answer for each in there]


def test_batches_hold_examples_of_similar_length(examples: list[Labelled]) -> None:
    objective = Words()
    widths = []
    collate = objective.collate
    objective.collate = lambda items: widths.append({*map(len, items)}) or collate(items)  # type: ignore[func-returns-value,method-assign]
    measure(Classifier(1), objective, objective.encode(examples), examples, (), batch_size=8)
    assert len(widths) == 5
    for longer, shorter in itertools.pairwise(widths):
        assert min(longer) >= max(shorter)


def test_the_model_is_left_as_it_was(examples: list[Labelled]) -> None:
    model, objective = Classifier(1).train(), Words()
    model.frozen.eval()
    state = torch.get_rng_state()
    found = [
        mean_loss(model, objective, objective.encode(examples), batch_size=8) for _ in range(2)
    ]
    assert found[0] == found[1]  # no dropout
    assert model.training
    assert model.dropout.training
    assert not model.frozen.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.is_inference_mode_enabled()


def test_the_model_is_left_as_it_was_by_an_error(examples: list[Labelled]) -> None:
    model, objective = Classifier(1).train(), Words()
    with pytest.raises(IndexError):
        mean_loss(model, objective, [[99_999]], batch_size=8)
    assert model.dropout.training


def test_autocast_is_the_arithmetic_of_the_forward(examples: list[Labelled]) -> None:
    plain = run(examples, 8, ["loss"])
    low = run(examples, 8, ["loss"], autocast=torch.bfloat16)
    losses = [[each.loss for each in found.predictions] for found in (plain, low)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(losses[1], losses[0], atol=0.05)


def test_answers_are_asked_for_only_where_needed(examples: list[Labelled]) -> None:
    objective = Words()
    items = objective.encode(examples)
    found = measure(Classifier(1), objective, items, examples, ["loss"], batch_size=16, samples=3)
    assert objective.asked == [(3, True), (16, False), (16, False), (5, False)]
    assert [each.answer is None for each in found.predictions] == [False] * 3 + [True] * 37
    everything = run(examples, 16, ["loss", "accuracy"])
    assert None not in [each.answer for each in everything.predictions]
    assert everything.values(["loss"]) == pytest.approx(found.values(["loss"]))


def test_metrics_while_training(examples: list[Labelled]) -> None:
    model, objective = Classifier(1), Words()
    items = objective.encode(examples)
    found = eval_metrics(model, objective, items, examples, ["accuracy"], batch_size=8)
    assert set(found) == {"loss", "accuracy"}
    assert found["loss"] == pytest.approx(mean_loss(model, objective, items, batch_size=8))
    expected = run(examples, 8, ["accuracy"]).values(["loss", "accuracy"])
    assert found == pytest.approx(expected)


def test_what_a_user_named_becomes_values() -> None:
    objective = Words()
    assert metrics.chosen(["loss", "perplexity"], objective) == ("loss",)
    assert metrics.chosen(["f1", "loss"], objective) == ("f1", "loss")
    with pytest.raises(TrainerError, match="choose from loss, accuracy, f1"):
        metrics.chosen(["bleu"], objective)

    class Texts(Words):
        head = Head("AutoModelForCausalLM")
        answer_kind: AnswerKind = "text"

    assert metrics.chosen(["loss", "perplexity"], Texts()) == ("loss", "perplexity")
    assert metrics.chosen(["rouge"], Texts()) == ("rouge1", "rouge2", "rougeL")
    assert metrics.watched("eval_loss", Texts()) == ("loss", True)
    assert metrics.watched("rouge", Texts()) == ("rougeL", False)
    assert metrics.watched("f1", objective) == ("f1", False)
    with pytest.raises(TrainerError) as caught:
        metrics.watched("rouge", objective)
    assert caught.value.error.param == "training.earlyStopping.metric"


def measurement(answers: Sequence[str | None], losses: Sequence[float]) -> Measurement:
    predictions = [Prediction(loss, 1, a) for loss, a in zip(losses, answers, strict=True)]
    return Measurement("label", ["blue", "red"] * (len(answers) // 2), predictions, 1.0)


def test_base_against_tuned() -> None:
    rng = np.random.default_rng(3)
    base = measurement(rng.choice(LABELS, size=60).tolist(), rng.exponential(2, size=60).tolist())
    answers = [right if rng.random() < 0.8 else "green" for right in base.gold]
    tuned = measurement(answers, [each.loss / 2 for each in base.predictions])
    found = compare(base, tuned, ["accuracy", "loss"], split="test")
    result = found.result
    assert (result.split, result.examples) == ("test", 60)
    assert result.base == pytest.approx(base.values(["accuracy", "loss"]), abs=1e-6)
    assert result.tuned == pytest.approx(tuned.values(["accuracy", "loss"]), abs=1e-6)
    for name, change in result.change.items():
        assert change.by == pytest.approx(result.tuned[name] - result.base[name], abs=2e-6)
        assert change.low is not None
        assert change.high is not None
        assert change.low < change.by < change.high
    # Paired: the difference's interval is that of the same resamples of both.
    (rows,) = counts(60)
    functions = [
        metrics.weighted(["accuracy"], side.gold, side.predictions) for side in (base, tuned)
    ]
    drawn = functions[1](rows) - functions[0](rows)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert result.change["accuracy"].low is not None
    assert result.change["accuracy"].low == pytest.approx(low, abs=1e-6)
    assert result.change["accuracy"].high == pytest.approx(high, abs=1e-6)
    assert result.change["accuracy"].low > 0


def test_the_same_model_twice_has_changed_by_nothing() -> None:
    one = measurement(["blue", "red", "red", "green"], [1.0, 2.0, 3.0, 4.0])
    for change in compare(one, one, ["accuracy", "loss"]).result.change.values():
        assert (change.by, change.low, change.high) == (0, None, None)
        assert change.no_interval


def test_the_document_of_the_report() -> None:
    base = measurement(["blue", "blue", "green", "red"], [1.0] * 4)
    tuned = measurement(["blue", "red", "blue", "red"], [0.5] * 4)
    document = compare(base, tuned, ["accuracy"], split="eval").document
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["base"] == {"accuracy": 0.5}
    told = document["intervals"]["tuned"]["accuracy"]
    assert told == {"noInterval": "4 rows tell too little of others: an interval needs 10"}
    assert document["confusion"]["labels"] == ["blue", "green", "red"]
    assert document["confusion"]["base"] == [[1, 1, 0], [0, 0, 0], [1, 0, 1]]
    blue = document["classes"]["base"][0]
    assert blue == {"label": "blue", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}


def test_kinds_of_entities_in_the_report() -> None:
    gold = [["B-X", "I-X", "O"], ["B-Y", "O", "B-X"]]
    sides = [
        Measurement("tags", gold, [Prediction(1.0, 3, tags) for tags in answers], 1.0)
        for answers in (gold, [["O", "B-X", "O"], ["B-Y", "O", "B-X"]])
    ]
    document = compare(sides[0], sides[1], ["entity_f1"]).document
    x, y = document["entities"]["tuned"]
    assert x == {"label": "X", "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert y == {"label": "Y", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}


def test_what_is_not_defined_is_left_out() -> None:
    """JSON has no NaN: a base that gives every pair the same score has no correlation."""
    gold = [0.1, 0.4, 0.5, 0.9, 1.0, 0.2]
    sides = [
        Measurement("score", gold, [Prediction(0.0, 1, each) for each in answers], 1.0)
        for answers in ([0.5] * 6, gold)
    ]
    found = compare(sides[0], sides[1], ["spearman", "loss"])
    assert found.result.base == {"loss": 0.0}
    assert found.result.tuned == {"loss": 0.0, "spearman": 1.0}
    assert set(found.result.change) == {"loss"}
    bad = Measurement("score", gold, [Prediction(math.nan, 1, 0.0)] * 6, 1.0)
    assert compare(bad, bad, ["loss"]).result.tuned == {}
    json.dumps(found.document, allow_nan=False)


def test_the_scripts_values_stand_beside() -> None:
    one = measurement(["blue", "red"], [1.0, 2.0])
    found = with_script(compare(one, one, ["accuracy"]), {"script_cost": 0.12345678})
    assert found.result.tuned == {"accuracy": 1.0, "script_cost": 0.123457}
    assert found.document["tuned"] == found.result.tuned
    assert found.result.base == {"accuracy": 1.0}


def test_losses_alone_have_no_classes() -> None:
    one = measurement([None, None], [1.0, 2.0])
    assert "classes" not in compare(one, one, ["loss"]).document
    found = point(metrics.weighted(["loss"], one.gold, one.predictions), 2)
    assert found.tolist() == [1.5]


def test_samples_are_the_answers_that_were_given(examples: list[Labelled]) -> None:
    objective = Words()
    base, tuned = (run(examples, 8, ["loss"], samples=count) for count in (4, 3))
    found = answered(objective, examples, base, tuned, most=10)
    assert [each.prompt for each in found] == [example.text for example in examples[:3]]
    assert [each.expected for each in found] == [example.label for example in examples[:3]]
    assert [each.tuned for each in found] == [each.answer for each in tuned.predictions[:3]]
    assert len(answered(objective, examples, base, tuned, most=2)) == 2


def test_answers_in_words() -> None:
    tagged = Tagged(("Ada", "Lovelace", "in", "London"), ("O",) * 4, "x")
    tags = ["B-PERSON", "I-PERSON", "O", "B-PLACE"]
    assert in_words(tags, tagged) == "PERSON: Ada Lovelace\nPLACE: London"
    assert in_words(["O"] * 4, tagged) == ""
    assert in_words(0.25, Pair("a", "b", 0.2, "x")) == "0.250"
    assert in_words(" yes\n", Labelled("a", "b", "x")) == "yes"
