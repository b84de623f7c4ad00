"""Full fine-tuning: every weight is trained, in fp32."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier_trainer.errors import unsupported
from luthier_trainer.methods.swap import exchanged, tensors_by_name
from luthier_trainer.methods.tuned import Merged
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision
from luthier_trainer.models.save import save_model


class FullTuned:
    """A whole model in training."""

    artifact = "model"

    def __init__(self, model: Any, source: BaseSource) -> None:
        """`source`: of the base, whatever `model` begins with."""
        model.requires_grad_(True)
        self.model = model
        self.resolved: dict[str, str] = {}
        self._source = source

    @contextmanager
    def base(self) -> Iterator[Any]:
        fresh = self._source.load(Precision("fp32"), frozen=False)
        original = tensors_by_name(fresh)
        with exchanged((t, original[name]) for name, t in tensors_by_name(self.model).items()):
            yield self.model

    def take(self, folder: Path) -> None:
        with torch.no_grad():
            fresh = replace(self._source, folder=folder).load(Precision("fp32"), frozen=False)
            weights = tensors_by_name(fresh)
            for name, tensor in tensors_by_name(self.model).items():
                tensor.copy_(weights[name])

    def save(self, folder: Path) -> None:
        save_model(self.model, self._source.folder, folder)

    def merge(self, folder: Path, memory: int | None = None) -> Merged:  # noqa: ARG002 - a Tuned's
        raise unsupported(
            "NotMergeable",
            "full fine-tuning writes a whole model: set merge to false",
            "method.merge",
        )
