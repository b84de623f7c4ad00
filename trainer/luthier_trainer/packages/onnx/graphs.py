"""What becomes a graph: modules of which every input and output is a plain tensor.

Attention must be eager (build.py sees to it): its graph is the same at all lengths.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.objectives.pairs import pooled


class Reads(nn.Module):
    """A text in, logits out: [rows, classes] or [rows, tokens, classes]. Padding is at the
    right."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask)
        logits: Tensor = outputs.logits
        return logits.float()


class Embeds(nn.Module):
    """A text in, last_hidden_state [rows, tokens, size] out, and what `pooling` makes of it: a
    vector of the text [rows, size]. Padding is at the right."""

    def __init__(self, model: Any, pooling: str) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask)
        hidden = outputs.last_hidden_state.float()
        return hidden, pooled(hidden, attention_mask, self.pooling)


class Continues(nn.Module):
    """Tokens, and the keys and values of those before them → logits, and all keys and values.

    input_ids, position_ids [rows, tokens]; attention_mask [rows, past + tokens]; logits_to_keep
    [kept]: the places that get logits; past: two tensors a layer [rows, heads, past, size].
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        logits_to_keep: Tensor,
        past: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            cache=_cache(past),
            use_cache=True,
        )
        return (outputs.logits.float(), *_tensors(outputs.cache))


class Encodes(nn.Module):
    """The source of an encoder-decoder → last_hidden_state, and the keys and values of it in
    each layer of the decoder: these are the same for every token that is generated."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        # What the decoder makes of its one token is used by no output, so it isn't in the graph.
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=torch.zeros_like(input_ids[:, :1]),
            use_cache=True,
        )
        hidden = outputs.encoder_last_hidden_state.float()
        return (hidden, *_tensors(outputs.cache.cross_attention_cache))


class Decodes(nn.Module):
    """Target tokens, those before them and the source as keys and values → logits [rows,
    tokens, vocabulary], and the keys and values of all target tokens.

    encoder_attention_mask [rows, source tokens]; past and cross: two tensors a layer.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: Tensor,
        encoder_attention_mask: Tensor,
        past: Sequence[Tensor],
        cross: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        from transformers.cache_utils import EncoderDecoderCache

        # Only its shape is looked at where the source's keys and values are there already.
        source = torch.zeros_like(encoder_attention_mask, dtype=cross[0].dtype)[..., None]
        outputs = self.model(
            encoder_outputs=(source.expand(-1, -1, self.model.config.hidden_size),),
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            cache=EncoderDecoderCache(_cache(past), _cache(cross)),
            use_cache=True,
        )
        return (outputs.logits.float(), *_tensors(outputs.cache.self_attention_cache))


def _cache(tensors: Sequence[Tensor]) -> Any:
    from transformers.cache_utils import DynamicCache

    # Every layer keeps all tokens; a sliding window is in the mask.
    cache = DynamicCache()
    for layer in range(len(tensors) // 2):
        cache.update(tensors[2 * layer], tensors[2 * layer + 1], layer)
    return cache


def _tensors(cache: Any) -> list[Tensor]:
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
