"""Tokens that a tokenizer puts around every text, where they spoil what a model is asked."""

from typing import Any

from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.tokens import tokens_around


def special_token_warnings(objective: Any, tokenizer: Any) -> list[str]:
    """For language models that continue a text. Training and evaluation ask without such tokens;
    a program that calls the tokenizer alone doesn't."""
    if not isinstance(objective, Causal):
        return []
    before, behind = tokens_around(tokenizer)
    warnings = []
    if behind:
        end = "its end token " if behind == [tokenizer.eos_token_id] else ""
        warnings.append(
            f"the tokenizer puts {end}{tokenizer.decode(behind)!r} behind every text: a model "
            "that is asked so has nothing left to say. Training and evaluation ask without it: do "
            "so too (add_special_tokens=False), or take it out of the tokenizer (add_eos_token in "
            "tokenizer_config.json, post_processor in tokenizer.json)"
        )
    twice = next((token for token in before if before.count(token) > 1), None)
    if twice is not None:
        begin = "its begin token " if twice == tokenizer.bos_token_id else ""
        warnings.append(
            f"the tokenizer puts {begin}{tokenizer.decode([twice])!r} before every text twice: "
            "training and evaluation put it once; correct the post_processor in tokenizer.json"
        )
    return warnings
