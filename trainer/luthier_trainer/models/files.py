"""What a model's folder holds, told from config.json and the heads of its weights: before torch is
imported, and before anything is loaded."""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from luthier_api.methods import Method
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.models.configfile import read_json
from luthier_trainer.models.header import BrokenFileError, Tensor, read_header
from luthier_trainer.models.wrapped import REMEDY, saved_wrapped
from luthier_trainer.storage import keys

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")
# A line for each weight.
_MOST_INDEX_BYTES = 32_000_000
# Of a name or a value that others chose, in a message.
_SHOWN = 100
# Numbers that can be trained, and are kept as they are.
_FLOATS = ("F64", "F32", "F16", "BF16")
# What quantisers call their weights, whose settings don't always stand in config.json.
_PACKED = (
    ".qweight",
    ".qzeros",
    ".weight_packed",
    ".weight_scale",
    ".weight_scale_inv",
    ".absmax",
    ".quant_state.bitsandbytes__nf4",
    ".quant_state.bitsandbytes__fp4",
    ".SCB",
    "_blocks",
    ".W_q",
)
_IN_LAYER = re.compile(r"\.\d+\.")
_ALL = (["auto"], ["all-linear"])

# Name of a weight → its type and shape.
Heads = dict[str, Tensor]


def check_files(folder: Path, method: Method) -> None:
    """As check_weights; and raises TrainerError (UnknownModule) where the method names modules that
    the model doesn't have."""
    _check_targets(check_weights(folder), method)


def check_weights(folder: Path) -> Heads:
    """What a model of any kind of run holds. Raises TrainerError (ModelUnusable) where weights are
    missing, cut off, quantised or another model's."""
    _check_unquantized(_config(folder))
    found: Heads = {}
    for path in _weight_files(folder):
        found |= _head(path)
    _check_floats(found)
    if wrapped := saved_wrapped(found):
        raise unsupported("ModelUnusable", f"{wrapped}: {REMEDY}", "model.uri")
    return found


def main_type(folder: Path) -> str:
    """The type that most of the weights have, in safetensors' words: BF16, F16, F32."""
    sizes: dict[str, int] = {}
    for path in _weight_files(folder):
        for tensor in _head(path).values():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + math.prod(tensor.shape)
    return max(sizes, key=sizes.__getitem__, default="F32")


def stored_bytes(folder: Path) -> int:
    """What the weights take as they are stored."""
    return sum(path.stat().st_size for path in _weight_files(folder))


def largest_layer(folder: Path) -> int:
    """How many numbers the largest layer has, or weight beside the layers."""
    sizes: dict[str, int] = {}
    for path in _weight_files(folder):
        for name, tensor in _head(path).items():
            found = _IN_LAYER.search(name)
            layer = name[: found.end()] if found else name
            sizes[layer] = sizes.get(layer, 0) + math.prod(tensor.shape)
    return max(sizes.values(), default=0)


def has_experts(folder: Path) -> bool:
    """Whether it is a mixture of experts."""
    return any(".experts." in name for path in _weight_files(folder) for name in _head(path))


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError):
        return {}  # told by architecture.describe
    # They would be loaded in place of the files looked at here.
    if config.get("transformers_weights") is not None:
        raise _unusable("config.json names a file of its own for them (transformers_weights)")
    return config


def _check_unquantized(config: dict[str, Any]) -> None:
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        for key in ("quantization_config", "compression_config", "quantization"):
            settings = part.get(key)
            if isinstance(settings, dict) and settings:
                raise _quantized(f"config.json says so: {_kind(settings)}")


def _kind(settings: dict[str, Any]) -> str:
    for key in ("quant_method", "quant_type", "format", "bits"):
        if isinstance(settings.get(key), str | int):
            return f"{key} {settings[key]}"[:_SHOWN]
    return ", ".join(sorted(settings)[:3])[:_SHOWN]


