"""A whole model written to a folder."""

import json
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


def write_ends(folder: Path, model: Any, ends: list[int]) -> None:
    """Let generation_config.json in `folder` name every token that ends an answer; what else is in
    it, or in the model's, stays."""
    path = folder / "generation_config.json"
    text = path.read_text() if path.exists() else model.generation_config.to_json_string()
    document = {**json.loads(text), "eos_token_id": ends if len(ends) > 1 else ends[0]}
    path.write_text(json.dumps(document, indent=2) + "\n")


def keep_texts_whole(folder: Path) -> None:
    """Let tokenizer.json in `folder` neither cut nor pad: transformers keeps in it what a training
    set, and undoes it at each call; programs that read the file alone don't."""
    path = folder / "tokenizer.json"
    if not path.exists():
        return
    document = json.loads(path.read_bytes())
    if document.get("truncation") or document.get("padding"):
        document |= {"truncation": None, "padding": None}
        path.write_bytes(json.dumps(document, ensure_ascii=False, indent=2).encode())
