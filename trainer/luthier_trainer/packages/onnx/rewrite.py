"""Graphs brought to the forms that quantisers know, and embeddings in 8 bits.

In onnx_ir: every function changes the model it is given.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Weights of an embedding below which 8 bits save next to nothing: kinds of segments, distances.
_FEW_WEIGHTS = 4096


def weights_first(model: Any) -> None:
    """Linear layers as MatMul (and Add) with a stored weight [in, out].

    Of Gemm, and of weights that are transposed when the graph runs: an output layer tied to
    the embeddings is stored once for each then, in the form that each needs.
    """
    for node in list(model.graph):
        weight = _stored(node.inputs[0]) if node.op_type == "Transpose" else None
        if weight is not None:
            turned = weight.transpose(node.attributes.get_ints("perm"))
            _replace(node, _store(model, f"{node.inputs[0].name}.transposed", turned))
    for node in list(model.graph):
        if node.op_type == "Gemm" and _plain(node):
            _split(model, node)
    _drop_unused(model)


def embeddings_in_int8(model: Any) -> None:
    """Embeddings of tokens and positions: int8, a scale for each of their rows."""
    import onnx_ir as ir

    for node in list(model.graph):
        if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
            continue
        table = _stored(node.inputs[0])
        if table is None or table.ndim != 2 or table.size < _FEW_WEIGHTS:
            continue
        name, ids = node.inputs[0].name, node.inputs[1]
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, 1e-12)
        steps = _store(model, f"{name}.int8", np.round(table / scale).astype(np.int8))
        scales = _store(model, f"{name}.scale", scale.astype(np.float32))
        read = _node("Gather", [steps, ids], f"{node.name}_int8", axis=0)
        cast = _node("Cast", [read.outputs[0]], f"{node.name}_cast", to=int(ir.DataType.FLOAT))
        factor = _node("Gather", [scales, ids], f"{node.name}_scale", axis=0)
        product = _node("Mul", [cast.outputs[0], factor.outputs[0]], f"{node.name}_scaled")
        model.graph.insert_before(node, (read, cast, factor, product))
        _replace(node, product.outputs[0])
    _drop_unused(model)


def linear_nodes(model: Any, chosen: Callable[[str], bool]) -> list[str]:
    """Names of the MatMul nodes with a stored weight whose name is `chosen`."""
    return [
        node.name
        for node in model.graph
        if node.op_type == "MatMul" and _stored(node.inputs[1]) is not None and chosen(node.name)
    ]


def odd_blocks(model: Any, block_size: int) -> list[str]:
    """Names of the MatMul nodes whose stored weight has an odd number of blocks of inputs."""
    found = []
    for node in model.graph:
        weight = _stored(node.inputs[1]) if node.op_type == "MatMul" else None
        if weight is not None and -(-weight.shape[0] // block_size) % 2:
            found.append(node.name)
    return found


def _plain(node: Any) -> bool:
    attributes = node.attributes
    return (
        _stored(node.inputs[1]) is not None
        and attributes.get_int("transA", 0) == 0
        and attributes.get_float("alpha", 1.0) == 1.0
        and attributes.get_float("beta", 1.0) == 1.0
    )


def _split(model: Any, gemm: Any) -> None:
    weight = gemm.inputs[1]
    if gemm.attributes.get_int("transB", 0):
        array = _stored(weight)
        assert array is not None
        weight = _store(model, f"{weight.name}.transposed", array.T)
    name = gemm.name.replace("/Gemm", "/MatMul")
    nodes = [_node("MatMul", [gemm.inputs[0], weight], name)]
    if len(gemm.inputs) > 2 and gemm.inputs[2] is not None:
        nodes.append(_node("Add", [nodes[0].outputs[0], gemm.inputs[2]], f"{name}_bias"))
    model.graph.insert_before(gemm, nodes)
    _replace(gemm, nodes[-1].outputs[0])


def _node(op_type: str, inputs: list[Any], name: str, **attributes: Any) -> Any:
    import onnx_ir as ir

    node = ir.node(op_type, inputs, attributes=attributes, name=name)
    node.outputs[0].name = name
    return node


def _stored(value: Any) -> Array | None:
    """The array of an initializer; None of what is computed."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return None
    array: Array = value.const_value.numpy()
    return array


def _store(model: Any, name: str, array: Array) -> Any:
    import onnx_ir as ir

    found = model.graph.initializers.get(name)
    if found is None:
        tensor = ir.tensor(np.ascontiguousarray(array), name=name)
        found = ir.Value(
            name=name,
            const_value=tensor,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
        )
        model.graph.register_initializer(found)
    return found


def _replace(node: Any, value: Any) -> None:
    """All that reads the node's output reads `value`, also the graph's own outputs."""
    old = node.outputs[0]
    if value.producer() is not None and value.shape is None:
        value.shape, value.type = old.shape, old.type
    name, is_output = old.name, old.is_graph_output()
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    if is_output:
        value.name = name


def _drop_unused(model: Any) -> None:
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    RemoveUnusedNodesPass()(model)
