"""The objectives measure a package as they measure the model that it was made of."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from unit.trainer.objectives_support import (
    COMPLETIONS,
    LABELLED,
    LABELS,
    PAIRS,
    TAGGED,
    tokenizer_of,
)
from unit.trainer.plain_support import (
    CAUSAL,
    CLASSES,
    SEQ2SEQ,
    TAGS,
    VECTORS,
    batch,
    opened,
    package,
    source_of,
)

from luthier_api.training import Similarity
from luthier_trainer.evaluation.measure import measure
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.choose import completions_of
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.generate import generate
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.scoring import label_completions
from luthier_trainer.objectives.segments import plain_ids
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import Encoder
from luthier_trainer.packages.contract import Runner, Source
from luthier_trainer.packages.onnx.runner import OnnxRunner

WORDS = ["w1 w2", "Text: the service was quick and good\nColour:", "ocean"]


def _same(objective: Any, examples: Sequence[Any], source: Source, values: list[str]) -> None:
    items = objective.encode(examples)
    expected, found = (
        measure(model, objective, items, examples, values, batch_size=3)
        for model in (source.load(), opened(source))
    )
    for ours, theirs in zip(found.predictions, expected.predictions, strict=True):
        assert ours.targets == theirs.targets
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-3)
        assert ours.answer is not None
        if isinstance(ours.answer, float):
            assert ours.answer == pytest.approx(theirs.answer, abs=1e-4)
        else:
            assert ours.answer == theirs.answer
    assert found.values(values) == pytest.approx(expected.values(values), abs=1e-3)


def test_classifier() -> None:
    source = source_of("bert", CLASSES, labels=tuple(LABELS))
    objective = Classifier(tokenizer_of("bert"), LABELS, 64)
    _same(objective, LABELLED, source, ["accuracy", "f1", "loss"])


def test_tagger() -> None:
    objective = Tagger(tokenizer_of("bert"), ["LOC", "PER"], 64)
    source = source_of("bert", TAGS, labels=objective.head.labels)
    _same(objective, TAGGED, source, ["entity_f1", "loss"])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pairs(pooling: Any) -> None:
    objective = Pairs(tokenizer_of("bert"), 64, Similarity(pooling=pooling))
    _same(objective, PAIRS, source_of("bert", VECTORS), ["spearman", "loss"])


@pytest.mark.parametrize("as_labels", [True, False])
@pytest.mark.parametrize(("architecture", "bottleneck"), [("gpt2", False), ("llama", True)])
def test_causal(architecture: str, bottleneck: bool, as_labels: bool) -> None:
    tokenizer = tokenizer_of(architecture)
    labels = {}
    if as_labels:  # one of them has two tokens or more: it is scored on the cache
        completions = completions_of(COMPLETIONS, LABELS)
        ids = plain_ids(tokenizer, list(completions.values()))
        assert max(map(len, ids)) > 1
        labels = label_completions(dict(zip(completions, ids, strict=True)), tokenizer.eos_token_id)
    encoder = Encoder(tokenizer, 64, False)
    objective = Causal(tokenizer, encoder, 64, labels=labels, max_new_tokens=9)
    source = source_of(architecture, CAUSAL, bottleneck=bottleneck)
    _same(objective, COMPLETIONS, source, ["accuracy" if as_labels else "bleu", "loss"])


@pytest.mark.parametrize("as_labels", [True, False])
@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_seq2seq(architecture: str, as_labels: bool) -> None:
    labels = completions_of(COMPLETIONS, LABELS) if as_labels else None
    objective = Seq2Seq(tokenizer_of(architecture), 64, labels=labels, max_new_tokens=9)
    source = source_of(architecture, SEQ2SEQ)
    _same(objective, COMPLETIONS, source, ["accuracy" if as_labels else "rougeL", "loss"])


@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [("gpt2", CAUSAL), ("dialogpt", CAUSAL), ("t5", SEQ2SEQ), ("bart", SEQ2SEQ)],
)
def test_it_generates_what_transformers_does(architecture: str, auto_class: str) -> None:
    source = source_of(architecture, auto_class)
    tokenizer = tokenizer_of(architecture)
    prompts = [tokenizer(text)["input_ids"] for text in WORDS]
    expected, found = (
        generate(model, tokenizer, prompts, 24, source.pad_id)
        for model in (source.load(), opened(source))
    )
    assert found == expected
    assert any(expected)


def test_a_text_ends_at_its_end_token_and_is_filled_up() -> None:
    source = source_of("gpt2", CAUSAL)
    model, found_of = source.load(), opened(source)
    ids, mask = batch(model, [3, 8, 5], left=True)
    options = {"max_new_tokens": 20, "pad_token_id": 1}
    free = found_of.generate(ids, mask, eos_token_id=[], **options)
    assert free.shape == (3, 28)
    end = int(free[0, 10])  # whatever comes third in the first row ends all
    expected = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, eos_token_id=[end], **options
    )
    found = found_of.generate(ids, mask, eos_token_id=[end], **options)
    assert torch.equal(found, expected)
    assert found[0].tolist().count(1) >= 1 or found.shape[1] < 28


def test_what_a_model_says_of_every_text_is_heeded() -> None:
    """First and last tokens that are forced, and tokens that never are one."""
    source = source_of("bart", SEQ2SEQ)
    model, found_of = source.load(), opened(source)
    ids, mask = batch(model, [6, 4])
    options = {"max_new_tokens": 6, "eos_token_id": [2], "pad_token_id": 1}
    plain = found_of.generate(ids, mask, **options)
    never = int(plain[0, 2])
    changes = {"forced_bos_token_id": 9, "suppress_tokens": [never], "bad_words_ids": [[11]]}
    for config in (model.generation_config, found_of.generation_config):
        config.update(**changes)
    expected = model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, num_beams=1, **options
    )
    found = found_of.generate(ids, mask, **options)
    assert torch.equal(found, expected)
    assert found[:, 1].tolist() == [9, 9]
    assert never not in found
    assert not torch.equal(found, plain)


@pytest.mark.parametrize(
    ("architecture", "auto_class", "ticks"),
    [("gpt2", CAUSAL, 7), ("t5", SEQ2SEQ, 7), ("bert", CLASSES, 1)],
)
def test_benchmarked_texts_have_the_length_asked_for(
    architecture: str, auto_class: str, ticks: int
) -> None:
    source = source_of(architecture, auto_class)
    runner: Runner = OnnxRunner(package(source), 1)
    told: list[int] = []
    runner.answer([[5, 6, 7], [7, 6, 5]], 7, lambda: told.append(1))
    assert len(told) == ticks


def test_memory_is_measured_without_torch() -> None:
    folder = package(source_of("gpt2", CAUSAL))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from luthier_trainer.packages.formats import open_package\n"
        f"runner = open_package('onnx', Path({str(folder)!r}), 1)\n"
        "runner.answer([[5, 6, 7]], 3, lambda: print('token'))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120)
    assert ran.stdout.split() == [b"token"] * 3, ran.stderr.decode()
