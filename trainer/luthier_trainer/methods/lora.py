"""LoRA (https://arxiv.org/abs/2106.09685), also on a base in 4 bits (qlora)."""

from typing import Any

from luthier_api.methods import Lora
from luthier_trainer.errors import unsupported
from luthier_trainer.methods.experts import updated_experts
from luthier_trainer.methods.targets import (
    check_patterns,
    matched,
    matches,
    resolve_targets,
    trained_in_full,
    within,
)


def lora_config(base: Any, lora: Lora, task_type: str | None) -> Any:
    """peft's LoraConfig for a base model. Raises TrainerError (UnknownModule,
    AmbiguousModule, BadPattern, NoBias, ModuleQuantized)."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    targets = resolve_targets(base, lora)
    experts = updated_experts(base, lora)
    names = matched(base, targets)
    check_patterns(lora.rank_pattern, [*names, *experts], "method.lora.rankPattern")
    check_patterns(lora.alpha_pattern, [*names, *experts], "method.lora.alphaPattern")
    saved = trained_in_full(base, lora)
    _check_trainable(base, saved)
    _check_bias(base, lora.bias, names, saved)
    return LoraConfig(
        task_type=task_type,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        target_parameters=experts or None,
        modules_to_save=saved or None,
        use_rslora=lora.rank_stabilized,
        use_dora=lora.dora,
        bias=lora.bias,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        fan_in_fan_out=any(isinstance(base.get_submodule(name), Conv1D) for name in names),
    )


def _check_bias(base: Any, bias: str, updated: list[str], saved: list[str]) -> None:
    """Raises TrainerError (NoBias) where there is none to train beside the update. `updated`: full
    names of modules; `saved`: ends of the names of those that are trained in full anyway."""
    if bias == "none":
        return
    owners = [
        name.removesuffix(".bias") for name, _ in base.named_parameters() if name.endswith(".bias")
    ]
    free = [name for name in owners if not within(name, saved)]
    if bias == "lora_only":
        free = [name for name in free if name in updated]
    if free:
        return
    remedy = (
        "set bias to all, or update modules that have one"
        if any(not within(name, saved) for name in owners)
        else "set it to none"
    )
    which = "model" if bias == "all" else "modules that get an update"
    raise unsupported(
        "NoBias",
        f"bias {bias} would train nothing, as the {which} ha{'s' if bias == 'all' else 've'} no "
        f"biases: {remedy}",
        "method.lora.bias",
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
