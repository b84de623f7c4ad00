"""Whether an adapter can be switched on a base: from its configuration and the header of its
weights, before anything is built.

What may differ between adapters of one bundle: rank, alpha, rank-stabilised or not, patterns of
both, the modules, and the layers.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier_trainer.models.header import Tensor
from luthier_trainer.models.wrapped import REMEDY, saved_wrapped
from luthier_trainer.packages.genai.adapterfile import scaling
from luthier_trainer.packages.genai.base import Base, Shape
from luthier_trainer.packages.genai.modules import is_switchable, parse_peft_key
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.published.adapterconfig import rank_of

_ON_THIS_BASE = "train the adapter on this bundle's base"
_PLAIN = "train it as plain LoRA"
# Ways to begin that leave the base's weights as they are; others (PiSSA, OLoRA, …) change them,
# so that the adapter fits the changed base alone.
_INNOCENT_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
# Field of adapter_config.json, code, what it means, and the remedy.
_BESIDE = (
    ("use_dora", "Dora", "it is a DoRA, which scales the base's weights", "set dora to false"),
    ("modules_to_save", "ModulesToSave", "it holds whole modules", "leave modulesToSave empty"),
    ("trainable_token_indices", "TrainableTokens", "it changes embeddings of tokens", _PLAIN),
    ("lora_bias", "Bias", "it trained biases of its own", "set bias to none"),
    ("target_parameters", "TargetParameters", "it changes what is no linear layer", _PLAIN),
    ("layer_replication", "LayersReplicated", "it repeats layers of its base", _PLAIN),
    ("alora_invocation_tokens", "LoraVariant", "it is an activated LoRA", _PLAIN),
    ("use_qalora", "LoraVariant", "it is a QALoRA, which pools the inputs", _PLAIN),
    ("use_bdlora", "LoraVariant", "it is a BD-LoRA, of blocks", _PLAIN),
    ("arrow_config", "LoraVariant", "it routes between adapters (Arrow)", _PLAIN),
    ("kasa_config", "LoraVariant", "it is a KaSA, which changes the base's weights", _PLAIN),
    ("monteclora_config", "LoraVariant", "it is a MonteCLoRA, which draws its weights", _PLAIN),
)
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Adapter:
    """An adapter as it was fetched.

    `config`: adapter_config.json, its patterns resolved (adapterconfig.resolved); `tensors`: the
    header of adapter_model.safetensors. `base_digest`: of the model that it was trained on, where
    its run's manifest tells.
    """

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    base_digest: str | None = None

    @property
    def modules(self) -> list[str]:
        """Where it has an update, in the model's names."""
        named = [parse_peft_key(key) for key in self.tensors]
        return sorted({found[0] for found in named if found})

    @property
    def ranks(self) -> list[int]:
        """The ranks that it has, ascending."""
        return sorted({rank_of(self.config, module) for module in self.modules})


def check(adapter: Adapter, base: Base) -> None:
    """Raises UnfitError: why the adapter can't be switched, and what can be done."""
    for examine in _CHECKS:
        examine(adapter, base)


def _plain_lora(adapter: Adapter, base: Base) -> None:
    del base
    config = adapter.config
    kind = config.get("peft_type")
    if kind != "LORA":
        raise UnfitError(
            "NotLora", f"it is of the type {kind}, and only LoRA can be switched", _PLAIN
        )
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise UnfitError(
            "NotLanguageModel",
            f"it is for the task {config['task_type']}, and the bundle holds a language model",
            "train it with a dataset in words (template, prompt and completion, or messages)",
        )


def _nothing_beside_it(adapter: Adapter, base: Base) -> None:
    """Only A and B can be exchanged while a model runs."""
    del base
    config = adapter.config
    for field, code, what, remedy in _BESIDE:
        if config.get(field):
            raise UnfitError(code, f"{what}, which can't be switched", remedy)
    if config.get("bias", "none") != "none":
        raise UnfitError("Bias", f"it trained biases ({config['bias']}) too", "set bias to none")
    start = config.get("init_lora_weights")
    if start not in _INNOCENT_STARTS:
        raise UnfitError(
            "BaseChanged",
            f"init_lora_weights is {start!r}, which changes the weights of the base",
            "save it converted to plain LoRA (save_pretrained with path_initial_model_for_weight_"
            "conversion)",
        )


