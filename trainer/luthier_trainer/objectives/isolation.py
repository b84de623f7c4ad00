"""Whether a model keeps several texts of one row apart.

Their positions begin anew, and attention goes by sequence (varlen.py). Not every model does it:
what has state, or an attention of its own, mixes them. That is tried out before the training.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from luthier_trainer.errors import unsupported
from luthier_trainer.log import log
from luthier_trainer.models.temporary import evaluating
from luthier_trainer.objectives.collate import joined
from luthier_trainer.objectives.forward import is_prompted, on_device, unwrapped
from luthier_trainer.objectives.tokens import Tokens, compact
from luthier_trainer.objectives.varlen import (
    BOUNDS,
    PLACES,
    arguments,
    attend_as_loaded,
    attend_by_sequence,
    observed,
)

_PROBE = (7, 9)  # lengths of the two texts that are tried out
_TOLERANCE = 1e-3  # of the logits' size; of bfloat16 texts that leak differ by far more
_LOW_PRECISION_TOLERANCE = 5e-2


@dataclass(frozen=True)
class Isolation:
    """Whether a model keeps the texts of one row apart. `fused`: by a kernel made for it."""

    holds: bool
    fused: bool = False


def isolation(model: nn.Module, autocast: torch.dtype | None = None) -> Isolation:
    """Tried out with two short texts, joined and each by itself, in the arithmetic of the run:
    the logits are the same, and so is what the embeddings learn from them. Where the model's
    windows aren't told to its attention, texts longer than them would differ: refused."""
    if is_prompted(model):
        return Isolation(False)
    base = unwrapped(model)
    texts = _texts(base)
    row = on_device(model, joined(texts))
    told = arguments(row[BOUNDS], row[PLACES])
    together = {name: row[name] for name in ("input_ids", "position_ids")} | told
    with _answering(model, autocast):
        expected = _answered(
            model, [on_device(model, {"input_ids": torch.tensor([text.ids])}) for text in texts]
        )
        try:
            if not attend_by_sequence(model):
                return Isolation(False)
            with observed() as calls:
                found = _answered(model, [together])
        except torch.OutOfMemoryError:
            raise
        except (TypeError, ValueError, RuntimeError, KeyError) as error:
            log(f"model: texts can't be joined: {type(error).__name__}: {str(error)[:200]}")
            return Isolation(False)
        finally:
            attend_as_loaded(model)
    same = all(map(partial(_alike, _tolerance(base, autocast)), found, expected))
    told_windows = sum(call.window is not None for call in calls) >= _windows(base.config)
    return Isolation(
        holds=bool(calls) and same and told_windows, fused=all(call.fused for call in calls)
    )


def _texts(base: Any) -> list[Tokens]:
    vocabulary: int = base.get_input_embeddings().num_embeddings
    return [
        compact([], [(start + i) % vocabulary for i in range(length)], True)
        for start, length in zip((3, 40), _PROBE, strict=True)
    ]


def _answered(model: nn.Module, batches: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    """Logits [1, tokens, vocabulary] of the batches one behind the other, and the gradient [1,
    tokens, width] at their embeddings of a sum of them in which none is left out."""
    logits, gradients = [], []
    for batch in batches:
        leaf: list[Tensor] = []

        def begin(_: nn.Module, __: Any, output: Tensor, leaf: list[Tensor] = leaf) -> Tensor:
            leaf.append(output.detach().requires_grad_())
            return leaf[0]

        hook = unwrapped(model).get_input_embeddings().register_forward_hook(begin)
        try:
            found = model(**batch, use_cache=False).logits
        finally:
            hook.remove()
        weights = torch.linspace(-1, 1, found.shape[-1], device=found.device)
        [gradient] = torch.autograd.grad((found.float() * weights).sum(), leaf[0])
        logits.append(found.detach())
        gradients.append(gradient)
    return torch.cat(logits, dim=1), torch.cat(gradients, dim=1)


def _alike(tolerance: float, found: Tensor, expected: Tensor) -> bool:
    difference = (found - expected).float().abs().max()
    return bool(difference <= tolerance * expected.float().abs().max())


def _tolerance(base: Any, autocast: torch.dtype | None) -> float:
    low = autocast is not None or _computes_in_16_bits(base)
    return _LOW_PRECISION_TOLERANCE if low else _TOLERANCE


def _windows(config: Any) -> int:
    """Layers that see a part of the text only, as the model's config tells."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return len([kind for kind in kinds if kind != "full_attention"])
    return config.num_hidden_layers if getattr(config, "sliding_window", None) else 0


def _computes_in_16_bits(model: nn.Module) -> bool:
    """Whether some layer does: by its weights, or by what weights in 4 bits are expanded to."""
    types: list[Any] = [parameter.dtype for parameter in model.parameters()]
    types += [getattr(module, "compute_dtype", None) for module in model.modules()]
    return any(dtype in (torch.bfloat16, torch.float16) for dtype in types)


def require_isolation(model: Any, autocast: torch.dtype | None = None) -> None:
    """Raises TrainerError (PackingNotSupported)."""
    if not isolation(model, autocast).holds:
        raise unsupported(
            "PackingNotSupported",
            f"the attention of {type(unwrapped(model)).__name__} doesn't keep the examples of a "
            "row apart: set packing to Auto or Never",
            "training.packing",
        )


@contextmanager
def _answering(model: nn.Module, autocast: torch.dtype | None) -> Iterator[None]:
    kind = next(model.parameters()).device.type
    with (
        evaluating(model),
        torch.enable_grad(),
        torch.autocast(kind, dtype=autocast, enabled=autocast is not None),
    ):
        yield
