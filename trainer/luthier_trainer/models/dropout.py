"""Another dropout than the model's config says."""

import re
from typing import Any

from luthier_trainer.errors import unsupported

# Configs name theirs hidden_dropout_prob, attention_dropout, resid_pdrop, dropout_rate, …
_NAME = re.compile(r"dropout|pdrop")


def override_dropout(config: Any, dropout: float) -> None:
    """Set every dropout that a model's config has. Raises TrainerError (DropoutNotSupported)."""
    names = [name for name, value in vars(config).items() if _NAME.search(name) and _number(value)]
    if not names:
        raise unsupported(
            "DropoutNotSupported",
            f"a model of the type {config.model_type!r} has no dropout of its own: remove "
            "training.dropout (the method lora has one: method.lora.dropout)",
            "training.dropout",
        )
    # Heads have one of 0.1 where the config has no word for it.
    for name in (*names, "classifier_dropout"):
        setattr(config, name, dropout)


def attention_dropout(config: Any) -> float:
    """The share of a decoder's attention that it drops while it learns."""
    names = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
    return max((getattr(config, name, 0.0) or 0.0 for name in names), default=0.0)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
