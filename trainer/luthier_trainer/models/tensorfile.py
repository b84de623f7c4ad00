"""Tensors to a safetensors file, one at a time: no second copy of them in memory.

The format: https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

_CHUNK = 16 * 1024 * 1024
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write contiguous CPU tensors; returns the sha256 of the file. `dtype`: what numbers with a
    point become, one tensor at a time."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    types = {name: _kind(tensor, dtype) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        size = tensor.numel() * types[name].itemsize
        header[name] = {
            "dtype": _NAMES[types[name]],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        start_of_file = memoryview(len(head).to_bytes(8, "little") + head)
        parts = (as_bytes(tensor.to(types[name])) for name, tensor in tensors.items())
        for part in chain([start_of_file], parts):
            for start in range(0, len(part), _CHUNK):
                chunk = part[start : start + _CHUNK]
                digest.update(chunk)
                file.write(chunk)
    return digest.hexdigest()


def as_bytes(tensor: Tensor) -> memoryview:
    """Of a contiguous CPU tensor, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _kind(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype and tensor.is_floating_point() else tensor.dtype
