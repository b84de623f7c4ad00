"""Weights of a model's folder, changed where they lie: one at a time is in memory.

The format: https://github.com/huggingface/safetensors#format
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from luthier_trainer.models.tensorfile import as_bytes, write_tensors

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class _Place:
    path: Path
    offset: int
    length: int


class WrittenWeights:
    """Weights by their names, in all files of the folder."""

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, _Place] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
            for name, entry in header.items():
                if name != "__metadata__":
                    begin, end = entry["data_offsets"]
                    self._places[name] = _Place(path, 8 + size + begin, end - begin)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def put(self, name: str, weight: Tensor) -> None:
        """In place of the one of that name, which has its type and shape. Raises KeyError."""
        place, data = self._places[name], as_bytes(weight.contiguous())
        assert len(data) == place.length, f"{name}: {len(data)} bytes for {place.length}"
        with place.path.open("r+b") as file:
            file.seek(place.offset)
            file.write(data)


def convert(folder: Path, dtype: torch.dtype) -> None:
    """Give all weights of a model's folder another type."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        temporary = path.with_suffix(".converted")
        tensors = load_file(path)  # mapped, not read
        write_tensors(temporary, tensors, dtype, metadata={"format": "pt"})
        total += sum(tensor.numel() * dtype.itemsize for tensor in tensors.values())
        temporary.replace(path)
    _note(folder / "config.json", ("dtype",), str(dtype).removeprefix("torch."))
    _note(folder / _INDEX, ("metadata", "total_size"), total)


def _note(path: Path, keys: tuple[str, ...], value: object) -> None:
    if not path.exists():
        return
    document = json.loads(path.read_text())
    within = document
    for key in keys[:-1]:
        within = within[key]
    within[keys[-1]] = value
    path.write_text(json.dumps(document, indent=2) + "\n")
