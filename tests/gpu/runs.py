"""Whole runs on the GPU, of the cells that the unit tests run on a CPU."""

from pathlib import Path
from typing import Any

import torch
from unit.trainer.run_cells import GROUPS, Cell, Form
from unit.trainer.run_methods_support import measured_rows, naive_loss, spec_of

from luthier_api.finetuning import FineTuning
from luthier_api.methods import Quantization
from luthier_api.runspec import RunSpec

FORMS = {form.name: form for group in GROUPS for form in group}


def gpu_spec(cell: Cell, place: Path, **settings: Any) -> RunSpec:
    """A run as spec_of makes it, in a pod with a GPU; in the precision that `auto` chooses."""
    spec = spec_of(cell, place, **{"precision": "auto", **settings})
    return spec.model_copy(update={"gpus": 1})


def quantized(spec: RunSpec, quantization: Quantization) -> RunSpec:
    """The run with another 4-bit base."""
    tuning = spec.fine_tuning
    method = tuning.method.model_copy(update={"quantization": quantization})
    changed = FineTuning.model_validate(
        tuning.model_copy(update={"method": method}).model_dump(by_alias=True)
    )
    return spec.model_copy(update={"fine_tuning": changed})


def loss_there(form: Form, tokenizer: Any, model: Any, labels: list[str]) -> float:
    """naive_loss where the model is."""
    with torch.no_grad(), torch.device(next(model.parameters()).device):
        return float(naive_loss(form, measured_rows(form), tokenizer, model, labels))
