"""The tokens that end an answer: the tokenizer's, those that the model names, and the one that the
chat template ends a turn with."""

from functools import lru_cache
from typing import Any

from luthier_trainer.objectives import chattemplate

# An end is one token, and stands first.
_MOST_BEHIND = 1000
_ANSWER = "ANSWER7Q"
_TURNS = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": _ANSWER}]


def end_tokens(base: Any, tokenizer: Any) -> list[int]:
    """`base`: a model of transformers, with its generation_config and config."""
    named = (getattr(base.generation_config, "eos_token_id", None), _of(base.config))
    return ends_of(tokenizer, *named)


def ends_of(tokenizer: Any, *named: Any) -> list[int]:
    """Ascending. `named`: what configurations have as eos_token_id: a token, several or none."""
    each = [end for found in named for end in (found if isinstance(found, list) else [found])]
    return sorted(
        {end for end in (*each, tokenizer.eos_token_id, turn_end(tokenizer)) if end is not None}
    )


def turn_end(tokenizer: Any) -> int | None:
    """The token of its own that follows what the assistant says; None: there is none."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    behind = _behind(tokenizer, str(tokenizer.chat_template))
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
    own = set(tokenizer.get_added_vocab().values())
    return int(ids[0]) if ids and ids[0] in own else None


@lru_cache(maxsize=4)
def _behind(tokenizer: Any, template: str) -> str:
    """What a tokenizer's template writes behind an answer. Kept: one that takes all the time that
    it may have would take it before every batch."""
    del template
    try:
        text: str = chattemplate.run(tokenizer, _TURNS, tokenize=False)
    except Exception:  # a template may refuse such a conversation, in its own words
        return ""
    _, found, behind = text.rpartition(_ANSWER)
    return behind.lstrip()[:_MOST_BEHIND] if found else ""


def _of(config: Any) -> Any:
    """Of a model of several parts, that of its text."""
    whole = getattr(config, "get_text_config", lambda: config)()
    return getattr(whole, "eos_token_id", None)
