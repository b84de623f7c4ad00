"""A package whose adapter stays a file of its own, beside the base: loaded at run time, and
switched off to have the base again."""

import json
from pathlib import Path

from luthier_api.adapterbundle import BundleBase, Bundling
from luthier_api.optimizejob import Int4, Target
from luthier_api.result import ExitCode
from luthier_trainer.bundle import adapterfile, compat, graph
from luthier_trainer.bundle.base import Base, read_base
from luthier_trainer.bundle.refusal import UnfitError
from luthier_trainer.bundle.weights import read_header
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.optimize.genai.runner import ADAPTER

_WEIGHTS = "adapter_model.safetensors"
_PARAM = "adapter"


def build(
    base: Path, adapter: Path, precision: str, target: Target, int4: Int4, folder: Path
) -> None:
    """Fill `folder` with the base's package and the adapter's file.

    Raises TrainerError: AdapterNotSwitchable, ArchitectureNotSupported, BuildFailed.
    """
    there = _read(base)
    config = json.loads((adapter / "adapter_config.json").read_bytes())
    found = compat.Adapter("adapter", config, read_header(adapter / _WEIGHTS))
    try:
        compat.check(found, there)
    except UnfitError as error:
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


def _refused(error: UnfitError) -> TrainerError:
    return TrainerError(
        ExitCode.UNSUPPORTED,
        "AdapterNotSwitchable",
        f"the adapter can't be kept apart from its base: {error}; or set adapter to Merge",
        _PARAM,
    )
