"""How many tokens a model can read."""

from typing import Any

from luthier_api.finetuning import FineTuning
from luthier_api.methods import VirtualTokens
from luthier_trainer.errors import unsupported

# No tokenizer has a text of more tokens; those that name no limit name a number above it.
_UNLIMITED = 1_000_000
_SHORTEST = 8  # of training.maxLength


def positions_of(config: Any) -> int | None:
    """Tokens that a model of this configuration can read; None: any number. Raises TrainerError
    (ModelUnusable)."""
    try:
        return _positions(config.get_text_config())
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise unsupported(
            "ModelUnusable",
            "config.json doesn't say by a number how many positions the model has "
            "(max_position_embeddings); take it as its model was published",
            "model.uri",
        ) from error


def _positions(config: Any) -> int | None:
    positions = getattr(config, "n_positions", None) or getattr(
        config, "max_position_embeddings", None
    )
    if positions is None or config.model_type in ("t5", "mt5", "umt5"):
        return None  # relative ones
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"):
        return int(positions) - int(config.pad_token_id) - 1  # counted from behind pad_token_id
    return int(positions)


def longest(spec: FineTuning, tokenizer: Any, positions: int | None) -> int:
    """Tokens that an example may have: training.maxLength, or what the model can read of it.

    `positions`: see positions_of. Raises TrainerError (NoRoomForText).
    """
    limits = [spec.training.max_length]
    if tokenizer.model_max_length and tokenizer.model_max_length < _UNLIMITED:
        limits.append(int(tokenizer.model_max_length))
    if positions:
        taken = _virtual_tokens(spec)
        if taken and positions - taken < _SHORTEST:
            raise unsupported(
                "NoRoomForText",
                f"the model has {positions} positions: {taken} virtual tokens leave no room for a "
                "text; lower their count",
                "method.virtualTokens.count",
            )
        limits.append(positions - taken)
    return min(limits)


def _virtual_tokens(spec: FineTuning) -> int:
    """Those of prefix are in the cache only, but the text's positions begin behind them, too."""
    if spec.method.type not in ("prefix", "prompt"):
        return 0
    return (spec.method.virtual_tokens or VirtualTokens()).count