def _check_floats(found: Heads) -> None:
    """Also of those that say nothing in config.json."""
    for name, tensor in found.items():
        kind = tensor.dtype
        if name.endswith(_PACKED):
            raise _quantized(f"its weights are packed: {name[:_SHOWN]}")
        if len(tensor.shape) > 1 and kind not in (*_FLOATS, "BOOL", "I64", "I32"):
            raise _quantized(f"{name[:_SHOWN]} is of the type {kind[:_SHOWN]}")


def _quantized(how: str) -> TrainerError:
    return unsupported(
        "ModelUnusable",
        f"the model is quantised ({how}), and such weights can't be trained, merged or packed: "
        "take the unquantised model that it was made of (method qlora, and the precisions of "
        "packages, quantise it themselves)",
        "model.uri",
    )


def _weight_files(folder: Path) -> list[Path]:
    """Those that transformers loads. Raises TrainerError where one is missing."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    index = folder / _INDEX
    if not index.is_file():
        return _without_index(folder)
    names = _indexed(index)
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise _unusable(
            f"{_INDEX} names {len(names)} files, and {len(missing)} aren't there: "
            f"{', '.join(missing[:3])}"
        )
    return [folder / name for name in sorted(names)]


def _indexed(index: Path) -> set[str]:
    """The files that an index names. Raises TrainerError unless each could lie beside it: libraries
    load whatever it leads to, and unpickle what isn't named as safetensors."""
    try:
        places = read_json(index, _MOST_INDEX_BYTES)["weight_map"]
        names = {str(name) for name in places.values()}
    except (ValueError, KeyError, AttributeError) as error:
        raise _unusable(f"{_INDEX} can't be read ({type(error).__name__})") from error
    for name in names:
        if "/" in name or keys.problem(name) or not name.endswith(".safetensors"):
            raise _unusable(f"{_INDEX} names {name[:_SHOWN]!r}, which is no file beside it")
    return names


def _without_index(folder: Path) -> list[Path]:
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if "adapter_model.safetensors" in names:
        raise unsupported(
            "ModelUnusable",
            "the folder holds an adapter (adapter_model.safetensors) and no model: name the base "
            "that the adapter was made for",
            "model.uri",
        )
    shards = [name for name in names if _SHARD.fullmatch(name)]
    if shards:
        raise _unusable(f"{_INDEX} isn't there, which says what is in {shards[0]} and the others")
    raise _unusable(f"neither {_WEIGHTS} nor {_INDEX} is there, only {', '.join(names[:3])}")


def _head(path: Path) -> Heads:
    """Names, types and shapes of a file's weights. Raises TrainerError where it isn't whole."""
    try:
        return read_header(path)
    except BrokenFileError as error:
        raise _unusable(str(error)) from error


def _unusable(problem: str) -> TrainerError:
    return unsupported(
        "ModelUnusable",
        f"the weights can't be loaded: {problem}; upload the model's folder again, whole",
        "model.uri",
    )


def _check_targets(found: Heads, method: Method) -> None:
    """By the last part of names alone: transformers may put others before it. What it renames
    (experts) and what has no name here (patterns, new heads) is told once the model is made."""
    wish = method.lora.target_modules
    if method.type not in ("lora", "qlora") or wish in _ALL or any(".experts." in n for n in found):
        return
    matrices = [
        name.removesuffix(".weight")
        for name, tensor in found.items()
        if name.endswith(".weight") and len(tensor.shape) == 2
    ]
    linear = set(map(_leaf, matrices))
    in_layers = {_leaf(name) for name in matrices if _IN_LAYER.search(name)}
    for name in wish:
        if _leaf(name) not in linear:
            raise unsupported(
                "UnknownModule",
                f"the model has no linear layer {name!r}; it has: {_listed(in_layers)}",
                "method.lora.targetModules",
            )


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name[:_SHOWN] for name in sorted(names)[:40])
