"""What a result depends on to the bit, beside spec and data."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
import transformers

from luthier_trainer.machine import device
from luthier_trainer.versions import installed

_WORDS = {
    "device": "the processor",
    "instructions": "the processor's instructions",
    "threads": "the number of threads",
    "torch": "the version of torch",
    "transformers": "the version of transformers",
    "luthier": "the version of Luthier",
    "peft": "the version of peft",
    "bitsandbytes": "the version of bitsandbytes",
    "precision": "the precision",
    "processes": "the number of processes",
    "batchSize": "the batch size",
    "gradientCheckpointing": "gradient checkpointing",
    "packing": "packing",
    "lengths": "the lengths that batches are made by",
}
_PACKAGES = ("luthier", "peft", "bitsandbytes")


def environment(precision: str, processes: int, settings: Mapping[str, str]) -> dict[str, str]:
    """Processor, threads, versions, and what `auto` came to. `processes`: that train together."""
    return {
        "device": torch.cuda.get_device_name() if device.on_gpu() else _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **installed(_PACKAGES),
        "precision": precision,
        "processes": str(processes),
        **settings,
    }


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Why going on differs from never having stopped; None where it doesn't."""
    # Luthier's was not always noted, and the order of batches may be another since.
    before = {"luthier": "an unknown one", **before}
    changed = [
        f"{_WORDS.get(name, name)} ({before[name]} before, {now[name]} now)"
        for name in before
        if name in now and before[name] != now[name]
    ]
    if not changed:
        return None
    text = f"{', '.join(changed)} changed since the checkpoint: the result may differ a little"
    return text[:300]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return os.uname().machine
