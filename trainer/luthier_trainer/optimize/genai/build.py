"""Packages for onnxruntime-genai, made by its own builder in a process of its own."""

import json
import sys
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import Optimizing
from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.log import log
from luthier_trainer.machine import child
from luthier_trainer.models.configfile import read_json
from luthier_trainer.optimize.contract import FormatName, Runner, Source
from luthier_trainer.optimize.genai.blocks import int4_refusal
from luthier_trainer.pod.interrupt import Interrupt

# What the builder makes for a device.
PRECISIONS: dict[str, tuple[str, ...]] = {
    "cpu": ("fp32", "int8", "int4"),
    "cuda": ("fp32", "bf16", "fp16", "int8", "int4"),
    "dml": ("fp16", "int4"),
}
# `auto`: all that a device computes with. fp32 is among them on a CPU: it is exact, so that the
# gates of quality leave something where they are too strict for fewer bits.
AUTOMATIC: dict[str, tuple[str, ...]] = {
    "cpu": ("fp32", "int8", "int4"),
    "cuda": ("fp16", "int8", "int4"),
    "dml": ("fp16", "int4"),
}
_BUILD_SECONDS = 3600
_HEAD_MULTIPLE = 16


class GenaiBuilder:
    """See contract.Builder."""

    format: FormatName = "genai"

    def __init__(self, optimizing: Optimizing) -> None:
        self._target = optimizing.target
        self._device = optimizing.target.device
        self._int4 = optimizing.int4
        self._separate = optimizing.adapter == "Separate"

    def refuses(self, source: Source) -> str | None:
        """What it doesn't know goes to the other format (plain/route.py)."""
        if self._separate and not source.apart:
            return "there is no adapter of LoRA to keep apart from its base: set adapter to Merge"
        size = _head_size(source.folder)
        if size % _HEAD_MULTIPLE:
            return (
                f"the model has heads of {size} numbers, and ONNX Runtime's attention takes "
                f"multiples of {_HEAD_MULTIPLE}: take another base model"
            )
        return None

    def unbuildable(self, source: Source, precision: str) -> str | None:
        if precision != "int4":
            return None
        return int4_refusal(read_json(source.folder / "config.json"), self._int4)

    def automatic(self, source: Source) -> tuple[str, ...]:  # noqa: ARG002 - a Builder's
        return AUTOMATIC[self._device]

    def require(self, precision: str) -> None:
        can = PRECISIONS[self._device]
        if self._separate:
            can = tuple(name for name in can if name != "bf16")  # a bundle's base has no bf16
        if precision not in can:
            raise unsupported(
                "PrecisionNotSupported",
                f"{precision} can't be built for {self._device}: choose from {', '.join(can)}",
                "precisions",
            )

    def options(self, precision: str) -> dict[str, Any]:
        """Those of the builder, by its own names, as text, and what else is done."""
        found = self._extra(precision)
        if self._separate:
            found["adapter"] = "separate"
        if _shares_embeddings(precision, self._device):
            found["tied_embeddings"] = "shared"
        return found

    def _extra(self, precision: str) -> dict[str, str]:
        """The builder's."""
        if precision != "int4":
            return {}
        return {
            "algo_config": self._int4.algorithm,
            "block_size": str(self._int4.block_size),
            "is_symmetric": str(self._int4.symmetric).lower(),
        }

    def build(self, source: Source, precision: str, folder: Path) -> None:
        if source.apart:
            # Only here: it brings what bundles are made with, which is made with this.
            from luthier_trainer.optimize.genai import separate

            base, adapter = source.apart
            separate.build(base, adapter, precision, self._target, self._int4, folder)
        else:
            self._build(source.folder, precision, folder)
        log(f"built {precision}: {size_of(folder) / 1e6:.0f} MB")

    def _build(self, model: Path, precision: str, folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "onnxruntime_genai.models.builder",
            *("-i", str(model)),
            *("-o", str(folder)),
            *("-p", precision),
            *("-e", self._device),
            *("-c", str(folder.parent / "hub")),
        ]
        # Code that a model's folder brings never runs, whatever the builder's default.
        options = {"hf_remote": "false", **self._extra(precision)}
        command += ["--extra_options", *(f"{name}={value}" for name, value in options.items())]
        lines = folder.parent / f"{folder.name}.log"
        try:
            child.run(command, lines, _BUILD_SECONDS, {"HF_HUB_OFFLINE": "1"})
        except child.ChildError as error:
            raise TrainerError(
                ExitCode.INTERNAL if error.killed else ExitCode.UNSUPPORTED,
                "OutOfMemory" if error.killed else "BuildFailed",
                f"onnxruntime-genai's builder can't make {precision} for {self._device}: {error}",
                "precisions",
            ) from error
        finish(model, folder, precision, self._device)

    def open(self, folder: Path, threads: int) -> Runner:
        from luthier_trainer.optimize.genai.runner import GenaiRunner

        return GenaiRunner(folder, threads)


def builder(optimizing: Optimizing, interrupt: Interrupt) -> GenaiBuilder:
    """The builder for an order. It needs no interrupt: its work is done in other processes."""
    del interrupt
    return GenaiBuilder(optimizing)


def finish(model: Path, package: Path, precision: str, device: str) -> None:
    """What a package that the builder made of a model still lacks, whatever it is for."""
    if _shares_embeddings(precision, device):
        from luthier_trainer.optimize.genai.tied import share_embeddings

        share_embeddings(package)
    _end_as_measured(model, package)
    from luthier_trainer.models.save import keep_texts_whole

    keep_texts_whole(package)


def _shares_embeddings(precision: str, device: str) -> bool:
    """Whether embeddings that are the output layer's too are stored once by us: the builder does
    it in the other precisions. On a CPU alone, where it can be measured."""
    return precision == "int8" and device == "cpu"


def _head_size(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_bytes())
    width, heads = config.get("hidden_size") or 0, config.get("num_attention_heads") or 1
    return int(config.get("head_dim") or width // heads)


def size_of(folder: Path) -> int:
    """Bytes of all files below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _end_as_measured(model: Path, package: Path) -> None:
    """Let the package end its answers at the tokens that ours end at: those that the model
    names, the tokenizer's, and the one that its chat template ends a turn with."""
    from luthier_trainer.models.load import load_tokenizer
    from luthier_trainer.objectives.ends import ends_of

    path = package / "genai_config.json"
    config = json.loads(path.read_bytes())
    named = config["model"].get("eos_token_id")
    generation = model / "generation_config.json"
    also = json.loads(generation.read_bytes()).get("eos_token_id") if generation.exists() else None
    config["model"]["eos_token_id"] = ends_of(load_tokenizer(model), named, also)
    path.write_text(json.dumps(config, indent=4) + "\n")
