"""Base models in 4 bits, by bitsandbytes (https://arxiv.org/abs/2305.14314)."""

import importlib
import sys
from typing import Any

import torch

from luthier_api.methods import Quantization
from luthier_trainer.machine.device import on_gpu
from luthier_trainer.models.heads import head_modules
from luthier_trainer.models.precision import Precision


def quantization_config(
    auto_class: Any, config: Any, quantization: Quantization, precision: Precision
) -> Any:
    """What from_pretrained is told. Heads and output layers keep their precision."""
    show_bitsandbytes()
    from transformers import BitsAndBytesConfig

    compute = quantization.compute_type
    dtype = precision.dtype if compute == "auto" else Precision(compute).dtype
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization.type,
        bnb_4bit_use_double_quant=quantization.double,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_unquantized(auto_class, config),
    )


def quantized_device() -> dict[str, int | str]:
    """Weights are quantised where they stay."""
    return {"": torch.cuda.current_device() if on_gpu() else "cpu"}


def keep_packing(model: Any) -> None:
    """Keep the weights packed as they are. bitsandbytes packs them anew in eval mode on some
    CPUs, in place, and no gradient passes such weights afterwards."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _unquantized(auto_class: Any, config: Any) -> list[str]:
    with torch.device("meta"):
        model = auto_class.from_config(config)
    output = model.get_output_embeddings()
    outputs = [name for name, module in model.named_modules() if module is output and name]
    return sorted({*head_modules(model), *outputs})


def show_bitsandbytes() -> None:
    """Undo `runtime.hide_unused_packages` for the one package: who looked for it and found
    nothing looks again."""
    if sys.modules.get("bitsandbytes", ...) is None:
        del sys.modules["bitsandbytes"]
    importlib.invalidate_caches()
    from peft import import_utils as of_peft
    from transformers.utils import import_utils as of_transformers

    for module in (of_peft, of_transformers):
        for name in ("is_bnb_available", "is_bnb_4bit_available", "is_bitsandbytes_available"):
            clear = getattr(getattr(module, name, None), "cache_clear", None)
            if clear:
                clear()
