"""Chat templates of the families of models that people tune, and tokenizers with their special
tokens: small, and written as their publishers' formats are."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unit.trainer.tiny import _bpe

_TEMPLATES = Path(__file__).parent / "templates"
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# As in the real ones, these are tokens of their own, but no special ones: decoding keeps them.
_THINKING = ("<think>", "</think>", "<tool_call>", "</tool_call>")


@dataclass(frozen=True)
class Family:
    """`end`: its eos_token; `ends`: what an answer's text ends with. `system`, `tools`: whether
    the template has them; `reasons`: whether it writes the reasoning of the last answer;
    `lead`: what an answer without reasoning begins with; `whole`: whether one text teaches all
    answers of a conversation."""

    name: str
    end: str
    ends: str
    special: tuple[str, ...]
    begin: str | None = None
    system: bool = True
    tools: bool = False
    reasons: bool = False
    lead: str = ""
    whole: bool = True
    added: tuple[str, ...] = ()


_EMPTY = "<think>\n\n</think>\n\n"
_HEADERS = ("<|start_header_id|>", "<|end_header_id|>")
_DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_INST = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")
_GEMMA = ("<start_of_turn>", "<end_of_turn>")
FAMILIES = {
    family.name: family
    for family in (
        Family("llama3", "<|eot_id|>", "<|eot_id|>", _HEADERS, "<|begin_of_text|>", tools=True),
        Family("qwen2.5", "<|im_end|>", "<|im_end|>\n", _CHATML, tools=True, added=_THINKING[2:]),
        Family(
            "qwen3",
            "<|im_end|>",
            "<|im_end|>\n",
            _CHATML,
            tools=True,
            reasons=True,
            lead=_EMPTY,
            whole=False,
            added=_THINKING,
        ),
        Family(
            "qwen3-thinking",
            "<|im_end|>",
            "<|im_end|>\n",
            _CHATML,
            reasons=True,
            lead=_EMPTY.removeprefix("<think>\n"),
            whole=False,
            added=_THINKING,
        ),
        Family("gemma2", "<eos>", "<end_of_turn>\n<eos>", _GEMMA, "<bos>", system=False),
        Family("gemma3", "<eos>", "<end_of_turn>\n<eos>", _GEMMA, "<bos>"),
        Family(
            "phi3",
            "<|endoftext|>",
            "<|end|>\n<|endoftext|>",
            ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ),
        Family("phi4", "<|im_end|>", "<|im_end|>", (*_CHATML, "<|im_sep|>")),
        Family(
            "phi4-mini",
            "<|endoftext|>",
            "<|end|><|endoftext|>",
            ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        ),
        Family("mistral", "</s>", "</s>", _INST, "<s>", tools=True, lead=" ", whole=False),
        Family("smollm2", "<|im_end|>", "<|im_end|>\n", _CHATML),
        Family(
            "deepseek-r1",
            "<｜end▁of▁sentence｜>",
            "<｜end▁of▁sentence｜>",
            _DEEPSEEK,
            "<｜begin▁of▁sentence｜>",
            tools=True,
            reasons=True,
            lead=_EMPTY.removeprefix("<think>\n"),
            whole=False,
            added=("<think>", "</think>"),
        ),
    )
}


def template_of(name: str) -> str:
    return (_TEMPLATES / f"{name}.jinja").read_text("utf-8").removesuffix("\n")


@cache
def family_tokenizer(name: str) -> Any:
    """Not to be changed."""
    return new_tokenizer(name)


def new_tokenizer(name: str) -> Any:
    family = FAMILIES[name]
    special = list(dict.fromkeys([*filter(None, [family.begin]), family.end, *family.special]))
    begin = {"bos_token": family.begin} if family.begin else {}
    post = {"single": f"{family.begin} $A", "pair": f"{family.begin} $A $B"}
    tokenizer = _bpe(
        special,
        post if family.begin else None,
        **begin,
        eos_token=family.end,
        pad_token=special[0],
        chat_template=template_of(name),
        additional_special_tokens=list(family.special),
    )
    if family.added:
        tokenizer.add_tokens(list(family.added))
    return tokenizer
