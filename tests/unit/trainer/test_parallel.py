"""How the processes of a training share its memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit.trainer.tiny import tiny_folder

from luthier_api.methods import Method
from luthier_api.training import Training
from luthier_trainer.distributed.parts import Part
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.precision import Precision
from luthier_trainer.training.parallel import held, hindrance, is_shared

FP32 = Precision("fp32")


@given(st.integers(0, 40), st.integers(1, 9))
def test_parts_are_cut_as_torch_cuts_them(rows: int, count: int) -> None:
    whole = torch.arange(2 * rows).view(rows, 2)
    expected: Sequence[torch.Tensor] = torch.chunk(whole, count) if rows else []
    parts = [Part(number, count).cut(whole) for number in range(count)]
    for number, part in enumerate(parts):
        own = expected[number] if number < len(expected) else whole[:0]
        assert torch.equal(part, own)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 9))
def test_other_parts_are_made_of_parts(rows: int, before: int, after: int) -> None:
    whole = torch.arange(2 * rows).view(rows, 2)
    pieces = [Part(number, before).cut(whole) for number in range(before)]
    for number in range(after):
        part = Part(number, after)
        assert torch.equal(part.join(pieces), part.cut(whole))


@pytest.mark.parametrize(
    ("method", "optimizer", "precision", "bytes_a_weight"),
    [
        ({"type": "full"}, "adamw_torch", "fp32", 16),
        ({"type": "full"}, "sgd", "fp32", 8),
        ({"type": "full", "full": {"weights": "bf16"}}, "adamw_torch", "bf16", 12),
        ({"type": "lora"}, "adamw_torch", "fp32", 4),
        ({"type": "lora"}, "adamw_torch", "bf16", 2),
    ],
)
def test_what_a_process_holds(
    method: dict[str, Any], optimizer: str, precision: str, bytes_a_weight: int
) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_folder("llama")
    weights = AutoModelForCausalLM.from_pretrained(folder).num_parameters()
    training = Training.model_validate({"maxSteps": 1, "optimizer": optimizer})
    found = held(folder, Method.model_validate(method), training, Precision(precision))
    # Headers are bytes, too.
    assert found == pytest.approx(bytes_a_weight * weights, rel=0.03)


@pytest.mark.parametrize(
    ("wish", "alone", "why_not", "shared"),
    [
        ("Auto", 75, None, False),
        ("Auto", 76, None, True),
        ("Auto", 76, "it can't", False),
        ("ddp", 200, None, False),
        ("fsdp", 1, None, True),
    ],
)
def test_a_model_that_does_not_fit_is_shared_out(
    wish: str, alone: int, why_not: str | None, shared: bool
) -> None:
    assert is_shared(wish, alone, 100, why_not) is shared


@pytest.mark.parametrize(
    ("model", "method", "training", "precision", "words"),
    [
        ("llama", {"type": "full"}, {}, FP32, None),
        ("llama", {"type": "lora"}, {"optimizer": "adafactor"}, Precision("fp16"), None),
        ("bert", {"type": "full"}, {}, FP32, None),
        ("t5", {"type": "lora"}, {}, FP32, "encoder-decoder"),
        ("llama", {"type": "ia3"}, {}, FP32, "full and lora"),
        ("llama", {"type": "full"}, {"optimizer": "adafactor"}, FP32, "whole weights"),
        ("llama", {"type": "full"}, {}, Precision("fp16"), "fp16"),
    ],
)
def test_what_cannot_be_shared_out_is_told(
    model: str,
    method: dict[str, Any],
    training: dict[str, Any],
    precision: Precision,
    words: str | None,
) -> None:
    folder: Path = tiny_folder(model)
    found = hindrance(
        Method.model_validate(method),
        Training.model_validate({"maxSteps": 1, **training}),
        describe(folder),
        folder,
        precision,
    )
    if words is None:
        assert found is None
        return
    assert found
    assert words in found
    with pytest.raises(TrainerError, match="set it to Auto or ddp"):
        is_shared("fsdp", 1, 100, found)
