"""Base models: what they can be used for, and how they are loaded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from unit.trainer.cells import (
    CAUSAL,
    CLASSES,
    FP32,
    SEQ2SEQ,
    TAGS,
    VECTORS,
    answers,
    batch,
    plain,
    source,
    tuned,
)
from unit.trainer.tiny import DECODERS, ENCODERS, tiny, tiny_folder

from luthier_trainer.errors import TrainerError
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.dropout import override_dropout
from luthier_trainer.models.load import load_base

KINDS = {
    **dict.fromkeys(DECODERS, ("decoder", {CAUSAL, CLASSES, TAGS, VECTORS})),
    "gemma3": ("decoder", {CAUSAL, CLASSES, VECTORS}),
    **dict.fromkeys(ENCODERS, ("encoder", {CLASSES, TAGS, VECTORS})),
    "t5": ("encoder-decoder", {SEQ2SEQ, CLASSES, TAGS}),
    "bart": ("encoder-decoder", {SEQ2SEQ, CLASSES}),
}


@pytest.mark.parametrize("architecture", KINDS)
def test_what_an_architecture_can_end_in(architecture: str) -> None:
    found = describe(tiny_folder(architecture))
    kind, auto_classes = KINDS[architecture]
    assert (found.kind, set(found.auto_classes)) == (kind, auto_classes)
    for auto_class in auto_classes:
        assert plain(source(architecture, auto_class))


@pytest.mark.parametrize(
    ("architecture", "auto_class", "words"),
    [
        ("bert", CAUSAL, "can't continue a text"),
        ("bart", CAUSAL, "can't continue a text"),
        ("bart", TAGS, "can't tag words"),
        ("llama", SEQ2SEQ, "take an encoder-decoder"),
        ("t5", VECTORS, "can't compare texts"),
    ],
)
def test_a_wrong_combination_is_refused_before_weights_are_read(
    architecture: str, auto_class: str, words: str, tmp_path: Path
) -> None:
    config = (tiny_folder(architecture) / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)  # and nothing else
    base = replace(source(architecture, auto_class), folder=tmp_path)
    with pytest.raises(TrainerError) as caught:
        tuned(base, "lora")
    assert caught.value.error.code == "WrongArchitecture"
    assert caught.value.error.param == "model.uri"
    assert words in caught.value.error.message


@pytest.mark.parametrize(
    "content", [None, "{", "[]", "{}", '{"model_type": "nonesuch"}', '{"model_type": 3}']
)
def test_a_folder_without_a_usable_config(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(TrainerError) as caught:
        describe(tmp_path)
    assert caught.value.error.code == "ModelUnusable"


def test_an_encoder_made_to_decode_is_a_decoder(tmp_path: Path) -> None:
    config = json.loads((tiny_folder("bert") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "is_decoder": True}))
    assert describe(tmp_path).kind == "decoder"


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    folder = tiny("llama", tmp_path)
    plain(source("llama", VECTORS)).save_pretrained(folder)  # without its output layer
    with pytest.raises(TrainerError) as caught:
        replace(source("llama"), folder=folder).load(FP32)
    assert caught.value.error.code == "ModelUnusable"
    assert "lm_head.weight" in caught.value.error.message


def test_a_new_head_has_the_labels_and_the_seed() -> None:
    base = source("llama", CLASSES, pad_id=5)
    one, other = base.load(FP32), base.load(FP32)
    assert torch.equal(one.score.weight, other.score.weight)
    assert not torch.equal(one.score.weight, replace(base, seed=8).load(FP32).score.weight)
    assert one.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    assert one.config.label2id["positive"] == 2
    assert one.config.pad_token_id == 5
    alone = replace(base, pad_id=None).load(FP32)
    assert alone.config.pad_token_id == alone.config.eos_token_id


def test_a_head_for_other_labels_is_a_new_one(tmp_path: Path) -> None:
    base = source("bert")
    base.load(FP32).save_pretrained(tmp_path)
    head = replace(base.head, labels=("a", "b"))
    model = replace(base, folder=tmp_path, head=head).load(FP32)
    assert model.classifier.weight.shape[0] == 2
    same = replace(base, folder=tmp_path, seed=99).load(FP32)
    assert torch.equal(same.classifier.weight, base.load(FP32).classifier.weight)


@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [
        *[(name, None) for name in ("llama", "gpt2", "bert", "deberta-v2", "t5", "bart")],
        # Their configs name none for the head.
        *[("llama", TAGS), ("gpt2", TAGS)],
    ],
)
def test_dropout_is_that_of_the_run(architecture: str, auto_class: str | None) -> None:
    base = source(architecture, auto_class, dropout=0.5)
    model, still = base.load(FP32), replace(base, dropout=0.0).load(FP32)
    inputs = batch(architecture, base.head.auto_class)
    first, second = (answers(model.train(), inputs) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (answers(still.train(), inputs) for _ in range(2))
    assert torch.equal(first, second)


def test_a_model_without_dropout_says_so() -> None:
    from transformers import MambaConfig

    with pytest.raises(TrainerError) as caught:
        override_dropout(MambaConfig(), 0.1)
    assert caught.value.error.code == "DropoutNotSupported"
    assert caught.value.error.param == "training.dropout"


@pytest.mark.parametrize("architecture", ["llama", "bert", "t5"])
def test_attention_is_chosen_by_length_and_answers_alike(architecture: str) -> None:
    base = source(architecture)
    short = load_base(base.folder, base.head, FP32, 512, 7).eval()
    long = load_base(base.folder, base.head, FP32, 513, 7).eval()
    assert short.config._attn_implementation == "eager"
    assert long.config._attn_implementation == "sdpa"
    inputs = batch(architecture, base.head.auto_class)
    assert torch.allclose(answers(short, inputs), answers(long, inputs), atol=1e-4)
