"""Tiny models as packages of plain ONNX: each is exported once per process."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from unit.trainer.cells import CAUSAL, CLASSES, LABELS, SEQ2SEQ, TAGS, VECTORS, tuned
from unit.trainer.cells import source as cell_source
from unit.trainer.objectives_support import tokenizer_of
from unit.trainer.tiny import tiny_folder

from luthier_api.optimizejob import Optimizing
from luthier_trainer.methods.bottleneck import Bottleneck
from luthier_trainer.models.heads import Head
from luthier_trainer.objectives.tokens import pad_token
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.onnx.build import OnnxBuilder
from luthier_trainer.pod.interrupt import Interrupt

__all__ = ["CAUSAL", "CLASSES", "SEQ2SEQ", "TAGS", "VECTORS"]

TOLERANCE = 1e-4


def source_of(
    architecture: str,
    auto_class: str,
    *,
    bottleneck: bool = False,
    labels: tuple[str, ...] = (),
    pooling: str = "mean",
) -> Source:
    named = labels or (LABELS if auto_class in (CLASSES, TAGS) else ())
    folder = _with_head(architecture, auto_class, named)
    return Source(
        folder=folder,
        head=Head(auto_class, named),
        digest=f"sha256:{architecture}{auto_class}{bottleneck}{named}{pooling}",
        pad_id=pad_token(tokenizer_of(architecture)),
        bottleneck=_bottleneck(architecture, auto_class) if bottleneck else None,
        pooling=pooling,
    )


def package(source: Source, precision: str = "fp32") -> Path:
    """Its folder, not to be changed."""
    folder = _folder() / "packages" / f"{source.digest}-{precision}"
    if not folder.exists():
        folder.mkdir(parents=True)
        _builder("cuda" if precision == "fp16" else "cpu").build(source, precision, folder)
    return folder


def opened(source: Source, precision: str = "fp32") -> Any:
    """The package as a model."""
    return _builder("cpu").open(package(source, precision), 2).as_model()


def batch(model: Any, lengths: list[int], *, left: bool = False) -> tuple[Tensor, Tensor]:
    """(input_ids, attention_mask) of random words; each text ends in an end token."""
    config = model.config.get_text_config()
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(5, config.vocab_size, (len(lengths), max(lengths)), generator=generator)
    places = torch.arange(max(lengths))[None]
    counts = torch.tensor(lengths)[:, None]
    mask = places >= max(lengths) - counts if left else places < counts
    ids[~mask] = config.pad_token_id or 0
    return ids, mask.long()


@cache
def _builder(device: str) -> OnnxBuilder:
    optimizing = Optimizing.model_validate({"target": {"device": device}})
    return OnnxBuilder(optimizing, Interrupt(grace_seconds=1))


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="plain-packages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _with_head(architecture: str, auto_class: str, labels: tuple[str, ...]) -> Path:
    """The tiny model with a head that has been saved: what a fine-tuning leaves."""
    if auto_class in (CAUSAL, SEQ2SEQ, VECTORS):
        return tiny_folder(architecture)
    from luthier_trainer.models.load import BaseSource
    from luthier_trainer.models.precision import Precision

    pad = pad_token(tokenizer_of(architecture))
    base = BaseSource(tiny_folder(architecture), Head(auto_class, labels), 64, 3, pad_id=pad)
    model = base.load(Precision("fp32"))
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "classif" in name or "score" in name or "pooler" in name:  # as if it had learnt
            torch.nn.init.normal_(parameter, std=0.3)
    folder = _folder() / f"{architecture}-{auto_class}-{len(labels)}"
    model.save_pretrained(folder)
    tokenizer_of(architecture).save_pretrained(folder)
    return folder


@cache
def _bottleneck(architecture: str, auto_class: str) -> Path:
    """Adapters that change what the model says."""
    tuning = tuned(cell_source(architecture, auto_class), "adapter")
    torch.manual_seed(4)
    for module in tuning.model.modules():
        if isinstance(module, Bottleneck):
            torch.nn.init.normal_(module.up.weight, std=0.3)
    folder = _folder() / f"{architecture}-{auto_class}-adapter"
    tuning.save(folder)
    return folder
