"""The memory that is expected of models of 1, 3 and 8 billion weights, without their weights.

A forward and backward pass of a sample is counted on tensors without numbers, as `calibrate` does
on real ones, and what it comes to for a whole batch is held against what is alive at once in a pass
of that batch.
"""

import weakref
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
from transformers import LlamaConfig, LlamaForCausalLM

from luthier_api.training import Training
from luthier_trainer.machine import memory
from luthier_trainer.methods.fusedlora import fuse_lora
from luthier_trainer.objectives.loss import loss_at
from luthier_trainer.objectives.outputlayer import kept_logits_bytes, logits_bytes
from luthier_trainer.training.activations import counted
from luthier_trainer.training.estimate import Calibration, memory_of

# A quarter of the layers: each is like the others, and the difference is less where there are more.
SHARE = 4
# As published by Meta for Llama 3.2 (1B, 3B) and 3.1 (8B).
SHAPES: dict[str, dict[str, Any]] = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16},
    "3B": {"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
}
HEADS = {"1B": 32, "3B": 24, "8B": 32}
SAMPLE = (1, 96)  # rows and tokens, as on a CPU


@dataclass(frozen=True)
class Way:
    """How a model is trained."""

    method: str
    checkpointed: bool
    batch: tuple[int, int]


WAYS = {
    "lora": Way("lora", False, (4, 1024)),
    "lora, computed again": Way("lora", True, (8, 1024)),
    "full in bf16, computed again": Way("full", True, (4, 1024)),
}


def model_of(shape: str, way: Way) -> Any:
    layers = SHAPES[shape]["num_hidden_layers"] // SHARE
    config = LlamaConfig(
        **{**SHAPES[shape], "num_hidden_layers": layers},
        vocab_size=128256,
        num_attention_heads=HEADS[shape],
        num_key_value_heads=8,
        head_dim=SHAPES[shape]["hidden_size"] // HEADS[shape],
        tie_word_embeddings=shape != "8B",
    )
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
    model.luthier_plain_head = True  # found out by numbers, which there are none of
    if way.method == "lora":
        targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        lora = LoraConfig(r=16, target_modules=targets, task_type="CAUSAL_LM")
        with torch.device("meta"):
            model = get_peft_model(model, lora)
    if way.checkpointed:
        model.activation_checkpointing_enable()
    return model.train()


def _on_a_cpu(model: Any) -> None:
    """Each weight as it would be on a processor; those that are trained beside a base in fp32."""
    made: dict[int, Any] = {}
    some_frozen = not all(p.requires_grad for p in model.parameters())
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is None:
                continue
            dtype = torch.float32 if weight.requires_grad and some_frozen else torch.bfloat16
            if id(weight) not in made:
                made[id(weight)] = torch.nn.Parameter(
                    torch.empty(weight.shape, dtype=dtype), requires_grad=weight.requires_grad
                )
            module._parameters[name] = made[id(weight)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=torch.float32)


def loss_of(model: Any, rows: int, length: int) -> Tensor:
    """Every token is a target."""
    ids = torch.zeros(rows, length, dtype=torch.int64)
    forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    return loss_at(
        model,
        lambda: forward(input_ids=ids, use_cache=False),
        lambda outputs: outputs.flatten(0, 1),
        ids.flatten(),
    )


def expected_bytes(model: Any, way: Way) -> int:
    tokens = SAMPLE[0] * SAMPLE[1]
    with counted(model) as counter:
        loss_of(model, *SAMPLE)
    kept = counter.kept.without(logits_bytes(model, tokens), kept_logits_bytes(model, tokens))
    calibration = Calibration(
        tokens=tokens,
        targets=tokens,
        at_output=kept.at_output,
        in_layer=kept.in_layer,
        logits=lambda targets: logits_bytes(model, targets),
        copy_bytes=kept.copies,
        seconds_per_token=1.0,
    )
    weights = sum(p.nbytes for p in {id(p): p for p in model.parameters()}.values())
    training = Training.model_validate({"maxSteps": 1, "optimizer": "sgd"})
    needs = memory_of(model, training, weights, calibration)
    needs = replace(needs, snapshots=0, step=0)  # there is no optimiser
    return needs.total(way.batch[0] * way.batch[1])


class Alive(TorchDispatchMode):
    """Counts the storages that operations make, until nobody has them."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._seen = WeakIdKeyDictionary()
        self.held = self.peak = 0
        for parameter in model.parameters():
            self._count(parameter)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, made)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._seen:
            self._seen[storage] = True
            self.held += storage.nbytes()
            self.peak = max(self.peak, self.held)
            weakref.finalize(storage, self._gone, storage.nbytes())

    def _gone(self, size: int) -> None:
        self.held -= size


def alive_bytes(model: Any, way: Way) -> int:
    with Alive(model) as alive:
        torch.autograd.backward(loss_of(model, *way.batch))
    return alive.peak


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_counted_of_a_sample_is_what_a_batch_needs(
    shape: str, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "heap_per_tensor", lambda: 1.0)
    model = model_of(shape, way)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _on_a_cpu(model)
        if way.method == "lora":
            assert fuse_lora(model, torch.bfloat16) == 7 * model.config.num_hidden_layers
        expected = expected_bytes(model, way)
        measured = alive_bytes(model, way)
    print(f"{shape}, {way}: {expected / 1e9:.2f} GB expected, {measured / 1e9:.2f} GB")
    assert expected == pytest.approx(measured, rel=0.15)
