"""Several examples in one row, kept apart by their positions: no padding.

Attention of transformers' models keeps examples apart where positions begin anew, if it gets
neither attention mask nor cache. Not every model does it: that is tried out before.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier_trainer.errors import unsupported
from luthier_trainer.objectives.firstfit import first_fit
from luthier_trainer.objectives.forward import is_prompted, unwrapped

_PROBE = (7, 9)  # lengths of the two texts that are tried out
_TOLERANCE = 1e-3  # of the logits' size; of bfloat16 texts that leak differ by far more
_LOW_PRECISION_TOLERANCE = 5e-2


def pack(lengths: Sequence[int], max_length: int, seed: int, epoch: int) -> list[list[int]]:
    """Rows of indices whose lengths sum up to at most `max_length`: first-fit decreasing.

    Every index is in one row; one that is longer than a row has its own. Which examples of
    one length come first, and the order of rows, follow from seed and epoch alone.
    """
    rng = random.Random(f"{seed}/{epoch}/pack")  # noqa: S311 - an order, not a secret
    order = list(range(len(lengths)))
    rng.shuffle(order)
    order.sort(key=lambda index: -min(lengths[index], max_length))
    sizes = np.clip(np.array([lengths[index] for index in order], np.int64), 1, max_length)
    placed = first_fit(sizes, max_length)
    rows: list[list[int]] = [[] for _ in range(int(placed.max(initial=-1)) + 1)]
    for index, row in zip(order, placed.tolist(), strict=True):
        rows[row].append(index)
    for each in rows:
        rng.shuffle(each)
    rng.shuffle(rows)
    return rows


def isolates(model: nn.Module, autocast: torch.dtype | None = None) -> bool:
    """Whether the model keeps examples of a row apart: tried out with two short texts, in the
    arithmetic of the run: weights of both types, as where a module is trained in full, need it."""
    if is_prompted(model):
        return False
    base = unwrapped(model)
    weight = next(base.parameters())
    vocabulary: int = base.get_input_embeddings().num_embeddings
    texts = [
        torch.arange(start, start + length).remainder(vocabulary).to(weight.device)[None]
        for start, length in zip((3, 40), _PROBE, strict=True)
    ]
    positions = torch.cat([torch.arange(length) for length in _PROBE]).to(weight.device)[None]
    with _answering(model, autocast):
        try:
            together = model(
                input_ids=torch.cat(texts, dim=1), position_ids=positions, use_cache=False
            ).logits
        except (TypeError, ValueError):  # knows no positions
            return False
        alone = torch.cat([model(input_ids=t, use_cache=False).logits for t in texts], dim=1)
    difference = (together - alone).float().abs().max()
    low = autocast is not None or _computes_in_16_bits(base)
    tolerance = _LOW_PRECISION_TOLERANCE if low else _TOLERANCE
    return bool(difference <= tolerance * alone.float().abs().max())


def _computes_in_16_bits(model: nn.Module) -> bool:
    """Whether some layer does: by its weights, or by what weights in 4 bits are expanded to."""
    types: list[Any] = [parameter.dtype for parameter in model.parameters()]
    types += [getattr(module, "compute_dtype", None) for module in model.modules()]
    return any(dtype in (torch.bfloat16, torch.float16) for dtype in types)


def require_isolation(model: Any, autocast: torch.dtype | None = None) -> None:
    """Raises TrainerError (PackingNotSupported)."""
    if not isolates(model, autocast):
        raise unsupported(
            "PackingNotSupported",
            f"the attention of {type(unwrapped(model)).__name__} doesn't keep the examples of a "
            "row apart: set packing to Never",
            "training.packing",
        )


@contextmanager
def _answering(model: nn.Module, autocast: torch.dtype | None) -> Iterator[None]:
    kind = next(model.parameters()).device.type
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(kind, dtype=autocast, enabled=autocast is not None):
            yield
    finally:
        for module in training:
            module.training = True
