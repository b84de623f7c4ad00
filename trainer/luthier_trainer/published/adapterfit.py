"""Whether an adapter given by URI is one of a model given by URI, told from the headers of their
files."""

import json
from pathlib import Path
from typing import Any

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.models.header import BrokenFileError, Tensor, read_header
from luthier_trainer.models.wrapped import REMEDY, saved_wrapped
from luthier_trainer.published.adapterconfig import (
    AdapterConfig,
    ConfigError,
    rank_of,
    read_config,
    resolved,
)

_METHODS = {"LORA": "lora", "IA3": "ia3", "PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prompt"}
_PARAM = "source.adapterUri"
_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
# Ends of the keys of matrices that are multiplied with the inputs and outputs of a layer.
_MARKS = (".lora_", ".ia3_")
_INPUT, _OUTPUT = ".lora_A.weight", ".lora_B.weight"


def method_of(folder: Path, uri: str) -> str:
    """The method of adapter_config.json. Raises TrainerError (AdapterNotSupported)."""
    config = _config(folder, uri)
    if config.adapter_type:
        return "adapter"
    kind = str(config.peft_type)
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
    """Whether it fits; afterwards its adapter_config.json has names in place of patterns.

    Raises TrainerError (AdapterOfAnotherBase, AdapterUnusable, BrokenSafetensors).
    """
    weights = check_files(adapter, uri, _PARAM)
    base = check_files(model, str(model), "source.modelUri")
    if wrapped := saved_wrapped(weights):
        raise unsupported("AdapterUnusable", f"{uri}: {wrapped}: {REMEDY}", _PARAM)
    found = _config(adapter, uri)
    config = _resolved(found, weights, uri)
    saved = tuple(found.modules_to_save or ())
    for key, tensor in weights.items():
        end = next((end for end in (_INPUT, _OUTPUT) if key.endswith(end)), None)
        if end is None or not key.startswith(_PREFIX):
            continue
        layer = key.removeprefix(_PREFIX).removesuffix(end)
        if layer.endswith(saved):
            continue
        weight = _weight(layer, base)
        if weight is None and config.get("target_parameters"):
            continue  # of experts, whose weights transformers joins and names anew
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
    if not found.adapter_type:
        (adapter / _CONFIG).write_text(json.dumps(config))  # which peft reads


def _resolved(config: AdapterConfig, weights: dict[str, Tensor], uri: str) -> dict[str, Any]:
    """As JSON, without patterns. Modules are those that have weights of the adapter's."""
    named = (key.removeprefix(_PREFIX) for key in weights if key.startswith(_PREFIX))
    modules = [key.partition(mark)[0] for key in named for mark in _MARKS if mark in key]
    try:
        return resolved(config, modules)
    except ConfigError as error:
        raise _unusable(uri, str(error)) from error


def _rank(config: dict[str, Any], layer: str, uri: str) -> int:
    try:
        return rank_of(config, layer)
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(uri, f"no usable rank for {layer} ({error!r})") from error


def _weight(layer: str, base: dict[str, Tensor]) -> Tensor | None:
    """A layer's weight; checkpoints leave out what a head puts before the body's names."""
    parts = layer.split(".")
    for start in range(len(parts)):
        name = ".".join(parts[start:]) + ".weight"
        if name in base:
            return base[name]
    return None


def _config(folder: Path, uri: str) -> AdapterConfig:
    try:
        return read_config(folder / _CONFIG)
    except ConfigError as error:
        raise _unusable(uri, str(error)) from error


def _unusable(uri: str, problem: str) -> TrainerError:
    return unsupported(
        "AdapterUnusable", f"{uri}: {_CONFIG}: {problem}: save the adapter again with peft", _PARAM
    )


def _other_base(uri: str, problem: str) -> TrainerError:
    return TrainerError(
        ExitCode.DATA,
        "AdapterOfAnotherBase",
        f"{uri}: the adapter isn't one of this model: {problem}; name the base that it was trained "
        "on in modelUri",
        _PARAM,
    )
