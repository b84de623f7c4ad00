"""Every objective on every architecture: loss and gradients of padded batches equal those of
transformers' own loss, one example a row without padding."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from unit.trainer.objectives_support import (
    COMPLETIONS,
    LABELLED,
    LABELS,
    PAIRS,
    TAGGED,
    assert_same,
    backward,
    gradients,
    learnt,
    model_of,
    tokenizer_of,
)
from unit.trainer.tiny import DECODERS, ENCODER_DECODERS, ENCODERS

from luthier_api.training import Similarity
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import Encoder


def causal(name: str, learn_prompt: bool = False, **options: Any) -> Causal:
    tokenizer = tokenizer_of(name)
    return Causal(tokenizer, Encoder(tokenizer, 64, learn_prompt), 64, **options)


def classifier(name: str, **options: Any) -> Classifier:
    return Classifier(tokenizer_of(name), LABELS, 64, **options)


def tagger(name: str, **options: Any) -> Tagger:
    return Tagger(tokenizer_of(name), ["LOC", "PER"], 64, **options)


def seq2seq(name: str, **options: Any) -> Seq2Seq:
    return Seq2Seq(tokenizer_of(name), 64, **options)


def _row(*ids: Any) -> Any:
    return torch.tensor([list(each) for each in ids])


def _plain_causal(model: Any, item: Any) -> tuple[Any, int]:
    targets = _row(item.targets)
    output = model(input_ids=_row(item.ids), labels=targets, use_cache=False)
    return output.loss, int((targets[:, 1:] != -100).sum())


def _plain_classifier(model: Any, item: Any) -> tuple[Any, int]:
    return model(input_ids=_row(item.ids), labels=torch.tensor([item.label])).loss, 1


def _plain_tagger(model: Any, item: Any) -> tuple[Any, int]:
    targets = _row(item.targets)
    return model(input_ids=_row(item.ids), labels=targets).loss, int((targets != -100).sum())


def _plain_seq2seq(model: Any, item: Any) -> tuple[Any, int]:
    output = model(input_ids=_row(item.source), labels=_row(item.target), use_cache=False)
    return output.loss, len(item.target)


CELLS: list[tuple[str, Callable[..., Any], list[Any], Any, tuple[str, ...]]] = [
    ("causal", causal, COMPLETIONS, _plain_causal, DECODERS),
    ("classifier", classifier, LABELLED, _plain_classifier, (*DECODERS, *ENCODERS)),
    ("tagger", tagger, TAGGED, _plain_tagger, (*ENCODERS, "llama", "qwen2", "gpt2")),
    ("seq2seq", seq2seq, COMPLETIONS, _plain_seq2seq, ENCODER_DECODERS),
]
ALL = [
    pytest.param(make, examples, plain, name, id=f"{kind}-{name}")
    for kind, make, examples, plain, names in CELLS
    for name in names
]


def reference(model: Any, items: Any, plain: Any) -> tuple[float, Any]:
    """Mean over all targets, an example at a time."""
    parts = [plain(model, item) for item in items]
    total = sum(count for _, count in parts)
    loss = sum((loss * (count / total) for loss, count in parts), torch.zeros(()))
    return backward(loss), gradients(model)


@pytest.mark.parametrize(("make", "examples", "plain", "name"), ALL)
def test_equals_transformers(make: Any, examples: Any, plain: Any, name: str) -> None:
    objective = make(name)
    model, items = model_of(name, objective), objective.encode(examples)
    assert len({len(item) for item in items}) > 1
    expected = reference(model, items, plain)
    every = list(range(len(items)))
    assert_same(model, learnt(objective, model, items, [every]), expected)
    # Accumulated over three batches it is the same.
    assert_same(model, learnt(objective, model, items, [[0], [2], [1, *every[3:]]]), expected)

    with torch.inference_mode():
        found = objective.predict(model, items, answers=False)
    assert sum(each.targets for each in found) == objective.count_targets(objective.collate(items))
    mean = sum(each.loss for each in found) / sum(each.targets for each in found)
    torch.testing.assert_close(mean, expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_the_loss_on_all_equals_transformers(name: str) -> None:
    objective = causal(name, learn_prompt=True)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    expected = reference(model, items, _plain_causal)
    assert_same(model, learnt(objective, model, items, [[0, 1], [2, 3]]), expected)


@pytest.mark.parametrize(
    ("make", "examples", "name"),
    [
        (causal, COMPLETIONS, "llama"),
        (classifier, LABELLED, "bert"),
        (tagger, TAGGED, "bert"),
        (seq2seq, COMPLETIONS, "t5"),
    ],
)
def test_label_smoothing_is_that_of_torch(make: Any, examples: Any, name: str) -> None:
    plain, smooth = make(name), make(name, smoothing=0.2)
    model, items = model_of(name, plain), plain.encode(examples)
    batch = plain.collate(items)
    forward = {k: v for k, v in batch.items() if k != "labels"}
    labels = batch["labels"]
    extra = {"labels": labels} if name == "t5" else {}
    logits = model(**forward, **extra).logits
    if make is causal:
        logits, labels = logits[:, :-1], labels[:, 1:]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), label_smoothing=0.2
    )
    count = plain.count_targets(batch)
    torch.testing.assert_close(smooth.loss(model, batch, count), expected, rtol=1e-4, atol=1e-5)
    assert not torch.isclose(plain.loss(model, batch, count), expected)
    # Evaluation measures the plain one.
    with torch.inference_mode():
        losses = [
            sum(p.loss for p in o.predict(model, items, answers=False)) for o in (plain, smooth)
        ]
    assert losses[0] == losses[1]


def _cosine(model: Any, item: Any, pooling: str) -> Any:
    vectors = []
    for ids in (item.first, item.second):
        hidden = model(input_ids=_row(ids)).last_hidden_state[0]
        vectors.append({"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling])
    first, second = vectors
    return torch.nn.functional.cosine_similarity(first, second, dim=0)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", [*ENCODERS, "llama", "gpt2"])
def test_pairs_equal_texts_by_themselves(name: str, pooling: Any) -> None:
    objective = Pairs(tokenizer_of(name), 64, Similarity(pooling=pooling))
    model, items = model_of(name, objective), objective.encode(PAIRS)
    errors = [(_cosine(model, item, pooling) - item.label) ** 2 for item in items]
    expected = backward(torch.stack(errors).mean()), gradients(model)
    assert_same(model, learnt(objective, model, items, [[0, 1, 2, 3]]), expected)
    assert_same(model, learnt(objective, model, items, [[0], [1, 3], [2]]), expected)
    with torch.inference_mode():
        found = objective.predict(model, items, answers=True)
        for each, item in zip(found, items, strict=True):
            assert each.answer == pytest.approx(float(_cosine(model, item, pooling)), abs=1e-5)
            assert each.loss == pytest.approx((each.answer - item.label) ** 2, abs=1e-5)


def test_contrastive_and_negatives_by_hand() -> None:
    model = model_of("bert", Pairs(tokenizer_of("bert"), 64, Similarity()))
    contrastive = Pairs(tokenizer_of("bert"), 64, Similarity(objective="contrastive", margin=0.7))
    items = contrastive.encode(PAIRS)
    cosines = [_cosine(model, item, "mean") for item in items]
    expected = [
        (i.label * (1 - c) ** 2 + (1 - i.label) * max(0.7 - (1 - c), 0) ** 2) / 2
        for i, c in zip(items, cosines, strict=True)
    ]
    found = contrastive.loss(model, contrastive.collate(items), len(items))
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=1e-4, atol=1e-6)

    negatives = Pairs(
        tokenizer_of("bert"), 64, Similarity(objective="in_batch_negatives", scale=10)
    )
    cross = type(items[0])
    scores = torch.stack(
        [
            torch.stack(
                [10 * _cosine(model, cross(a.first, b.second, 0, 0), "mean") for b in items]
            )
            for a in items
        ]
    )
    expected_loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(items)))
    batch = negatives.collate(items)
    torch.testing.assert_close(negatives.loss(model, batch, 4), expected_loss, rtol=1e-4, atol=1e-5)


def test_what_isnt_alike_is_measured_as_a_negative_alone() -> None:
    negatives = Pairs(tokenizer_of("bert"), 64, Similarity(objective="in_batch_negatives"))
    model = model_of("bert", negatives)
    unlabelled = negatives.encode([replace(pair, label=None) for pair in PAIRS])
    labelled = negatives.encode(
        [replace(p, label=label) for p, label in zip(PAIRS, (1.0, 0.0, 1.0, 0.9), strict=True)]
    )
    with torch.inference_mode():
        every = negatives.predict(model, unlabelled, answers=False)
        found = negatives.predict(model, labelled, answers=True)
    assert [each.targets for each in every] == [1, 1, 1, 1]
    assert [each.targets for each in found] == [1, 0, 1, 0]
    assert [each.loss for each in found] == [every[0].loss, 0, every[2].loss, 0]
    assert all(each.answer is not None for each in found)
