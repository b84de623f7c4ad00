"""Packages for onnxruntime-genai, as optimising asks for them."""

import json
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import Optimizing
from luthier_trainer.errors import unsupported
from luthier_trainer.log import log
from luthier_trainer.models.configfile import read_json
from luthier_trainer.packages.contract import FormatName, Runner, Source
from luthier_trainer.packages.genai import builder
from luthier_trainer.packages.genai.int4blocks import int4_refusal

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
        """What it doesn't know goes to the other format (onnx/route.py)."""
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
        if builder.shares_embeddings(precision, self._device):
            found["tied_embeddings"] = "shared"
        return found

    def _extra(self, precision: str) -> dict[str, str]:
        """The builder's."""
        return builder.int4_options(self._int4) if precision == "int4" else {}

    def build(self, source: Source, precision: str, folder: Path) -> None:
        if source.apart:
            from luthier_trainer.packages.genai import separate

            base, adapter = source.apart
            separate.build(base, adapter, precision, self._target, self._int4, folder)
        else:
            builder.run(
                source.folder,
                folder,
                precision,
                self._device,
                self._extra(precision),
                folder.parent,
                what=precision,
                param="precisions",
            )
            builder.finish(source.folder, folder, precision, self._device)
        log(f"built {precision}: {size_of(folder) / 1e6:.0f} MB")

    def open(self, folder: Path, threads: int) -> Runner:
        from luthier_trainer.packages.genai.runner import GenaiRunner

        return GenaiRunner(folder, threads)


def _head_size(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_bytes())
    width, heads = config.get("hidden_size") or 0, config.get("num_attention_heads") or 1
    return int(config.get("head_dim") or width // heads)


def size_of(folder: Path) -> int:
    """Bytes of all files below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
