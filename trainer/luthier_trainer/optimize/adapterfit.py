"""Whether an adapter given by URI is one of a model given by URI, told from the headers of their
files."""

import json
import re
from pathlib import Path
from typing import Any

from luthier_api.result import ExitCode
from luthier_trainer.bundle.weights import BrokenFileError, Tensor, read_header
from luthier_trainer.errors import TrainerError, unsupported

_METHODS = {"LORA": "lora", "IA3": "ia3", "PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prompt"}
_PARAM = "source.adapterUri"
_PREFIX = "base_model.model."
# Ends of the keys of matrices that are multiplied with the inputs and outputs of a layer.
_INPUT, _OUTPUT = ".lora_A.weight", ".lora_B.weight"


def method_of(folder: Path, uri: str) -> str:
    """The method of adapter_config.json. Raises TrainerError (AdapterNotSupported)."""
    config = _config(folder, uri)
    if config.get("adapter_type"):
        return "adapter"
    kind = str(config.get("peft_type"))
    if kind not in _METHODS:
        raise unsupported(
            "AdapterNotSupported",
            f"{uri}: an adapter of the type {kind}; these can be merged: LORA and IA3 of peft, and "
            "Luthier's bottleneck adapters",
            _PARAM,
        )
    return _METHODS[kind]


def check_files(folder: Path, uri: str, param: str) -> dict[str, Tensor]:
    """The tensors of all safetensors in a folder. Raises TrainerError (BrokenSafetensors)."""
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            found.update(read_header(path))
        except BrokenFileError as error:
            raise TrainerError(
                ExitCode.DATA,
                "BrokenSafetensors",
                f"{uri}: {error}: half of an upload, or no such file; upload it again",
                param,
            ) from error
    return found


def check(adapter: Path, model: Path, uri: str) -> None:
    """Raises TrainerError (AdapterOfAnotherBase, AdapterUnusable, BrokenSafetensors)."""
    weights = check_files(adapter, uri, _PARAM)
    base = check_files(model, str(model), "source.modelUri")
    config = _config(adapter, uri)
    saved = config.get("modules_to_save") or []
    for key, tensor in weights.items():
        end = next((end for end in (_INPUT, _OUTPUT) if key.endswith(end)), None)
        if end is None or not key.startswith(_PREFIX):
            continue
        layer = key.removeprefix(_PREFIX).removesuffix(end)
        if any(layer.endswith(name) for name in saved):
            continue
        weight = _weight(layer, base)
        if weight is None:
            raise _other_base(uri, f"the model has no layer {layer}")
        size = tensor.shape[1] if end == _INPUT else tensor.shape[0]
        if size not in weight.shape:
            sizes = "×".join(map(str, weight.shape))
            raise _other_base(uri, f"{layer} is {sizes} in the model, and the adapter's is {size}")
        rank = tensor.shape[0] if end == _INPUT else tensor.shape[1]
        if rank != (named := _rank(config, layer, uri)):
            raise unsupported(
                "AdapterUnusable",
                f"{uri}: {layer} has rank {rank}, and adapter_config.json says rank {named}: put "
                "the configuration that it was saved with beside it",
                _PARAM,
            )


def _rank(config: dict[str, Any], layer: str, uri: str) -> int:
    """The rank that the configuration gives a layer: of the first pattern that matches, as in
    peft."""
    try:
        for pattern, rank in (config.get("rank_pattern") or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", layer):
                return int(rank)
        return int(config["r"])
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise unsupported(
            "AdapterUnusable",
            f"{uri}: adapter_config.json has no usable rank for {layer} ({error!r}): save the "
            "adapter again with peft",
            _PARAM,
        ) from error


def _weight(layer: str, base: dict[str, Tensor]) -> Tensor | None:
    """A layer's weight; checkpoints leave out what a head puts before the body's names."""
    parts = layer.split(".")
    for start in range(len(parts)):
        name = ".".join(parts[start:]) + ".weight"
        if name in base:
            return base[name]
    return None


def _config(folder: Path, uri: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / "adapter_config.json").read_bytes())
        if isinstance(found, dict):
            return found
    except ValueError:
        pass
    raise unsupported("AdapterUnusable", f"{uri}: adapter_config.json is no JSON object", _PARAM)


def _other_base(uri: str, problem: str) -> TrainerError:
    return TrainerError(
        ExitCode.DATA,
        "AdapterOfAnotherBase",
        f"{uri}: the adapter isn't one of this model: {problem}; name the base that it was trained "
        "on in modelUri",
        _PARAM,
    )
