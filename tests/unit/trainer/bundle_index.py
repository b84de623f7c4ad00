"""An index.json with one adapter, for tests of what is made of it."""

from typing import Any

from luthier_trainer.bundle.index import Index

PART: dict[str, Any] = {
    "name": "a",
    "file": "adapters/a.onnx_adapter",
    "sha256": "",
    "bytes": 1,
    "key": "",
    "source": {"uri": "s3://b/a"},
    "base_verified": True,
    "ranks": [1],
    "alpha": 1.0,
    "rank_stabilized": False,
    "target_modules": ["q_proj"],
    "layers": 1,
    "proof": {"logits_difference": 0.0, "base_difference": 0.0, "effect": 1.0},
}
_BASE: dict[str, Any] = {
    "key": "",
    "uri": "s3://b/m",
    "digest": "",
    "architecture": "LlamaForCausalLM",
    "precision": "int8",
    "device": "cpu",
    "target_modules": [],
    "files": {},
}


def index(part: dict[str, Any], uri: str = "s3://b/m", **fields: Any) -> Index:
    """`uri`: the base's."""
    return Index.model_validate({"base": {**_BASE, "uri": uri}, "adapters": [part], **fields})
