"""Language models of one graph or two, step by step, with arrays of numpy."""

from typing import Any

import numpy as np

from luthier_trainer.packages.onnx.session import Array, KeysValues, Session

_PAST, _CROSS = "past_key_values.", "cross."


class Continues:
    """A causal language model."""

    def __init__(self, model: Session) -> None:
        self._model = model

    def step(
        self,
        ids: Array,
        past: KeysValues | None = None,
        mask: Array | None = None,
        positions: Array | None = None,
        keep: Array | None = None,
    ) -> tuple[Array, KeysValues]:
        """(logits [rows, kept, vocabulary], all keys and values). ids [rows, tokens] follow
        `past`; mask [rows, past + tokens]; keep: the places that get logits, all if left out."""
        rows, tokens = ids.shape
        past = past or self._model.nothing(_PAST, rows)
        end = past.tokens + tokens
        if positions is None:
            positions = np.broadcast_to(np.arange(past.tokens, end), (rows, tokens))
        feed = {
            "input_ids": ids,
            "attention_mask": np.ones((rows, end), np.int64) if mask is None else mask,
            "position_ids": positions,
            "logits_to_keep": np.arange(tokens) if keep is None else keep,
        }
        logits, *present = self._model.run(feed, self._model.named(_PAST, past))
        return logits.numpy(), KeysValues(tuple(present), end)


class Translates:
    """An encoder-decoder."""

    def __init__(self, encoder: Session, decoder: Session) -> None:
        self._encoder = encoder
        self._decoder = decoder

    def read(self, ids: Array, mask: Array) -> tuple[Array, KeysValues]:
        """(the encoder's last_hidden_state, the source as keys and values)."""
        hidden, *source = self._encoder.run({"input_ids": ids, "attention_mask": mask}, {})
        return hidden.numpy(), KeysValues(tuple(source), ids.shape[1])

    def step(
        self, ids: Array, mask: Array, source: KeysValues, past: KeysValues | None = None
    ) -> tuple[Array, KeysValues]:
        """(logits [rows, tokens, vocabulary], all keys and values). ids [rows, tokens] follow
        `past`; mask [rows, source tokens]."""
        past = past or self._decoder.nothing(_PAST, len(ids))
        kept: dict[str, Any] = self._decoder.named(_PAST, past)
        kept |= self._decoder.named(_CROSS, source)
        feed = {"input_ids": ids, "encoder_attention_mask": mask}
        logits, *present = self._decoder.run(feed, kept)
        return logits.numpy(), KeysValues(tuple(present), past.tokens + ids.shape[1])
