"""A package that is loaded: measured as a model, and timed.

Without torch, unless it is asked for a model.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from luthier_trainer.packages.onnx.language import Continues, Translates
from luthier_trainer.packages.onnx.layout import LAYOUT
from luthier_trainer.packages.onnx.session import Array, Session


class OnnxRunner:
    """See contract.Runner."""

    def __init__(self, folder: Path, threads: int) -> None:
        layout = json.loads((folder / LAYOUT).read_bytes())
        self._folder = folder
        self._auto_class = layout["autoClass"]
        sessions = {
            name: Session(folder / graph["file"], threads)
            for name, graph in layout["graphs"].items()
        }
        self._engine: Session | Continues | Translates
        if self._auto_class == "AutoModelForSeq2SeqLM":
            self._engine = Translates(sessions["encoder"], sessions["decoder"])
        elif self._auto_class == "AutoModelForCausalLM":
            self._engine = Continues(sessions["model"])
        else:
            self._engine = sessions["model"]

    def as_model(self) -> Any:
        from luthier_trainer.packages.onnx.models import Continuer, Reader, Translator

        match self._engine:
            case Translates():
                return Translator(self._folder, self._engine)
            case Continues():
                return Continuer(self._folder, self._engine)
        output = "last_hidden_state" if self._auto_class == "AutoModel" else "logits"
        return Reader(self._folder, self._engine, output)

    def answer(
        self, prompts: Sequence[Sequence[int]], new_tokens: int, on_token: Callable[[], None]
    ) -> None:
        ids = np.array(prompts, np.int64)
        engine, past = self._engine, None
        match engine:
            case Continues():
                for _ in range(new_tokens):
                    logits, past = engine.step(ids, past, keep=np.array([-1]))
                    ids = _best(logits)
                    on_token()
            case Translates():
                mask = np.ones_like(ids)
                _, source = engine.read(ids, mask)
                ids = np.zeros_like(ids[:, :1])  # any token takes as long as the right one
                for _ in range(new_tokens):
                    logits, past = engine.step(ids, mask, source, past)
                    ids = _best(logits)
                    on_token()
            case Session():
                engine.run({"input_ids": ids, "attention_mask": np.ones_like(ids)}, {})
                on_token()


def _best(logits: Array) -> Array:
    """The likeliest token of each row: [rows, 1]."""
    found: Array = logits[:, -1].argmax(-1)[:, None]
    return found
