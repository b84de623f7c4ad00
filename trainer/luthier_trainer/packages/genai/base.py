"""The bundle's base, told from its files before any weight is loaded."""

from dataclasses import dataclass
from pathlib import Path

from luthier_api.optimizejob import Int4
from luthier_trainer.errors import TrainerError, blaming, unsupported
from luthier_trainer.models.configfile import read_json
from luthier_trainer.models.files import check_weights
from luthier_trainer.models.header import BrokenFileError, read_header
from luthier_trainer.packages.genai.int4blocks import int4_refusal
from luthier_trainer.packages.genai.modules import is_switchable

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


def read_base(folder: Path, uri: str, digest: str, int4: Int4 | None = None) -> Base:
    """`int4`: where it is to be built so. Raises TrainerError (ArchitectureNotSupported,
    ModelUnusable, PrecisionNotSupported)."""
    try:
        config = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise unsupported(
            "ModelUnusable", f"{uri}: config.json can't be read: {error}", "base.uri"
        ) from error
    named = config.get("architectures")
    architecture = str(named[0])[:100] if isinstance(named, list) and named else "none"
    if architecture not in ARCHITECTURES:
        raise unsupported(
            "ArchitectureNotSupported",
            f"{uri}: adapters of a {architecture} can't be switched by onnxruntime-genai; choose a "
            f"base of these: {', '.join(ARCHITECTURES)}, or optimise each adapter merged into its "
            "base (OptimizeJob)",
            "base.uri",
        )
    if int4 and (refusal := int4_refusal(config, int4)):
        raise unsupported("PrecisionNotSupported", f"{uri}: {refusal}", "int4")
    try:
        check_weights(folder)
    except TrainerError as error:
        raise blaming(error, "base.uri") from error
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
