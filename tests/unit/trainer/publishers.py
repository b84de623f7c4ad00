"""Adapters and models as whoever wrote them might have: on disk, without torch."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from unit.trainer.bundle_support import LINEAR
from unit.trainer.test_bundle_members import saved

from luthier_trainer.errors import TrainerError
from luthier_trainer.models.header import read_header
from luthier_trainer.published import adapterfit

# What no adapter_config.json of peft has; each would end a run, or hang it.
HOSTILE: dict[str, bytes] = {
    "infinite rank": b'{"peft_type": "LORA", "r": Infinity, "lora_alpha": 8}',
    "negative rank": b'{"peft_type": "LORA", "r": -4, "lora_alpha": 8}',
    "rank of a thousand digits": b'{"peft_type": "LORA", "r": 1' + b"0" * 1000 + b"}",
    "rank of ten thousand digits": b'{"peft_type": "LORA", "r": 1' + b"0" * 10_000 + b"}",
    "alpha that is no number": b'{"peft_type": "LORA", "r": 4, "lora_alpha": NaN}',
    "alpha beyond a float": b'{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}',
    "patterns in a list": b'{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": ["x"]}',
    "a pattern's rank in words": b'{"peft_type": "LORA", "r": 4, "rank_pattern": {"q": "4"}}',
    "modules in an object": b'{"peft_type": "LORA", "r": 4, "target_modules": {"a": 1}}',
    "saved modules of numbers": b'{"peft_type": "LORA", "r": 4, "modules_to_save": [1]}',
    "type in a list": b'{"peft_type": ["LORA"], "r": 4, "lora_alpha": 8}',
    "nested": b'{"peft_type": "LORA", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested only": b"[" * 100_000,
    "no text": b'{"peft_type": "\xff"}',
    "large": b'{"peft_type": "LORA", "x": "' + b"a" * 2_000_000 + b'"}',
}
# Three ways to read each letter of a name, and never an end: years in `re`.
SLOW = r"(.|.|.)+[A-Z]"


def base_folder(folder: Path) -> Path:
    """The weights of bundle_support.BASE."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        f"{module}.weight": np.zeros((outputs, inputs), np.float32)
        for module, (inputs, outputs) in LINEAR.items()
    }
    save_file(weights, folder / "model.safetensors")
    return folder


def published(folder: Path, config: bytes | dict[str, Any]) -> Path:
    """An adapter with that adapter_config.json; of a dict: that beside the usual one."""
    if isinstance(config, dict):
        return saved(folder, config)
    saved(folder)
    (folder / "adapter_config.json").write_bytes(config)
    return folder


def renamed(folder: Path, rename: Any) -> Path:
    """An adapter whose tensors have other names, or shapes: `rename` of (name, shape)."""
    saved(folder)
    path = folder / "adapter_model.safetensors"
    found = dict(rename(name, it.shape) for name, it in read_header(path).items())
    save_file({name: np.zeros(shape, np.float32) for name, shape in found.items()}, path)
    return folder


def with_header(path: Path, header: bytes, size: int = 0) -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    return path


def optimized(adapter: Path, model: Path) -> dict[str, Any] | TrainerError:
    """What an OptimizeJob makes of them before it loads anything: the configuration that peft
    will read, or why not."""
    try:
        adapterfit.method_of(adapter, "s3://b/a")
        adapterfit.check(adapter, model, "s3://b/a")
    except TrainerError as error:
        return error
    found: dict[str, Any] = json.loads((adapter / "adapter_config.json").read_bytes())
    return found
