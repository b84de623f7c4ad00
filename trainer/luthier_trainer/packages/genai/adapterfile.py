"""An adapter as peft saved it → the file that onnxruntime-genai loads, checked against the graph.

onnxruntime-genai checks names, shapes and types only when a request runs: so it is done here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from luthier_trainer.packages.genai.graph import Input
from luthier_trainer.packages.genai.modules import parameter, parse_peft_key
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.published.adapterconfig import first_match, rank_of

Array = npt.NDArray[Any]


def scaling(config: Mapping[str, Any], module: str) -> float:
    """What peft multiplies B·A with at a module: alpha/r, or alpha/√r (rank-stabilised)."""
    rank = rank_of(config, module)
    alpha = float(first_match(config.get("alpha_pattern"), module, config["lora_alpha"]))
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)


def parameters(
    weights: Mapping[str, Array], config: Mapping[str, Any], graph: Mapping[str, Input]
) -> dict[str, Array]:
    """The graph's inputs for an adapter: A and B transposed, B scaled, in the graph's type.

    `weights`: those of adapter_model.safetensors, fp32. Raises UnfitError (InputMismatch).
    """
    found = {}
    for key, weight in weights.items():
        named = parse_peft_key(key)
        assert named, key  # compat.py has let it pass
        module, side = named
        value = weight.T
        if side == "B":
            value = value * np.float32(scaling(config, module))
        name = parameter(module, side)
        if name in graph:
            value = value.astype(graph[name].dtype)
        found[name] = np.ascontiguousarray(value)
    check(found, graph)
    return found


def check(parameters: Mapping[str, Array], graph: Mapping[str, Input]) -> None:
    """Whether the graph takes these inputs. Raises UnfitError (InputMismatch)."""
    for name, value in parameters.items():
        wanted = graph.get(name)
        if wanted is None:
            raise _mismatch(f"the graph has no input {name}")
        if str(value.dtype) != wanted.dtype:
            raise _mismatch(f"{name} is {value.dtype}, the graph takes {wanted.dtype}")
        fixed = (wanted.inputs, wanted.outputs)
        sides = zip(value.shape, fixed, strict=False)
        if value.ndim != 2 or any(size not in (here, None) for here, size in sides):
            raise _mismatch(f"{name} has the shape {list(value.shape)}, the graph takes {fixed}")
        if not np.isfinite(value).all():
            raise UnfitError("NotFinite", f"{name} has values that aren't finite", _TRAIN_AGAIN)
    for name, value in parameters.items():
        if ".lora_A." in name:
            other = parameters.get(name.replace(".lora_A.", ".lora_B."))
            if other is None or other.shape[0] != value.shape[1]:
                raise _mismatch(f"{name} and its B are not of one rank")


_TRAIN_AGAIN = "train the adapter again, or take another revision of it"


def _mismatch(what: str) -> UnfitError:
    return UnfitError("InputMismatch", what, "train the adapter on this bundle's base")


def load_weights(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file as fp32."""
    from safetensors.torch import load_file

    return {name: value.float().numpy() for name, value in load_file(path).items()}


def read(path: Path) -> dict[str, Array]:
    """What a file for onnxruntime-genai holds."""
    from onnxruntime import AdapterFormat

    found: dict[str, Array] = {
        name: value.numpy().copy()
        for name, value in AdapterFormat.read_adapter(str(path)).get_parameters().items()
    }
    return found


def write(parameters: Mapping[str, Array], path: Path) -> None:
    """The file for onnxruntime-genai's Adapters.load."""
    from onnxruntime import AdapterFormat, OrtValue

    path.parent.mkdir(parents=True, exist_ok=True)
    file = AdapterFormat()
    file.set_adapter_version(1)
    file.set_model_version(1)
    # By name, so that the same weights make the same file.
    file.set_parameters(
        {name: OrtValue.ortvalue_from_numpy(parameters[name]) for name in sorted(parameters)}
    )
    file.export_adapter(str(path))
