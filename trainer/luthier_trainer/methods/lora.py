"""LoRA (https://arxiv.org/abs/2106.09685), also on a base in 4 bits (qlora)."""

from typing import Any

from luthier_api.methods import Lora
from luthier_trainer.errors import unsupported
from luthier_trainer.methods.targets import (
    check_patterns,
    matched,
    matches,
    resolve_targets,
    trained_in_full,
)


def lora_config(base: Any, lora: Lora, task_type: str | None) -> Any:
    """peft's LoraConfig for a base model. Raises TrainerError (UnknownModule,
    AmbiguousModule, BadPattern)."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    targets = resolve_targets(base, lora)
    names = matched(base, targets)
    check_patterns(lora.rank_pattern, names, "method.lora.rankPattern")
    check_patterns(lora.alpha_pattern, names, "method.lora.alphaPattern")
    saved = trained_in_full(base, lora)
    _check_trainable(base, saved)
    return LoraConfig(
        task_type=task_type,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        modules_to_save=saved or None,
        use_rslora=lora.rank_stabilized,
        use_dora=lora.dora,
        bias=lora.bias,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        fan_in_fan_out=any(isinstance(base.get_submodule(name), Conv1D) for name in names),
    )


def _check_trainable(base: Any, saved: list[str]) -> None:
    """Raises TrainerError (ModuleQuantized): 4-bit weights have no gradient."""
    for name, module in base.named_modules():
        if not any(matches(name, wish) for wish in saved):
            continue
        if any(not weight.is_floating_point() for weight in module.parameters()):
            raise unsupported(
                "ModuleQuantized",
                f"{name} is in 4 bits, so it can't be trained in full: remove it from "
                "modulesToSave, or take the method lora",
                "method.lora.modulesToSave",
            )
