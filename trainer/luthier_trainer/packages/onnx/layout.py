"""luthier.json: what the graphs of a package take and give."""

from collections.abc import Mapping, Sequence
from typing import Any

from luthier_trainer.objectives.reading import Reading

LAYOUT = "luthier.json"


def layout(
    graphs: Mapping[str, Any],
    auto_class: str,
    labels: Sequence[str],
    precision: str,
    pooling: str | None,
    tokens: Mapping[str, Any],
    reading: Reading | None = None,
) -> dict[str, Any]:
    """As JSON. `graphs`: name → onnx_ir.Model. `pooling`: where texts become vectors, how.
    `tokens`: what texts are padded with, begin with, end with and are started with. `reading`: how
    a head's logits are read."""
    return {
        "format": "onnx",
        "autoClass": auto_class,
        "precision": precision,
        "labels": list(labels),
        **({"pooling": pooling} if pooling else {}),
        **({"reading": reading.to_json()} if reading else {}),
        "tokens": dict(tokens),
        "graphs": {
            name: {
                "file": f"{name}.onnx",
                "inputs": [_tensor(each) for each in graph.graph.inputs],
                "outputs": [_tensor(each) for each in graph.graph.outputs],
            }
            for name, graph in graphs.items()
        },
    }


def _tensor(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in value.shape]
    return {"name": value.name, "type": str(value.dtype.numpy()), "shape": shape}
