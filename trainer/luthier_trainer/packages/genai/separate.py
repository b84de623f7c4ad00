"""A package whose adapter stays a file of its own, beside the base: loaded at run time, and
switched off to have the base again."""

from pathlib import Path

from luthier_api.adapterbundle import BundleBase, Bundling
from luthier_api.optimizejob import Int4, Target
from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.models.header import BrokenFileError, read_header
from luthier_trainer.packages.genai import adapterfile, compat, graph
from luthier_trainer.packages.genai.base import Base, read_base
from luthier_trainer.packages.genai.modules import parse_peft_key
from luthier_trainer.packages.genai.runner import ADAPTER
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.published.adapterconfig import ConfigError, read_config, resolved

_WEIGHTS = "adapter_model.safetensors"
_PARAM = "adapter"


def build(
    base: Path, adapter: Path, precision: str, target: Target, int4: Int4, folder: Path
) -> None:
    """Fill `folder` with the base's package and the adapter's file.

    Raises TrainerError: AdapterNotSwitchable, ArchitectureNotSupported, BuildFailed.
    """
    there = _read(base)
    try:
        tensors = read_header(adapter / _WEIGHTS)
        named = [named[0] for key in tensors if (named := parse_peft_key(key))]
        config = resolved(read_config(adapter / "adapter_config.json"), named)
        found = compat.Adapter("adapter", config, tensors)
        compat.check(found, there)
    except (UnfitError, ConfigError, BrokenFileError) as error:
        raise _refused(error) from error
    modules = {module: there.modules[module] for module in found.modules}
    bundling = Bundling.model_validate(
        {
            "base": BundleBase.model_construct(uri=there.uri),
            "target": target,
            "precision": precision,
            "int4": int4,
        }
    )
    scratch = folder.parent / f"{folder.name}-scratch"
    graph.build(base, modules, bundling, folder, scratch)
    weights = adapterfile.load_weights(adapter / _WEIGHTS)
    try:
        inputs = adapterfile.parameters(weights, config, graph.inputs(folder / graph.GRAPH))
    except UnfitError as error:
        raise _refused(error) from error
    adapterfile.write(inputs, folder / ADAPTER)


def _read(base: Path) -> Base:
    try:
        return read_base(base, base.as_uri(), "")
    except TrainerError as error:
        if error.error.code != "ArchitectureNotSupported":
            raise
        raise unsupported(
            "ArchitectureNotSupported",
            "adapters of this model can't be switched by onnxruntime-genai: set adapter to Merge",
            _PARAM,
        ) from error


def _refused(error: Exception) -> TrainerError:
    return TrainerError(
        ExitCode.UNSUPPORTED,
        "AdapterNotSwitchable",
        f"the adapter can't be kept apart from its base: {error}; or set adapter to Merge",
        _PARAM,
    )
