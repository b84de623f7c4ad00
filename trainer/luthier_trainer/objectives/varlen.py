"""Attention within each of several texts that stand in one row, without padding and without a mask.

The function is registered with transformers under NAME, and no mask function is: with such a name
transformers makes no mask and doesn't look at positions, which on a GPU would wait for the device.
A model attends so from `attend_by_sequence` on, also where activations are computed again in the
backward pass; `attend_as_loaded` gives it its own attention back, which padded batches need.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from luthier_trainer.models.load import EAGER_ATTENTION_TOKENS
from luthier_trainer.objectives.forward import unwrapped

NAME = "luthier_varlen"
# Keys of a batch, and names that models hand on to their attention.
BOUNDS, PLACES = "cu_seq_lens_q", "sequence_places"
_AMPERE = (8, 0)
_WIDEST_HEAD = 256  # of torch's flash kernels


@dataclass(frozen=True)
class Call:
    """Of one layer's attention. `fused`: by the kernel for sequences of many lengths."""

    fused: bool
    window: int | None


_observed: list[Call] | None = None


@contextmanager
def observed() -> Iterator[list[Call]]:
    """The calls of a forward within it."""
    global _observed
    _observed = []
    try:
        yield _observed
    finally:
        _observed = None


def attend_by_sequence(model: nn.Module) -> bool:
    """Let the model attend so. False: it has an attention that can't be chosen."""
    base = unwrapped(model)
    if not hasattr(base, "set_attn_implementation"):
        return False
    own = base.config._attn_implementation
    if own == NAME:
        return True
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
    base.luthier_own_attention = own
    base.set_attn_implementation(NAME)
    return bool(base.config._attn_implementation == NAME)


def attend_as_loaded(model: nn.Module) -> None:
    """Give the model back the attention that it was loaded with."""
    base = unwrapped(model)
    if getattr(getattr(base, "config", None), "_attn_implementation", None) == NAME:
        base.set_attn_implementation(base.luthier_own_attention)


def arguments(bounds: Tensor, places: Tensor) -> dict[str, Any]:
    """What a model's forward is told of its row's sequences: see `attention`."""
    longest = places.shape[1]
    return {
        BOUNDS: bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
        PLACES: places,
    }


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    cu_seq_lens_q: Tensor | None = None,
    sequence_places: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each sequence to itself, with the signature of transformers' others.

    query [1, heads, tokens, width], key and value [1, key heads, tokens, width] → [1, tokens,
    heads, width]. `cu_seq_lens_q` int32 [sequences + 1]: where each begins and the last one ends.
    `sequence_places` int64 [sequences, longest]: where each one's tokens stand in the row, and
    behind its end the number of all tokens. `sliding_window`: tokens that one sees, itself
    included. `softcap`, `s_aux`: of Gemma 2 (caps of scores) and GPT-OSS (sinks [heads]).
    Raises ValueError where that isn't what the layer computes, or the row's sequences are unknown.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    if not causal or attention_mask is not None or position_bias is not None:
        raise ValueError("attention that isn't causal, or has a mask or bias of its own")
    if cu_seq_lens_q is None or sequence_places is None or len(query) != 1:
        raise ValueError("a batch of padded rows, or a cache: the model needs its own attention")
    longest = sequence_places.shape[1]
    window = sliding_window if sliding_window and sliding_window < longest else None
    low = _low_type(query, value)
    fused = (
        low is not None
        and not (dropout or softcap or s_aux is not None)
        and query.shape[-1] == key.shape[-1] == value.shape[-1] <= _WIDEST_HEAD
        and query.shape[-1] % 8 == 0
    )
    if _observed is not None:
        _observed.append(Call(fused, sliding_window))
    # [tokens, heads, width]
    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    if fused:
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.attention.varlen import varlen_attn

        # cuDNN, which torch prefers, makes a plan for each number of tokens: for each batch anew.
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            answers: Any = varlen_attn(
                q.to(low),
                k.to(low),
                v.to(low),
                cu_seq_lens_q,
                cu_seq_lens_q,
                longest,
                longest,
                scale=scaling,
                window_size=(window - 1 if window else -1, 0),
                enable_gqa=query.shape[1] != key.shape[1],
            )
        return answers[None], None
    q, k, v = (_apart(each, sequence_places) for each in (q, k, v))
    answers = _attend(module, q, k, v, dropout, scaling, window, softcap, s_aux)
    return _together(answers, sequence_places, query.shape[2])[None], None


def _low_type(query: Tensor, value: Tensor) -> torch.dtype | None:
    """The type of 16 bits that torch's kernel for such rows computes in; None: it can't here."""
    kind = query.device.type
    if kind != "cuda" or torch.cuda.get_device_capability(query.device) < _AMPERE:
        return None
    autocast = torch.is_autocast_enabled(kind)
    dtype = torch.get_autocast_dtype(kind) if autocast else value.dtype
    return dtype if dtype in (torch.bfloat16, torch.float16) else None


def _apart(row: Tensor, places: Tensor) -> Tensor:
    """[tokens, heads, width] → [sequences, heads, longest, width], with zeros behind each end."""
    row = F.pad(row, (0, 0, 0, 0, 0, 1))
    found = row.index_select(0, places.flatten())
    return found.view(*places.shape, *row.shape[1:]).transpose(1, 2)


def _together(sequences: Tensor, places: Tensor, tokens: int) -> Tensor:
    """The inverse of `_apart`."""
    flat = sequences.transpose(1, 2).flatten(0, 1)
    row = flat.new_zeros(tokens + 1, *flat.shape[1:])
    return row.index_copy(0, places.flatten(), flat)[:tokens]


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout: float,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Of padded sequences: what stands behind an end is seen by nobody, and dropped by who asks."""
    length, groups = query.shape[2], query.shape[1] // key.shape[1]
    plain = softcap is None and sinks is None
    seen = None
    if window or not plain or not _prefers_kernel(query):
        seen = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        if window:
            seen = seen.triu(1 - window)
    if plain and _prefers_kernel(query):
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=seen,
            dropout_p=dropout,
            is_causal=seen is None,
            scale=scaling,
            enable_gqa=groups > 1,
        )
    assert seen is not None
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    if sinks is not None:
        column = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, column], dim=-1)
    shares = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)[..., :length]
    return F.dropout(shares, dropout, module.training) @ value


def _prefers_kernel(query: Tensor) -> bool:
    """Whether torch's fused attention is the faster one."""
    return query.device.type != "cpu" or query.shape[2] > EAGER_ATTENTION_TOKENS
