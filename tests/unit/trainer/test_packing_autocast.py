"""Whether rows can be packed is tried out in the arithmetic of the run."""

from typing import Any

import pytest
import torch
from unit.trainer.cells import BF16, source, spec, tuned
from unit.trainer.objectives_support import tokenizer_of

from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.choose import batching
from luthier_trainer.objectives.isolation import isolation, require_isolation
from luthier_trainer.objectives.tokens import Encoder


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("saved", [["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_modules_in_fp32_among_weights_in_bf16(method: str, saved: list[str]) -> None:
    model = tuned(source("llama"), method, BF16, lora={"modulesToSave": saved}).model
    kinds = {parameter.dtype for parameter in model.parameters()}
    assert len(kinds) > 1  # of qlora: bytes, and what is trained or kept
    assert isolation(model, torch.bfloat16).holds
    require_isolation(model, torch.bfloat16)
    tokenizer = tokenizer_of("llama")
    objective: Any = Causal(tokenizer, Encoder(tokenizer, 64, True), 64)
    wish = spec(method, {"packing": "Always"})
    assert batching(wish, objective, model, on_gpu=True, autocast=torch.bfloat16) == "packed"


def test_a_model_that_mixes_examples_is_still_found_out() -> None:
    model = tuned(source("gpt2"), "lora", BF16).model
    assert isolation(model, torch.bfloat16).holds
    base = model.get_base_model()
    whole = base.forward

    def without_positions(*args: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return whole(*args, **kwargs)

    base.forward = without_positions
    assert not isolation(model, torch.bfloat16).holds
