"""Embeddings that are the output layer's weights too, stored once in a package of 8 bits.

onnxruntime-genai's builder shares them where both stay as they are, and where both become 4 bits.
Of 8 bits it makes the output layer alone, and leaves the embeddings beside it in fp32: 113 of the
271 MB of SmolLM2-135M. Here they are looked up in the output layer's 8 bits instead.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper
from onnx.external_data_helper import ExternalDataInfo

_GRAPH = "model.onnx"
_HEAD = "/lm_head/MatMul"
_BITS, _ZERO = 8, 128
_FEWEST_IN_BLOCK = 16  # of the lookup; also, powers of two alone
# What is mapped into memory begins at multiples of it: what moves in the file moves by these.
_PAGE = 65_536
_CHUNK = 64 * 1024 * 1024
_ROWS = 4_096  # compared at once


@dataclass(frozen=True)
class _Tied:
    """`embeddings`: float [tokens, width]. `weights` and `scales`: those of the output layer, as
    bytes [tokens, width] with a scale for each `block` of a row."""

    lookup: NodeProto
    embeddings: TensorProto
    weights: TensorProto
    scales: TensorProto
    block: int


def share_embeddings(folder: Path) -> bool:
    """Let a package of the builder look up its embeddings in the output layer, where they are the
    same numbers but for the rounding. False: they aren't, and nothing was changed."""
    path = folder / _GRAPH
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    found = _find(graph)
    if found is None or not _same(found, folder):
        return False
    tokens, width = found.embeddings.dims
    # Of the same bytes, under names of their own: the output layer's are let go once they are
    # arranged for its kernel, and a lookup maps the few rows that it reads.
    weights = _again(found.weights, f"{found.embeddings.name}_Q{_BITS}", [tokens, width])
    scales = _again(found.scales, f"{found.embeddings.name}_scales", [tokens, width // found.block])
    graph.initializer.extend([weights, scales])
    found.lookup.CopyFrom(
        helper.make_node(
            "GatherBlockQuantized",
            [weights.name, found.lookup.input[1], scales.name],
            list(found.lookup.output),
            name=found.lookup.name,
            domain="com.microsoft",
            bits=_BITS,
            block_size=found.block,
            gather_axis=0,
            quantize_axis=1,
        )
    )
    _cut(graph, found.embeddings, folder)
    onnx.save_model(model, path)
    return True


def _find(graph: GraphProto) -> _Tied | None:
    """What might be tied; None: not as the builder makes it, or not of 8 symmetric bits."""
    stored = {it.name: it for it in graph.initializer if it.external_data}
    heads = [it for it in graph.node if it.op_type == "MatMulNBits" and it.name.startswith(_HEAD)]
    lookups = [it for it in graph.node if it.op_type == "Gather" and it.input[1] == "input_ids"]
    if len(heads) != 1 or len(lookups) != 1:
        return None
    (head,), (lookup,) = heads, lookups
    settings = {it.name: helper.get_attribute_value(it) for it in head.attribute}
    inputs = [name for name in head.input[1:] if name]
    name = lookup.input[0]
    used = sum(name in node.input for node in graph.node)
    if settings["bits"] != _BITS or len(inputs) != 2 or used != 1:
        return None
    if not {name, *inputs} <= stored.keys():
        return None
    embeddings, weights, scales = (stored[it] for it in (name, *inputs))
    tokens, width, block = settings["N"], settings["K"], settings["block_size"]
    fits = list(embeddings.dims) == [tokens, width] and width % block == 0
    blocks = block >= _FEWEST_IN_BLOCK and block & (block - 1) == 0
    if not (fits and blocks and embeddings.data_type == scales.data_type == TensorProto.FLOAT):
        return None
    return _Tied(lookup, embeddings, weights, scales, block)


def _same(found: _Tied, folder: Path) -> bool:
    """Whether no number of the embeddings is further from the output layer's than a step."""
    tokens, width = found.embeddings.dims
    shape = (tokens, width // found.block, found.block)
    embeddings = _mapped(found.embeddings, folder, np.float32, shape)
    weights = _mapped(found.weights, folder, np.uint8, shape)
    scales = _mapped(found.scales, folder, np.float32, (*shape[:2], 1))
    for start in range(0, tokens, _ROWS):
        rows = slice(start, start + _ROWS)
        steps = np.abs(scales[rows])
        rounded = (weights[rows].astype(np.float32) - _ZERO) * scales[rows]
        # A step, not half of one: 8 bits have no 128, and what would be is 127. And fp32's own.
        if not (np.abs(embeddings[rows] - rounded) <= 1.001 * steps).all():
            return False
    return True


def _mapped(tensor: TensorProto, folder: Path, dtype: type, shape: tuple[int, ...]) -> Any:
    info = ExternalDataInfo(tensor)
    return np.memmap(
        folder / info.location, dtype=dtype, mode="r", offset=info.offset or 0, shape=shape
    )


def _again(tensor: TensorProto, name: str, dims: list[int]) -> TensorProto:
    """A weight of the same bytes."""
    found = TensorProto()
    found.CopyFrom(tensor)
    found.name = name
    del found.dims[:]
    found.dims.extend(dims)
    return found


def _cut(graph: GraphProto, tensor: TensorProto, folder: Path) -> None:
    """Take a weight out of the graph, and its whole pages out of the file."""
    info = ExternalDataInfo(tensor)
    start, length = info.offset or 0, info.length or 0
    pages = length // _PAGE * _PAGE
    graph.initializer.remove(tensor)
    path = folder / info.location
    with path.open("r+b") as file:
        place = start + pages
        while True:
            file.seek(place)
            chunk = file.read(_CHUNK)
            if not chunk:
                break
            file.seek(place - pages)
            file.write(chunk)
            place += len(chunk)
        file.truncate(place - pages)
    for other in graph.initializer:
        for entry in other.external_data:
            if entry.key == "offset" and int(entry.value) > start:
                entry.value = str(int(entry.value) - pages)
