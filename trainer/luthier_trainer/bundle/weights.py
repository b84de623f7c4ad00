"""What a safetensors file says it holds, read from its header alone."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A header of more bytes is none: safetensors itself refuses it.
_MOST_HEADER_BYTES = 100_000_000


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
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MOST_HEADER_BYTES):
            raise BrokenFileError(f"{path.name} has {size} bytes, and its header is longer")
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            found = {
                name: Tensor(str(it["dtype"]), tuple(map(int, it["shape"])))
                for name, it in header.items()
            }
            end = max((int(it["data_offsets"][1]) for it in header.values()), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise BrokenFileError(f"{path.name} begins with no safetensors header") from error
    expected = 8 + length + end
    if expected != size:
        raise BrokenFileError(f"{path.name} has {size} bytes, its header speaks of {expected}")
    return found
