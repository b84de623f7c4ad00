"""Where LoRA can sit: a module's name in the model, in peft's files, and in the graph.

A module is named as in the model, e.g. `model.layers.3.self_attn.q_proj`.
"""

import re

# The linear layers that the builder gives a LoRA branch, by the block that they are in.
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
PROJECTIONS = (*ATTENTION, *MLP)

_BLOCKS = {"self_attn": ("attn", ATTENTION), "mlp": ("mlp", MLP)}
_MODULE = re.compile(r"model\.layers\.(\d+)\.(self_attn|mlp)\.(\w+)")
_PEFT = re.compile(r"base_model\.model\.(.+)\.lora_([AB])(?:\.default)?\.weight")


def is_switchable(module: str) -> bool:
    """Whether the graph can have a LoRA branch at this module."""
    found = _MODULE.fullmatch(module)
    return bool(found) and found[3] in _BLOCKS[found[2]][1] if found else False


def peft_key(module: str, side: str) -> str:
    """Name of a tensor in adapter_model.safetensors; `side` is A or B."""
    return f"base_model.model.{module}.lora_{side}.weight"


def parse_peft_key(key: str) -> tuple[str, str] | None:
    """(module, side) of a tensor's name in adapter_model.safetensors; None: no LoRA weight."""
    found = _PEFT.fullmatch(key)
    return (found[1], found[2]) if found else None


def parameter(module: str, side: str) -> str:
    """Name of a LoRA weight as an input of the graph."""
    layer, block, projection = _parts(module)
    return f"model.layers.{layer}.{block}.{projection}.lora_{side}.MatMul.weight"


def node(module: str, side: str) -> str:
    """Name of the graph's node that multiplies with it."""
    layer, block, projection = _parts(module)
    return f"/model/layers.{layer}/{block}/{projection}/lora_{side}/MatMul"


def rank_symbol(module: str) -> str:
    """The symbolic rank of a module: each has its own, else ONNX Runtime takes all for equal."""
    layer, block, projection = _parts(module)
    return f"rank_{layer}_{block}_{projection}"


def _parts(module: str) -> tuple[str, str, str]:
    found = _MODULE.fullmatch(module)
    assert found, module
    return found[1], _BLOCKS[found[2]][0], found[3]
