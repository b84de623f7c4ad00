"""Whether a tokenizer's tokens are rows of the model's embeddings."""

import re
from pathlib import Path
from typing import Any

from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.models.configfile import read_json
from luthier_trainer.models.load import base_config

# Stand for what a model of text never gets: Gemma 3's smallest ones lack the row of theirs.
_OTHER_MEDIA = re.compile(r"^<.*(image|audio|video|vision|speech).*>$", re.IGNORECASE)
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def check_vocabulary(folder: Path, tokenizer: Any) -> None:
    """More rows than tokens are usual (padding). Raises TrainerError (ModelUnusable)."""
    rows = getattr(base_config(folder).get_text_config(), "vocab_size", None)
    if not isinstance(rows, int):
        return
    outside = {
        token: number
        for token, number in tokenizer.get_vocab().items()
        if number >= rows and not _OTHER_MEDIA.match(token)
    }
    if outside:
        token = min(outside, key=outside.__getitem__)
        raise _unusable(
            f"the tokenizer has {max(outside.values()) + 1:,} tokens, and the model's embeddings "
            f"{rows:,} rows, none for {token!r}: resize them "
            "(model.resize_token_embeddings(len(tokenizer))) and save the model again, or take the "
            "tokenizer that came with the model"
        )
    for name in ("config.json", "generation_config.json"):
        for key, number in _special(folder / name):
            if number >= rows:
                raise _unusable(
                    f"{name} has the {key} {number:,}, and the model's embeddings {rows:,} rows: "
                    "correct it, or take the files that belong together"
                )


def _special(path: Path) -> list[tuple[str, int]]:
    try:
        document = read_json(path)
    except (OSError, ValueError):
        return []
    found = []
    for key in _SPECIAL:
        value = document.get(key)
        numbers = value if isinstance(value, list) else [value]
        found += [(key, number) for number in numbers if type(number) is int]
    return found


def _unusable(problem: str) -> TrainerError:
    return unsupported("ModelUnusable", problem, "model.uri")
