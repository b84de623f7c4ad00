"""A result of any method as it was published, loaded to be used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier_api.methods import Method, Quantization
from luthier_trainer.machine import device
from luthier_trainer.methods import bottleneck
from luthier_trainer.methods.apply import trained_type
from luthier_trainer.methods.virtualtokens import generate_with_tokens
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision


def load_published(method: Method, source: BaseSource, folder: Path, precision: Precision) -> Any:
    """The model in `folder` (adapter/ or model/ of an artifact), on the device that there is.

    `source`: its base; with the head that the artifact brings weights for. Weights are held in the
    types in which its own run measured it. Raises whatever torch, peft and transformers do.
    """
    if method.type == "full":
        dtype = trained_type(method)
        return replace(source, folder=folder).load_as(dtype).to(device.name())
    quantization = None
    if method.type == "qlora":
        quantization = method.quantization or Quantization()
    base = source.load(precision, quantization)
    if method.type == "adapter":
        return bottleneck.load(base, folder).to(device.name())
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, folder)
    if method.type in ("prefix", "prompt"):
        generate_with_tokens(model)
    return model if quantization else model.to(device.name())
