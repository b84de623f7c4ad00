"""Full fine-tuning: every weight is trained, in fp32 or in bf16 (training/rounding.py)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from luthier_trainer.distributed.shards import shards_of
from luthier_trainer.errors import unsupported
from luthier_trainer.methods.exchange import exchanged, tensors_by_name
from luthier_trainer.methods.tuned import Merged
from luthier_trainer.models.load import BaseSource, stored_type
from luthier_trainer.models.save import save_model


class FullTuned:
    """A whole model in training, whose weights are in `dtype`. It is published in the base's own
    type, or in bf16 where it was trained in it."""

    artifact = "model"

    def __init__(self, model: Any, source: BaseSource, dtype: torch.dtype = torch.float32) -> None:
        """`source`: of the base, whatever `model` begins with."""
        model.requires_grad_(True)
        self.model = model
        self.resolved = {} if dtype == torch.float32 else {"weights": "bf16"}
        self.beside: dict[str, torch.Tensor] = {}
        self._source = source
        self._dtype = dtype
        self._collected: Any = None  # of a shared-out model: the whole one
        self._published = stored_type(source.folder) if dtype == torch.float32 else dtype

    @contextmanager
    def base(self) -> Iterator[Any]:
        if shards := shards_of(self.model):
            with shards.exchanged(self._loaded(self._source)):
                yield self.model
            return
        fresh = self._source.load_as(self._dtype)
        original = tensors_by_name(fresh)
        with exchanged((t, original[name]) for name, t in tensors_by_name(self.model).items()):
            yield self.model

    def take(self, folder: Path) -> None:
        source = replace(self._source, folder=folder)
        if shards := shards_of(self.model):
            shards.put(self._loaded(source))
            return
        with torch.no_grad():
            weights = tensors_by_name(source.load_as(self._dtype))
            for name, tensor in tensors_by_name(self.model).items():
                tensor.copy_(weights[name])

    def settle(self) -> None:
        shards = shards_of(self.model)
        weights = shards.weights if shards else self.model.state_dict()
        with torch.no_grad():
            for weight in weights.values():
                if weight.is_floating_point():
                    weight.copy_(weight.to(self._published))

    def collect(self, folder: Path) -> None:
        if shards := shards_of(self.model):
            found = shards.collect(folder, self._published)
            if shards.world.is_first:
                self._collected = replace(self._source, outline=True).load_as(self._published)
                self._collected.load_state_dict(found, strict=False, assign=True)
                self._collected.tie_weights()

    def save(self, folder: Path) -> None:
        model = self._collected
        if model is None:
            model = self.model.to(self._published)
        save_model(model, self._source.folder, folder)

    def _loaded(self, source: BaseSource) -> dict[str, torch.Tensor]:
        """Weights by name, in the first process; the others need none."""
        if source.outline:
            return {}
        return dict(source.load_as(self._dtype).named_parameters())

    def merge(self, folder: Path, memory: int | None = None) -> Merged:  # noqa: ARG002 - a Tuned's
        raise unsupported(
            "NotMergeable",
            "full fine-tuning writes a whole model: set merge to false",
            "method.merge",
        )
