"""What a safetensors file says it holds, read from its header alone."""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

# Some hundred bytes a tensor: a header of more is none.
_MOST_HEADER_BYTES = 32_000_000
_MOST_DIMENSIONS = 16
_POINTER = b"version https://git-lfs"
_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "C64": 64,
    "BOOL": 8,
    **{f"{sign}{bits}": bits for sign in "IU" for bits in (8, 16, 32, 64)},
}


class BrokenFileError(Exception):
    """The file is no safetensors file, or not all of one."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file. `dtype` as safetensors names it, e.g. F32."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Tensor]:
    """Name → tensor. Raises BrokenFileError; OSError where there is no such file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        length = int.from_bytes(begin, "little")
        if begin == _POINTER[:8]:
            raise BrokenFileError(f"{path.name} is a pointer of Git LFS, not the file itself")
        if size < 8 or length > min(size - 8, _MOST_HEADER_BYTES):
            raise BrokenFileError(
                f"{path.name} is no safetensors file, or cut off ({size:,} bytes)"
            )
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = {name: _tensor(entry) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BrokenFileError(f"{path.name} has a head that can't be read") from error
    end = 0
    for name, (begin, following) in sorted(
        ((name, entry["data_offsets"]) for name, entry in header.items()), key=lambda it: it[1]
    ):
        if begin != end:
            raise BrokenFileError(
                f"{path.name}: {name[:80]} begins at byte {begin}, where the tensor before it ends "
                f"at {end}"
            )
        end = following
    whole = 8 + length + end
    if size < whole:
        raise BrokenFileError(f"{path.name} is cut off: it has {size:,} of {whole:,} bytes")
    if size > whole:
        raise BrokenFileError(f"{path.name} has {size:,} bytes, and its head tells of {whole:,}")
    return found


def _tensor(entry: Any) -> Tensor:
    """Raises ValueError, TypeError or KeyError unless its type, shape and place go together."""
    dtype, shape = entry["dtype"], entry["shape"]
    begin, end = entry["data_offsets"]
    numbers = [*shape, begin, end]
    if not isinstance(dtype, str) or len(shape) > _MOST_DIMENSIONS or begin > end:
        raise ValueError(dtype)
    if any(type(number) is not int or not 0 <= number < 1 << 63 for number in numbers):
        raise ValueError(numbers[:4])
    if dtype in _BITS and prod(shape) * _BITS[dtype] != 8 * (end - begin):
        raise ValueError("a tensor's size isn't that of its shape")
    return Tensor(dtype, tuple(shape))
