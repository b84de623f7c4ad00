"""IA³ (https://arxiv.org/abs/2205.05638): keys, values and the MLP's inner activations are
multiplied by learnt vectors."""

import re
from typing import Any

from luthier_trainer.errors import unsupported
from luthier_trainer.methods.blocks import find_blocks
from luthier_trainer.methods.targets import shortest_names, trained_in_full

_KEY_OR_VALUE = re.compile(r"^(k|v|key|value)(_|$)")


def ia3_config(base: Any, task_type: str | None) -> Any:
    """peft's IA3Config for a base model. Raises TrainerError (WrongArchitecture)."""
    from peft import IA3Config
    from transformers.pytorch_utils import Conv1D

    blocks = find_blocks(base)
    inputs = [name for b in blocks if b.kind == "attention" for name in _keys_and_values(b.linear)]
    outputs = [block.output for block in blocks if block.kind == "mlp"]
    if not inputs or not outputs:
        raise unsupported(
            "WrongArchitecture",
            "ia3 scales keys, values and the activations of MLPs, but the model's layers haven't "
            "all of them as linear layers: use lora",
            "method.type",
        )
    every = [name for name, _ in base.named_modules()]
    return IA3Config(
        task_type=task_type,
        target_modules=shortest_names([*inputs, *outputs], every),
        feedforward_modules=shortest_names(outputs, every),
        modules_to_save=trained_in_full(base) or None,
        fan_in_fan_out=any(isinstance(base.get_submodule(name), Conv1D) for name in inputs),
    )


def _keys_and_values(linear: tuple[str, ...]) -> list[str]:
    """Of an attention's layers; where one layer makes query, key and value, that one."""
    before = list(linear[:-1])
    named = [name for name in before if _KEY_OR_VALUE.match(name.rpartition(".")[2])]
    return named or before
