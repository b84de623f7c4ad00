"""Tiny models of every architecture, each in a folder with a tokenizer that fits it.

`tiny("bert", folder)` writes one; `tiny_folder("bert")` writes it once per process; the
fixture `tiny_models` does the same below pytest's own folder.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import colour_rows

DECODERS = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "gpt2", "dialogpt")
ENCODERS = ("bert", "roberta", "deberta-v2")
ENCODER_DECODERS = ("t5", "bart")
ARCHITECTURES = (*DECODERS, *ENCODERS, *ENCODER_DECODERS)

HIDDEN, LAYERS, POSITIONS, VOCABULARY = 32, 2, 256, 400
_CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_SENTENCES = (
    "Text: the service was quick and the food was good.",
    "Summarise: Ada Lovelace wrote the first program in London in 1843.",
    "Question: what is the colour of the sky? Answer: blue",
    "Sentiment: positive, negative or neutral",
    "A man is playing a guitar. Someone plays an instrument.",
)


def tiny(name: str, folder: Path) -> Path:
    """Write model and tokenizer; the same weights each time. Returns `folder`."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer_of(name)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    tiny_model_of(name, tokenizer).save_pretrained(folder)
    return folder


@cache
def tiny_folder(name: str) -> Path:
    """A folder with the model and tokenizer of `name`, not to be changed."""
    return tiny(name, _process_folder() / name)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of an architecture's model and tokenizer, not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    return cache(lambda name: tiny(name, folder / name))


def tiny_tokenizer_of(name: str) -> Any:
    """A byte-level BPE (BERT: WordPiece) tokenizer with the special tokens of `name`."""
    if name in ("bert", "deberta-v2"):
        return _wordpiece()
    if name in ("roberta", "bart"):
        return _bpe(
            ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>"},
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            cls_token="<s>",
            sep_token="</s>",
            pad_token="<pad>",
            mask_token="<mask>",
        )
    if name == "t5":
        return _bpe(
            ["<pad>", "</s>", "<unk>"],
            {"single": "$A </s>", "pair": "$A </s> $B </s>"},
            eos_token="</s>",
            unk_token="<unk>",
            pad_token="<pad>",
        )
    if name in ("gpt2", "dialogpt"):  # neither has a token for padding
        return _bpe(["<|endoftext|>"], None, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    if name.startswith("qwen"):  # begins with no token of its own
        end = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        return _bpe(["<|endoftext|>", "<|im_end|>"], None, **end, chat_template=_CHAT)
    return _bpe(
        ["<pad>", "<s>", "</s>"],
        {"single": "<s> $A", "pair": "<s> $A <s> $B"},
        bos_token="<s>",
        eos_token="</s>",
        pad_token=None if name in ("llama", "mistral") else "<pad>",
        chat_template=_CHAT,
    )


def tiny_model_of(name: str, tokenizer: Any) -> Any:
    """A model of two layers; its weights are drawn from torch's generator."""
    import transformers as t

    tokens = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    layers = {
        **tokens,
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.3,
    }
    grouped = {**layers, "num_key_value_heads": 2}
    # As in the real ones, the heads together are wider than the model.
    wide = {**grouped, "head_dim": 16}
    gemma = {**wide, "query_pre_attn_scalar": 16, "sliding_window": 16}
    types = ["sliding_attention", "full_attention"]
    match name:
        case "llama":
            return t.LlamaForCausalLM(t.LlamaConfig(**grouped))
        case "mistral":
            return t.MistralForCausalLM(t.MistralConfig(**grouped, sliding_window=None))
        case "qwen2":
            return t.Qwen2ForCausalLM(t.Qwen2Config(**grouped, tie_word_embeddings=True))
        case "qwen3":
            return t.Qwen3ForCausalLM(t.Qwen3Config(**wide))
        case "phi3":
            return t.Phi3ForCausalLM(t.Phi3Config(**grouped))
        case "gemma2":
            return t.Gemma2ForCausalLM(t.Gemma2Config(**gemma, layer_types=types))
        case "gemma3":
            return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**gemma, layer_types=types))
        case "gpt2" | "dialogpt":  # DialoGPT is a GPT-2, its output layer tied to the embeddings
            config = {"n_embd": HIDDEN, "n_layer": LAYERS, "n_head": 4, "n_positions": POSITIONS}
            untied = {"tie_word_embeddings": name == "dialogpt", "initializer_range": 0.3}
            return t.GPT2LMHeadModel(t.GPT2Config(**tokens, **config, **untied))
        case "bert":
            return t.BertModel(t.BertConfig(**layers))
        case "roberta":
            # Positions are counted from pad_token_id + 1.
            positions = {**layers, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
            return t.RobertaModel(t.RobertaConfig(**positions))
        case "deberta-v2":
            return t.DebertaV2Model(
                t.DebertaV2Config(
                    **layers,
                    type_vocab_size=0,
                    relative_attention=True,
                    position_buckets=32,
                    norm_rel_ebd="layer_norm",
                    share_att_key=True,
                    pos_att_type=["p2c", "c2p"],
                    position_biased_input=False,
                )
            )
        case "t5":
            return t.T5ForConditionalGeneration(
                t.T5Config(
                    **tokens,
                    d_model=HIDDEN,
                    d_kv=8,
                    d_ff=2 * HIDDEN,
                    num_layers=LAYERS,
                    num_heads=4,
                    decoder_start_token_id=tokenizer.pad_token_id,
                )
            )
        case "bart":
            sides = {f"{side}_layers": LAYERS for side in ("encoder", "decoder")}
            sides |= {f"{side}_attention_heads": 4 for side in ("encoder", "decoder")}
            sides |= {f"{side}_ffn_dim": 2 * HIDDEN for side in ("encoder", "decoder")}
            return t.BartForConditionalGeneration(
                t.BartConfig(
                    **tokens,
                    **sides,
                    d_model=HIDDEN,
                    max_position_embeddings=POSITIONS,
                    init_std=0.3,
                    decoder_start_token_id=tokenizer.eos_token_id,
                    forced_eos_token_id=tokenizer.eos_token_id,
                )
            )
    raise ValueError(f"no tiny model {name!r}: {', '.join(ARCHITECTURES)}")


@cache
def _process_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _texts() -> Iterable[str]:
    yield from (f"Text: {row['text']}\nColour: {row['label']}" for row in colour_rows(200))
    yield from _SENTENCES


def _bpe(special: list[str], template: dict[str, str] | None, **named: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _finished(tokenizer, trainer, template, named)


def _wordpiece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=[chr(code) for code in range(33, 127)],
        show_progress=False,
    )
    template = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1"}
    named: dict[str, Any] = {f"{token[1:-1].lower()}_token": token for token in special}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return _finished(tokenizer, trainer, template, {**named, "model_input_names": inputs})


def _finished(
    tokenizer: Any, trainer: Any, template: dict[str, str] | None, named: dict[str, Any]
) -> Any:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.train_from_iterator(_texts(), trainer)
    if template:
        special = list(trainer.special_tokens)
        tokenizer.post_processor = TemplateProcessing(
            **template,
            special_tokens=[(t.content, tokenizer.token_to_id(t.content)) for t in special],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=POSITIONS, **named)
