"""The base model with its trainable part."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier_api.finetuning import FineTuning, Lora
from luthier_trainer.errors import unsupported
from luthier_trainer.log import log
from luthier_trainer.runtime import cpu_has_fast_bf16, hide_unused_packages

# Above this many tokens the memory of plain attention (quadratic) outweighs its speed.
_EAGER_ATTENTION_TOKENS = 512
_ROUTERS = {"gate", "router"}


@dataclass(frozen=True)
class Precision:
    """Arithmetic of the forward pass; trainable weights are always fp32."""

    name: str  # fp32 | bf16 | fp16

    @property
    def dtype(self) -> torch.dtype:
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.name]


def resolve_precision(wish: str, gpus: int) -> Precision:
    """What `auto` comes to here: bf16 where the hardware is fast at it."""
    if wish != "auto":
        return Precision(wish)
    if gpus:
        return Precision("bf16" if torch.cuda.is_bf16_supported() else "fp16")
    return Precision("bf16" if cpu_has_fast_bf16() else "fp32")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model's folder. Raises TrainerError."""
    hide_unused_packages()
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise unsupported(
            "TokenizerUnusable",
            f"the tokenizer can't be loaded: {_brief(error)}; the folder needs tokenizer.json",
            "model.uri",
        ) from error


def load_model(folder: Path, spec: FineTuning, precision: Precision, longest: int) -> Any:
    """A PEFT model, base weights frozen in `precision`, LoRA weights in fp32.

    `longest`: tokens of the longest example. Raises TrainerError (ModelUnusable,
    UnknownModule).
    """
    hide_unused_packages()
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    from luthier_trainer.fusedlora import fuse_lora

    logging.disable_progress_bar()
    on_gpu = torch.cuda.is_available()
    # fp32 and bf16 have the same range; fp16 weights would lose small ones.
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    attention = "sdpa" if on_gpu or longest > _EAGER_ATTENTION_TOKENS else "eager"
    try:
        base = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except Exception as error:
        raise unsupported(
            "ModelUnusable",
            f"the model can't be loaded as a causal language model: {_brief(error)}",
            "model.uri",
        ) from error
    base.config.use_cache = False

    lora = spec.method.lora
    targets = resolve_targets(base, lora)
    # The seed decides the initial weights whatever was drawn before.
    torch.manual_seed(spec.training.seed)
    model = get_peft_model(
        base,
        LoraConfig(
            task_type="CAUSAL_LM",
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=targets,
            modules_to_save=_resolve_saved(base, lora) or None,
        ),
        autocast_adapter_dtype=True,
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    fused = fuse_lora(model)
    if on_gpu:
        model.to("cuda")
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log(
        f"model: {type(base).__name__}, {total:,} parameters ({trainable:,} trainable in "
        f"{', '.join(targets)}), {precision.name}, attention {attention}, "
        f"{fused} fused layers"
    )
    return model


def resolve_targets(base: Any, lora: Lora) -> list[str]:
    """Names of the modules that get an update; none found is an error.

    auto and all-linear: every linear layer (Linear or GPT-2's Conv1D) but the output
    head; auto leaves out what isn't inside a layer of the stack (poolers, projections)
    and the routers of mixtures of experts.
    """
    linear = _linear_names(base)
    wish = lora.target_modules
    if wish == ["auto"]:
        names = {n.rpartition(".")[2] for n in linear if re.search(r"\.\d+\.", n)} - _ROUTERS
    elif wish == ["all-linear"]:
        names = {n.rpartition(".")[2] for n in linear}
    else:
        for name in wish:
            if not any(n == name or n.endswith(f".{name}") for n in linear):
                raise unsupported(
                    "UnknownModule",
                    f"the model has no linear layer {name!r}; it has: {_leaves(linear)}",
                    "method.lora.targetModules",
                )
        names = set(wish)
    if not names:
        raise unsupported(
            "UnknownModule", "the model has no linear layer to adapt", "method.lora.targetModules"
        )
    return sorted(names)


def _linear_names(base: Any) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    head = base.get_output_embeddings()
    return [
        name
        for name, module in base.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]


def _resolve_saved(base: Any, lora: Lora) -> list[str]:
    names = [name for name, _ in base.named_modules() if name]
    for wish in lora.modules_to_save:
        if not any(name == wish or name.endswith(f".{wish}") for name in names):
            raise unsupported(
                "UnknownModule",
                f"the model has no module {wish!r} to train in full; it has: {_leaves(names)}",
                "method.lora.modulesToSave",
            )
    return lora.modules_to_save


def _leaves(names: list[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in names})[:40])


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:400]}"
