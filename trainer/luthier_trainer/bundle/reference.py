"""The adapters by peft on the unquantised base: what the package is held against."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from luthier_trainer.bundle.package import Logits
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.packages.genai.adapterfile import Array
from luthier_trainer.packages.genai.modules import parameter

_SEED = 0


class Reference:
    """The base in fp32, with one adapter at a time."""

    def __init__(self, base: Path, longest: int) -> None:
        self._source = BaseSource(base, Causal.head, longest, _SEED)
        self._load()

    def _load(self) -> None:
        self._model: Any = self._source.load(Precision("fp32")).eval()

    def logits(self, ids: Sequence[int]) -> Logits:
        """fp32 [tokens, vocabulary] of the base alone."""
        return _logits(self._model, ids)

    def adapted(self, adapter: Path, ids: Sequence[int]) -> tuple[Logits, dict[str, Array]]:
        """The same with the adapter in a folder as peft saved it, and that adapter's weights as
        the graph takes them, told by peft. Afterwards the base is as before."""
        from peft import PeftModel

        # low_cpu_mem_usage: without it each layer draws weights that are overwritten at once.
        try:
            model = PeftModel.from_pretrained(self._model, adapter, low_cpu_mem_usage=True).eval()
        except Exception:
            self._load()  # what peft had begun may be left in it
            raise
        try:
            return _logits(model, ids), _weights(model)
        finally:
            self._model = model.unload()


def _weights(model: Any) -> dict[str, Array]:
    found = {}
    for name, layer in model.base_model.model.named_modules():
        if "default" in getattr(layer, "lora_A", {}):
            scaled = layer.lora_B["default"].weight * layer.scaling["default"]
            found[parameter(name, "A")] = layer.lora_A["default"].weight.detach().numpy().T
            found[parameter(name, "B")] = scaled.detach().numpy().T
    return found


def _logits(model: Any, ids: Sequence[int]) -> Logits:
    with torch.inference_mode():
        output = model(input_ids=torch.tensor([list(ids)]), use_cache=False)
        found: Logits = output.logits[0].float().numpy()
    return found
