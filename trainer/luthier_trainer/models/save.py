"""A whole model written to a folder."""

from pathlib import Path
from typing import Any

from luthier_trainer.models.load import base_config


def save_model(model: Any, base: Path, folder: Path) -> None:
    """Write it as plain transformers loads it; `base` is the folder of its base model.

    What was set for the training alone is as in the base again.
    """
    config, original = model.config, base_config(base)
    training = {name: getattr(config, name) for name in ("use_cache",) if hasattr(config, name)}
    for name in training:
        if hasattr(original, name):
            setattr(config, name, getattr(original, name))
        else:  # the training loop gives it to configs that never had it
            delattr(config, name)
    try:
        model.save_pretrained(folder, safe_serialization=True)
    finally:
        for name, value in training.items():
            setattr(config, name, value)