def _same_base(adapter: Adapter, base: Base) -> None:
    """By digest where the adapter's run tells it, else by the name on a hub."""
    if adapter.base_digest is not None:
        if adapter.base_digest != base.digest:
            raise UnfitError(
                "WrongBase",
                f"it was trained on the base {_short(adapter.base_digest)}, the bundle's is "
                f"{_short(base.digest)}",
                _ON_THIS_BASE + ", or name that base",
            )
        return
    named = _hub_name(str(adapter.config.get("base_model_name_or_path") or ""))
    wanted = _hub_name(base.uri) if base.uri.startswith("hf://") else None
    if named and wanted and named.lower() != wanted.lower():
        raise UnfitError(
            "WrongBase",
            f"its adapter_config.json names the base {named}, the bundle's is {wanted}",
            _ON_THIS_BASE + ", or name that base",
        )


def _of_a_plain_model(adapter: Adapter, base: Base) -> None:
    del base
    if wrapped := saved_wrapped(adapter.tensors):
        raise UnfitError("WrappedWeights", wrapped, REMEDY)


def _known_modules(adapter: Adapter, base: Base) -> None:
    odd = [key for key in adapter.tensors if parse_peft_key(key) is None]
    if odd:
        raise UnfitError("NotLora", f"it holds {odd[0]}, which is no weight of plain LoRA", _PLAIN)
    if not adapter.tensors:
        raise UnfitError("NoWeights", "adapter_model.safetensors holds no tensor", "save it again")
    for module in adapter.modules:
        if module not in base.linear and (is_switchable(module) or ".layers." in module):
            raise UnfitError("UnknownModule", f"the base has no layer {module}", _ON_THIS_BASE)
        if module not in base.modules:
            raise UnfitError(
                "ModuleNotSwitchable",
                f"it adapts {module}, which the graph has no input for",
                "train it on the projections of attention and MLP alone (targetModules: [auto])",
            )


def _right_shapes(adapter: Adapter, base: Base) -> None:
    for module in adapter.modules:
        try:
            rank = rank_of(adapter.config, module)
            scaling(adapter.config, module)
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise UnfitError(
                "BadConfig",
                f"adapter_config.json has no usable rank and alpha for {module} ({error!r})",
                "save the adapter again with peft",
            ) from error
        _check_pair(adapter, module, rank, base.modules[module])


def _check_pair(adapter: Adapter, module: str, rank: int, shape: Shape) -> None:
    inputs, outputs = shape
    sides = {
        found[1]: tensor
        for key, tensor in adapter.tensors.items()
        if (found := parse_peft_key(key)) and found[0] == module
    }
    for side, wanted in (("A", (rank, inputs)), ("B", (outputs, rank))):
        tensor = sides.get(side)
        if tensor is None:
            raise UnfitError("IncompleteWeights", f"{module} has no lora_{side}", "save it again")
        if tensor.dtype not in _FLOATS:
            raise UnfitError(
                "WrongType", f"lora_{side} of {module} is {tensor.dtype}", "save it as F32"
            )
        if tensor.shape == wanted:
            continue
        place = 0 if side == "A" else 1  # of the rank
        what = f"lora_{side} of {module} is {list(tensor.shape)}, not {list(wanted)}"
        if len(tensor.shape) == 2 and tensor.shape[1 - place] == wanted[1 - place]:
            raise UnfitError(
                "WrongRank",
                f"{what}: adapter_config.json says rank {rank}",
                "put the configuration that it was saved with beside it",
            )
        raise UnfitError("WrongShape", what, _ON_THIS_BASE)


_CHECKS: tuple[Callable[[Adapter, Base], None], ...] = (
    _plain_lora,
    _nothing_beside_it,
    _same_base,
    _of_a_plain_model,
    _known_modules,
    _right_shapes,
)


def _hub_name(text: str) -> str | None:
    """OWNER/NAME of a hub; None: a path, or another URI."""
    name = text.removeprefix("hf://").strip("/")
    parts = name.split("/")
    plain = len(parts) == 2 and all(re.fullmatch(r"[A-Za-z0-9][\w.-]*", part) for part in parts)
    return name if plain and not text.startswith(("/", ".")) and "://" not in name else None


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
