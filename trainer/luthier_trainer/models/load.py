"""A model's folder as tokenizer and as base model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier_api.methods import Quantization
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.machine.device import on_gpu
from luthier_trainer.machine.runtime import hide_unused_packages
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.dropout import override_dropout
from luthier_trainer.models.files import main_type
from luthier_trainer.models.heads import Head, remember_new_modules, renew_head
from luthier_trainer.models.precision import Precision, resolve_precision, widen_stream
from luthier_trainer.models.quantized import keep_packing, quantization_config, quantized_device

__all__ = [
    "EAGER_ATTENTION_TOKENS",
    "BaseSource",
    "Precision",
    "base_config",
    "load_base",
    "load_tokenizer",
    "resolve_precision",
]

# On a CPU: above this many tokens the memory of plain attention (quadratic) outweighs its speed.
EAGER_ATTENTION_TOKENS = 512


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


def load_base(
    folder: Path,
    head: Head,
    precision: Precision,
    longest: int,
    seed: int,
    quantization: Quantization | None = None,
    dropout: float | None = None,
    *,
    frozen: bool = True,
    pad_id: int | None = None,
    dtype: torch.dtype | None = None,
    outline: bool = False,
) -> Any:
    """The base model, on the CPU (a quantised one: where it will be used). `outline`: on the meta
    device, with names and shapes of its weights alone.

    Weights that are `frozen` are in the precision's type, else in fp32; all of them in `dtype`, if
    that is given. `longest`: tokens of
    the longest example. `seed` decides the weights of a new head. `pad_id`: what batches are
    padded with, for classifiers that look for the last token of a text; left out: as the
    config says. Raises TrainerError (WrongArchitecture, ModelUnusable, DropoutNotSupported).
    """
    hide_unused_packages()
    architecture = describe(folder)
    architecture.require(head.auto_class)
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what is missing is told below
    auto_class = getattr(transformers, head.auto_class)
    try:
        config = _config(folder, head, pad_id, dropout)
        settings: dict[str, Any] = {}
        if quantization:
            settings["quantization_config"] = quantization_config(
                auto_class, config, quantization, precision
            )
            settings["device_map"] = quantized_device()
        elif outline:
            settings["device_map"] = "meta"
        # The seed decides the initial weights whatever was drawn before.
        torch.manual_seed(seed)
        model, report = auto_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype or (precision.frozen_dtype if frozen else torch.float32),
            attn_implementation=_attention(auto_class, config, longest),
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # A head for other labels is a new one.
            ignore_mismatched_sizes=bool(head.labels),
            **settings,
        )
    except TrainerError:
        raise
    except Exception as error:
        raise unsupported(
            "ModelUnusable",
            f"the model can't be loaded as {head.auto_class}: {_brief(error)}",
            "model.uri",
        ) from error
    missing = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    _check_complete(model, head, missing)
    if head.labels and head.labels != architecture.labels:
        missing = sorted([*missing, *renew_head(model, len(head.labels), seed, missing)])
    remember_new_modules(model, missing)
    if quantization:
        keep_packing(model)
    if frozen and dtype is None and precision.name == "fp16":
        widen_stream(model)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    return model


def skeleton(folder: Path, head: Head) -> Any:
    """The model without its weights: names and shapes. None where transformers can't make one."""
    hide_unused_packages()
    import transformers

    auto_class = getattr(transformers, head.auto_class)
    try:
        with torch.device("meta"):
            return auto_class.from_config(_config(folder, head, None, None))
    except Exception:  # told by loading it
        return None


@dataclass(frozen=True)
class BaseSource:
    """Where a base model comes from: loaded again, it is the same. Fields as in load_base;
    `outline`: whatever is loaded, in a process that gets the weights of another one."""

    folder: Path
    head: Head
    longest: int
    seed: int
    dropout: float | None = None
    pad_id: int | None = None
    outline: bool = False

    def load(
        self,
        precision: Precision,
        quantization: Quantization | None = None,
        *,
        frozen: bool = True,
    ) -> Any:
        return load_base(
            self.folder,
            self.head,
            precision,
            self.longest,
            self.seed,
            quantization,
            self.dropout,
            frozen=frozen,
            pad_id=self.pad_id,
            outline=self.outline,
        )

    def load_as(self, dtype: torch.dtype) -> Any:
        """With all weights in this type."""
        return load_base(
            self.folder,
            self.head,
            Precision("fp32"),
            self.longest,
            self.seed,
            dropout=self.dropout,
            pad_id=self.pad_id,
            dtype=dtype,
            outline=self.outline,
        )


def stored_type(folder: Path) -> torch.dtype:
    """The type that most of a model's weights are stored in."""
    return {"BF16": torch.bfloat16, "F16": torch.float16}.get(main_type(folder), torch.float32)


def base_config(folder: Path) -> Any:
    """The configuration in a model's folder. Raises TrainerError (ModelUnusable)."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # whatever its fields make transformers stumble over
        raise unsupported(
            "ModelUnusable",
            f"config.json can't be used: {_brief(error)}; take it as its model was published",
            "model.uri",
        ) from error


def _config(folder: Path, head: Head, pad_id: int | None, dropout: float | None) -> Any:
    config = base_config(folder)
    if head.labels:
        config.num_labels = len(head.labels)
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: index for index, label in enumerate(head.labels)}
        if head.problem:
            config.problem_type = head.problem
        if pad_id is not None:
            config.pad_token_id = pad_id
        elif config.pad_token_id is None:
            ends = config.eos_token_id
            config.pad_token_id = ends[0] if isinstance(ends, list) else ends
    if dropout is not None:
        override_dropout(config, dropout)
    return config


def _attention(auto_class: Any, config: Any, longest: int) -> str:
    fused = on_gpu() or longest > EAGER_ATTENTION_TOKENS
    if not fused:
        return "eager"
    model_class = auto_class._model_mapping[type(config)]
    return "sdpa" if getattr(model_class, "_supports_sdpa", False) else "eager"


def _check_complete(model: Any, head: Head, missing: list[str]) -> None:
    """Only a head for a task may begin with new weights (and the pooler before it, which many
    checkpoints lack)."""
    body = f"{model.base_model_prefix}." if head.labels else ""
    lacking = [key for key in missing if key.startswith(body) and "pooler" not in key]
    if lacking:
        raise unsupported(
            "ModelUnusable",
            f"the checkpoint lacks {len(lacking)} weights of {type(model).__name__}, e.g. "
            f"{lacking[0]}: take one that was saved as such a model",
            "model.uri",
        )


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:400]}"
