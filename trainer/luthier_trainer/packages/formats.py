"""Which format a model is packed in, and packages opened by their format's name."""

import json
from pathlib import Path

from luthier_api.optimizejob import Optimizing
from luthier_trainer.errors import unsupported
from luthier_trainer.packages.contract import Builder, FormatName, Runner, Source
from luthier_trainer.packages.genai.build import GenaiBuilder
from luthier_trainer.packages.onnx.build import OnnxBuilder
from luthier_trainer.packages.onnx.route import route
from luthier_trainer.pod.interrupt import Interrupt


def choose(optimizing: Optimizing, source: Source, interrupt: Interrupt) -> Builder:
    """The builder for a model. Raises TrainerError (ArchitectureNotSupported)."""
    config = json.loads((source.folder / "config.json").read_bytes())
    name = route(config, source.head.auto_class, bottleneck=source.bottleneck is not None)
    found = _builder(name, optimizing, interrupt)
    if refusal := found.refuses(source):
        raise unsupported("ArchitectureNotSupported", refusal, "source")
    return found


def open_package(name: FormatName, folder: Path, threads: int) -> Runner:
    """Load a package on the CPU."""
    return _builder(name, Optimizing(), Interrupt(grace_seconds=1)).open(folder, threads)


def _builder(name: FormatName, optimizing: Optimizing, interrupt: Interrupt) -> Builder:
    if name == "genai":
        return GenaiBuilder(optimizing)  # its work is done in processes that an interrupt ends
    return OnnxBuilder(optimizing, interrupt)
