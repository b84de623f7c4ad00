"""Tiny tokenizers of the SentencePiece families, with the pipelines that the real ones have.

Blanks are "▁" in their tokens, and most put one before a text, or before what follows a special
token. Llama-2's vocabulary has no new line: it is a byte.
"""

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from unit.trainer.support import colour_rows
from unit.trainer.tiny import POSITIONS

_SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>"]
_NAMED = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
# As Llama-2 writes conversations: the turns in plain text, an end token behind each answer.
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}"
    "{{ eos_token }}{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
# As Phi-3 does: a special token before each turn and behind it.
TOKENS = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


@cache
def prepended() -> Any:
    """Llama-2, Mistral 0.1 and Phi-3 as their tokenizer.json came first: a normalizer prepends
    to every piece between special tokens, without a look at what it begins with."""
    from tokenizers import normalizers

    found = _llama()
    found.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return _finished(found)


@cache
def llama(legacy: bool) -> Any:
    """transformers' own: a pre-tokenizer prepends to every piece, or to the first alone."""
    from transformers import LlamaTokenizer

    vocabulary, merges = _bpe(new_lines=False)
    return LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=legacy, **_options())


@cache
def stripping() -> Any:
    """As `prepended`; as in Phi-3, special tokens take the blanks behind them."""
    from tokenizers import AddedToken

    found = prepended.__wrapped__()
    found.add_special_tokens(
        {
            "additional_special_tokens": [
                AddedToken(f"<|{name}|>", special=True, rstrip=True)
                for name in ("system", "user", "assistant", "end")
            ]
        }
    )
    return found


@cache
def never() -> Any:
    """A Llama without the blank before a text (add_prefix_space: false)."""
    from transformers import LlamaTokenizer

    vocabulary, merges = _bpe(new_lines=False)
    return LlamaTokenizer(
        vocab=vocabulary, merges=merges, add_prefix_space=False, legacy=False, **_options()
    )


@cache
def gemma() -> Any:
    """transformers' own: it prepends nothing, and has new lines in its vocabulary."""
    from transformers import GemmaTokenizer

    vocabulary, merges = _bpe(new_lines=True)
    return GemmaTokenizer(vocab=vocabulary, merges=merges, **_options())


@cache
def t5() -> Any:
    """transformers' own: it splits at any blank, and prepends to each word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import T5Tokenizer

    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    trained.train_from_iterator(_texts(), trainer)
    pieces = [(piece, score) for piece, score in _model_of(trained)["vocab"]]
    return T5Tokenizer(vocab=pieces, model_max_length=POSITIONS)


# Decoders, by what they put before the pieces of a text.
FAMILIES: dict[str, Callable[[], Any]] = {
    "prepended": prepended,
    "always": lambda: llama(True),
    "first": lambda: llama(False),
    "stripping": stripping,
    "never": never,
    "gemma": gemma,
}


def _options() -> dict[str, Any]:
    return {
        "additional_special_tokens": _SPECIAL[3:],
        "add_bos_token": True,
        "model_max_length": POSITIONS,
        **_NAMED,
    }


def _llama() -> Any:
    from tokenizers import Tokenizer, decoders, models

    vocabulary, merges = _bpe(new_lines=False)
    found = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    found.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    return found


def _finished(tokenizer: Any) -> Any:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_options())


@cache
def _bpe(new_lines: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary, with bytes for what it lacks, and merges; none across words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    texts = _texts() if new_lines else [text.replace("\n", " ") for text in _texts()]
    trained.train_from_iterator(texts, trainer)
    model = _model_of(trained)
    words = sorted(model["vocab"], key=model["vocab"].get)
    vocabulary = {word: index for index, word in enumerate([*_SPECIAL, *_BYTES, *words])}
    return vocabulary, [tuple(merge) for merge in model["merges"]]


def _model_of(tokenizer: Any) -> Any:
    return json.loads(tokenizer.to_str())["model"]


def _texts() -> Iterable[str]:
    return [f"Text: {row['text']}\nColour: {row['label']}" for row in colour_rows(200)]
