"""The base as an ONNX graph whose LoRA weights are inputs, built by onnxruntime-genai's builder.

The builder only bakes an adapter in. So it gets a template, an adapter of rank 1 at every module
that can be switched; then the template's weights become inputs of the graph, with weights of
rank 0 as defaults: without an adapter, or at a module that an adapter leaves alone, the base
answers as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from luthier_api.adapterbundle import Bundling
from luthier_trainer.errors import unsupported
from luthier_trainer.packages.genai import builder
from luthier_trainer.packages.genai.modules import node, parameter, peft_key, rank_symbol

GRAPH = "model.onnx"

Shape = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """A LoRA weight as the graph takes it: float type, and the side that isn't the rank."""

    dtype: str
    inputs: int | None = None  # of A: [inputs, rank]
    outputs: int | None = None  # of B: [rank, outputs]


def build(
    base: Path, modules: Mapping[str, Shape], bundling: Bundling, folder: Path, scratch: Path
) -> None:
    """Write the model's folder for onnxruntime-genai to `folder`.

    `modules`: module → (inputs, outputs) of its linear layer: where adapters may sit.
    Raises TrainerError (BuildFailed, OutOfMemory).
    """
    template = scratch / "template"
    write_template(template, modules)
    options = {"adapter_path": str(template)}
    if bundling.precision == "int4":
        options |= builder.int4_options(bundling.int4)
    if bundling.precision in ("int4", "int8"):
        # Quantised, LoRA's weights would be constants of a fixed rank.
        excluded = [node(module, side) for module in modules for side in "AB"]
        options["nodes_to_exclude"] = ",".join(excluded)
    precision, device = bundling.precision, bundling.target.device
    builder.run(
        base,
        folder,
        precision,
        device,
        options,
        scratch,
        what=f"{precision} of the base",
        param="precision",
    )
    lora_to_inputs(folder / GRAPH, modules)
    builder.finish(base, folder, precision, device)


def write_template(folder: Path, modules: Mapping[str, Shape]) -> None:
    """An adapter of rank 1 at all `modules`, in peft's form."""
    folder.mkdir(parents=True)
    tensors = {}
    for module, (inputs, outputs) in modules.items():
        tensors[peft_key(module, "A")] = np.zeros((1, inputs), np.float32)
        tensors[peft_key(module, "B")] = np.zeros((outputs, 1), np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 1,
        "lora_alpha": 1,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(modules),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def lora_to_inputs(path: Path, modules: Mapping[str, Shape]) -> None:
    """Turn the template's weights into inputs with defaults of rank 0.

    The file of the other weights stays as it is; the template's few bytes in it are dead.
    """
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    weights = {it.name: it for it in graph.initializer}
    for module, (inputs, outputs) in modules.items():
        rank = rank_symbol(module)
        shapes: tuple[tuple[str, list[int | str | None], list[int]], ...] = (
            ("A", [inputs, rank], [inputs, 0]),
            ("B", [rank, outputs], [0, outputs]),
        )
        for side, shape, empty in shapes:
            name = parameter(module, side)
            weight = weights.get(name)
            if weight is None:
                raise unsupported(
                    "BuildFailed",
                    f"the graph that onnxruntime-genai's builder made has no weight {name}: its "
                    "models of this type can't switch adapters; choose another base",
                    "base.uri",
                )
            graph.initializer.remove(weight)
            graph.input.append(helper.make_tensor_value_info(name, weight.data_type, shape))
            graph.initializer.append(
                TensorProto(name=name, data_type=weight.data_type, dims=empty, raw_data=b"")
            )
    del graph.value_info[:]  # shapes with the template's rank
    onnx.save_model(model, path)


def inputs(path: Path) -> dict[str, Input]:
    """The LoRA weights that a graph takes, by name."""
    graph = onnx.load(path, load_external_data=False).graph
    found = {}
    for value in graph.input:
        if not value.name.endswith(".MatMul.weight"):
            continue
        kind = value.type.tensor_type
        first, second = (dim.dim_value or None for dim in kind.shape.dim)
        dtype = str(np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)))
        found[value.name] = Input(dtype, inputs=first, outputs=second)
    return found
