"""Models with random weights of a size that memory shows: 50 to 150 million parameters."""

from functools import cache
from pathlib import Path
from typing import Any

from unit.trainer.tiny import tiny_tokenizer_of

VOCABULARY = 32_000
_POSITIONS = 2048


class Models:
    """Folders with model and tokenizer, made when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder = cache(self._make)

    def _make(self, name: str) -> Path:
        import torch

        folder = self._folder / name
        tokenizer = tiny_tokenizer_of(name)
        tokenizer.model_max_length = _POSITIONS
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        _MAKERS[name](tokenizer).save_pretrained(folder)
        return folder


def _llama(tokenizer: Any) -> Any:
    """115 M parameters, 16 M of them the embeddings, which are the output layer too."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=768,
            intermediate_size=2048,
            num_hidden_layers=14,
            num_attention_heads=12,
            num_key_value_heads=4,
            max_position_embeddings=_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _bert(tokenizer: Any) -> Any:
    """BERT base: 111 M parameters."""
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=_POSITIONS,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _t5(tokenizer: Any) -> Any:
    """T5 small, but for its vocabulary, twelve layers a side: 105 M parameters."""
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=VOCABULARY,
            num_layers=12,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


_MAKERS = {"llama": _llama, "bert": _bert, "t5": _t5}
