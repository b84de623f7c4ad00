"""The random generators of this process: their state as tensors and JSON."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luthier_trainer.machine.device import on_gpu


def seed(number: int) -> None:
    """Let the generators of Python, numpy and torch begin there."""
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def seed_step(number: int, step: int, rank: int) -> None:
    """Let torch's generators begin where those of this step and process do: of several processes
    none has a state that had to be kept."""
    digest = hashlib.sha256(f"{number}/{step}/{rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8]) >> 1)


def capture() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """States of the generators of Python, numpy and torch."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    tensors = {
        "generator.torch": torch.get_rng_state(),
        "generator.numpy": torch.from_numpy(np.array(keys)),
    }
    if on_gpu():
        tensors["generator.cuda"] = torch.cuda.get_rng_state()
    document = {
        "python": random.getstate(),
        "numpy": [name, position, has_gauss, cached],
    }
    return tensors, document


def restore(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Set all of them."""
    version, internal, gauss = document["python"]
    random.setstate((version, tuple(internal), gauss))
    name, position, has_gauss, cached = document["numpy"]
    np.random.set_state((name, tensors["generator.numpy"].numpy(), position, has_gauss, cached))
    torch.set_rng_state(tensors["generator.torch"])
    if "generator.cuda" in tensors and on_gpu():
        torch.cuda.set_rng_state(tensors["generator.cuda"])


@contextmanager
def untouched() -> Iterator[None]:
    """What is drawn within leaves no trace."""
    tensors, document = capture()
    try:
        yield
    finally:
        restore(tensors, document)
