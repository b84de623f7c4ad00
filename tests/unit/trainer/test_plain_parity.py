"""Packages answer as PyTorch does, whatever the number and the lengths of texts."""

import pytest
import torch
from unit.trainer.plain_support import (
    CAUSAL,
    CLASSES,
    SEQ2SEQ,
    TAGS,
    TOLERANCE,
    VECTORS,
    batch,
    opened,
    package,
    source_of,
)

from luthier_trainer.packages.onnx.session import Session

LENGTHS = [[1], [7], [3, 8], [20, 1, 64, 33], [200, 3], [40] * 5]


@pytest.mark.parametrize(
    ("architecture", "auto_class", "bottleneck"),
    [
        ("bert", CLASSES, False),
        ("bert", TAGS, False),
        ("bert", CLASSES, True),
        ("roberta", CLASSES, False),
        ("deberta-v2", CLASSES, False),
        ("deberta-v2", TAGS, False),
        ("gpt2", CLASSES, False),
        ("llama", CLASSES, False),
    ],
)
def test_heads(architecture: str, auto_class: str, bottleneck: bool) -> None:
    source = source_of(architecture, auto_class, bottleneck=bottleneck)
    expected_of, found_of = source.load(), opened(source)
    if bottleneck:
        base = source_of(architecture, auto_class).load()
        ids, mask = batch(base, [9])
        with torch.no_grad():
            changed = base(ids, mask).logits - expected_of(ids, mask).logits
        assert changed.abs().max() > 0.1
    for lengths in LENGTHS:
        ids, mask = batch(expected_of, lengths)
        with torch.no_grad():
            expected = expected_of(input_ids=ids, attention_mask=mask).logits
        found = found_of(input_ids=ids, attention_mask=mask).logits
        if auto_class == TAGS:
            expected, found = expected[mask == 1], found[mask == 1]
        assert (expected - found).abs().max() <= TOLERANCE, lengths


@pytest.mark.parametrize(
    ("architecture", "pooling"),
    [("bert", "mean"), ("roberta", "mean"), ("bert", "cls"), ("bert", "last"), ("llama", "last")],
)
def test_vectors_of_tokens_and_of_texts(architecture: str, pooling: str) -> None:
    source = source_of(architecture, VECTORS, pooling=pooling)
    model, found_of = source.load(), opened(source)
    session = Session(package(source) / "model.onnx", 2)
    for lengths in LENGTHS:
        ids, mask = batch(model, lengths)
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
        found = found_of(input_ids=ids, attention_mask=mask).last_hidden_state
        assert (expected - found)[mask == 1].abs().max() <= TOLERANCE
        inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        texts = torch.from_numpy(session.run(inputs, {})[1].numpy())
        for row, length in enumerate(lengths):
            own = expected[row, :length]
            wanted = {"mean": own.mean(0), "cls": own[0], "last": own[-1]}[pooling]
            assert (texts[row] - wanted).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("architecture", "bottleneck"),
    [("gpt2", False), ("dialogpt", False), ("gpt2", True), ("llama", True)],
)
def test_causal_models_with_and_without_past(architecture: str, bottleneck: bool) -> None:
    source = source_of(architecture, CAUSAL, bottleneck=bottleneck)
    model, found_of = source.load(), opened(source)
    for lengths in LENGTHS:
        ids, mask = batch(model, lengths)
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).logits
        found = found_of(input_ids=ids, attention_mask=mask)
        assert (expected - found.logits)[mask == 1].abs().max() <= TOLERANCE
        last = found_of(input_ids=ids, attention_mask=mask, logits_to_keep=1).logits
        assert torch.equal(last, found.logits[:, -1:])
        places = torch.tensor([0, max(lengths) // 2])
        kept = found_of(input_ids=ids, attention_mask=mask, logits_to_keep=places).logits
        assert torch.allclose(kept, found.logits[:, places], atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_what_was_read_need_not_be_read_again(architecture: str) -> None:
    source = source_of(architecture, CAUSAL, bottleneck=architecture == "llama")
    model, found_of = source.load(), opened(source)
    ids, mask = batch(model, [12, 12, 12])
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits
    first = found_of(input_ids=ids[:, :7])
    assert first.cache.get_seq_length() == 7
    for repeat in range(2):  # what is in the cache stays as it was
        rest = found_of(input_ids=ids[:, 7:], cache=first.cache)
        assert (rest.logits - expected[:, 7:]).abs().max() <= TOLERANCE, repeat
    assert rest.cache.get_seq_length() == 12


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_encoder_decoders(architecture: str) -> None:
    source = source_of(architecture, SEQ2SEQ)
    model, found_of = source.load(), opened(source)
    for lengths, targets in (([1], 1), ([9, 4], 7), ([30, 2, 17], 1), ([60], 40)):
        ids, mask = batch(model, lengths)
        given = batch(model, [targets] * len(lengths))[0]
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask, decoder_input_ids=given)
        found = found_of(input_ids=ids, attention_mask=mask, decoder_input_ids=given)
        assert (expected.logits - found.logits).abs().max() <= TOLERANCE
        hidden = found.encoder_last_hidden_state
        distance = (expected.encoder_last_hidden_state - hidden)[mask == 1]
        assert distance.abs().max() <= TOLERANCE
        again = found_of(
            input_ids=None,
            attention_mask=mask,
            decoder_input_ids=given,
            encoder_outputs=(hidden,),
        )
        assert torch.equal(again.logits, found.logits)
    with pytest.raises(ValueError, match="last forward"):
        found_of(
            input_ids=None,
            attention_mask=mask,
            decoder_input_ids=given,
            encoder_outputs=(hidden.clone(),),
        )


@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_shifted_targets(architecture: str) -> None:
    source = source_of(architecture, SEQ2SEQ)
    labels = torch.tensor([[7, 8, 9], [6, -100, -100]])
    expected = source.load().prepare_decoder_input_ids_from_labels(labels=labels)
    found = opened(source).prepare_decoder_input_ids_from_labels(labels=labels)
    assert torch.equal(found, expected)
