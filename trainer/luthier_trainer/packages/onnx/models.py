"""Packages as models: what the objectives ask of a model of transformers, by ONNX Runtime."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.packages.onnx.greedy import adjustments, search
from luthier_trainer.packages.onnx.language import Continues, Translates
from luthier_trainer.packages.onnx.session import Array, KeysValues, Session


class Reader(nn.Module):
    """A text in, `output` out: logits or last_hidden_state."""

    def __init__(self, folder: Path, engine: Session, output: str) -> None:
        super().__init__()
        self.config, self.generation_config = _configs(folder)
        self.on_cpu = _parameter()
        self._engine = engine
        self._output = output

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        inputs = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        found = self._engine.run(inputs, {})[0]
        return SimpleNamespace(**{self._output: torch.from_numpy(found.numpy())})


class Continuer(nn.Module):
    """A causal language model."""

    def __init__(self, folder: Path, engine: Continues) -> None:
        super().__init__()
        self.config, self.generation_config = _configs(folder)
        self.on_cpu = _parameter()
        self._engine = engine

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        logits_to_keep: Tensor | int = 0,
        cache: KeysValues | None = None,
        use_cache: bool = True,
    ) -> Any:
        """`logits` [rows, kept, vocabulary] and `cache`. input_ids [rows, tokens] follow what
        is in `cache`; attention_mask covers both. logits_to_keep: places, or how many at the
        end (0: all)."""
        if isinstance(logits_to_keep, int):
            tokens = input_ids.shape[1]
            begin = max(tokens - logits_to_keep, 0) if logits_to_keep else 0
            logits_to_keep = torch.arange(begin, tokens)
        logits, present = self._engine.step(
            input_ids.numpy(),
            cache,
            _array(attention_mask),
            _array(position_ids),
            logits_to_keep.numpy(),
        )
        kept = present if use_cache else None
        return SimpleNamespace(logits=torch.from_numpy(logits), cache=kept)

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        max_new_tokens: int,
        eos_token_id: list[int],
        pad_token_id: int,
        **_options: Any,
    ) -> Tensor:
        """[rows, prompt + new tokens], greedy. Prompts are padded at the left. Other options of
        transformers' generate have no effect."""
        mask = attention_mask
        output = self(input_ids, mask, (mask.cumsum(1) - 1).clamp(min=0), 1)

        def step(chosen: Tensor) -> Tensor:
            nonlocal mask, output
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            positions = mask.sum(dim=1, keepdim=True) - 1
            output = self(chosen[:, None], mask, positions, 1, output.cache)
            logits: Tensor = output.logits[:, -1]
            return logits

        begin = input_ids.shape[1]
        adjust = adjustments(self.generation_config, begin, begin + max_new_tokens)
        logits = output.logits[:, -1]
        return search(input_ids, logits, step, adjust, max_new_tokens, eos_token_id, pad_token_id)


class Translator(nn.Module):
    """An encoder-decoder."""

    def __init__(self, folder: Path, engine: Translates) -> None:
        super().__init__()
        self.config, self.generation_config = _configs(folder)
        self.on_cpu = _parameter()
        self._engine = engine
        # In a tuple, or its weights, which it has none of, would be this module's.
        self._shell = (_without_weights(self.config),)
        self._read: tuple[Tensor, KeysValues] | None = None

    def forward(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        encoder_outputs: tuple[Tensor] | None = None,
        **_options: Any,
    ) -> Any:
        """`logits` [rows, target tokens, vocabulary] and encoder_last_hidden_state. Without
        input_ids, encoder_outputs is what the last forward with them returned."""
        mask = attention_mask.numpy()
        if input_ids is not None:
            array, source = self._engine.read(input_ids.numpy(), mask)
            self._read = torch.from_numpy(array), source
        elif not (encoder_outputs and self._read and encoder_outputs[0] is self._read[0]):
            raise ValueError("encoder_outputs: only those of the last forward are known here")
        hidden, source = self._read
        logits, _ = self._engine.step(decoder_input_ids.numpy(), mask, source)
        return SimpleNamespace(logits=torch.from_numpy(logits), encoder_last_hidden_state=hidden)

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        given: Tensor = self._shell[0].prepare_decoder_input_ids_from_labels(labels=labels)
        return given

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        max_new_tokens: int,
        eos_token_id: list[int],
        pad_token_id: int,
        **_options: Any,
    ) -> Tensor:
        """[rows, start token + new tokens], greedy."""
        mask = attention_mask.numpy()
        _, source = self._engine.read(input_ids.numpy(), mask)
        start = self.generation_config.decoder_start_token_id
        ids = torch.full((len(input_ids), 1), start, dtype=torch.int64)
        logits, past = self._engine.step(ids.numpy(), mask, source)

        def step(chosen: Tensor) -> Tensor:
            nonlocal past
            following, past = self._engine.step(chosen[:, None].numpy(), mask, source, past)
            return torch.from_numpy(following[:, -1])

        adjust = adjustments(self.generation_config, 1, 1 + max_new_tokens)
        first = torch.from_numpy(logits[:, -1])
        return search(ids, first, step, adjust, max_new_tokens, eos_token_id, pad_token_id)


def _array(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else tensor.numpy()


def _configs(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if (folder / "generation_config.json").exists():
        return config, GenerationConfig.from_pretrained(folder)
    return config, GenerationConfig.from_model_config(config)


def _parameter() -> nn.Parameter:
    """The objectives look where a model's weights are."""
    return nn.Parameter(torch.zeros(1), requires_grad=False)


def _without_weights(config: Any) -> Any:
    from transformers import AutoModelForSeq2SeqLM

    with torch.device("meta"):
        return AutoModelForSeq2SeqLM.from_config(config)
