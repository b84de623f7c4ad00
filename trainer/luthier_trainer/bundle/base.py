"""The bundle's base, told from its files before any weight is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier_trainer.bundle.modules import is_switchable
from luthier_trainer.bundle.weights import BrokenFileError, read_header
from luthier_trainer.errors import unsupported

# Models whose layers the builder names as modules.py does. It knows more of them, in which
# projections are fused or named otherwise.
ARCHITECTURES = (
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)

Shape = tuple[int, int]


@dataclass(frozen=True)
class Base:
    """What adapters are checked against.

    `digest` as in a FineTuneJob's manifest. `linear`: every linear layer of the model's blocks →
    (inputs, outputs); `modules`: those of them where adapters can be switched.
    """

    uri: str
    digest: str
    architecture: str
    linear: dict[str, Shape]

    @property
    def modules(self) -> dict[str, Shape]:
        return {name: shape for name, shape in self.linear.items() if is_switchable(name)}


def read_base(folder: Path, uri: str, digest: str) -> Base:
    """Raises TrainerError (ArchitectureNotSupported, BaseQuantized, ModelUnusable)."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise unsupported(
            "ModelUnusable", f"{uri}: config.json can't be read: {error}", "base.uri"
        ) from error
    architecture = str((config.get("architectures") or ["none"])[0])
    if architecture not in ARCHITECTURES:
        raise unsupported(
            "ArchitectureNotSupported",
            f"{uri}: adapters of a {architecture} can't be switched by onnxruntime-genai; choose a "
            f"base of these: {', '.join(ARCHITECTURES)}, or optimise each adapter merged into its "
            "base (OptimizeJob)",
            "base.uri",
        )
    if config.get("quantization_config"):
        raise unsupported(
            "BaseQuantized",
            f"{uri}: its weights are quantised already; name the model that it was made from, and "
            "set precision",
            "base.uri",
        )
    linear: dict[str, Shape] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            header = read_header(path)
        except BrokenFileError as error:
            raise unsupported(
                "ModelUnusable", f"{uri}: {error}; upload the file again", "base.uri"
            ) from error
        for name, tensor in header.items():
            module = name.removesuffix(".weight")
            if ".layers." in name and name != module and len(tensor.shape) == 2:
                outputs, inputs = tensor.shape
                linear[module] = (inputs, outputs)
    found = Base(uri, digest, architecture, dict(sorted(linear.items())))
    if not found.modules:
        raise unsupported(
            "ModelUnusable",
            f"{uri}: no weights of layers as a {architecture} has them (model.layers.N.…); save "
            "the model again with save_pretrained()",
            "base.uri",
        )
    return found
