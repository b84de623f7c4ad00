"""Memory: how much there is, how much is in use, and the most that was."""

import contextlib
import os
from pathlib import Path

import torch

from luthier_trainer.machine.device import on_gpu
from luthier_trainer.machine.runtime import has_tcmalloc, peak_resident_bytes, resident_bytes

_CGROUP = Path("/sys/fs/cgroup")
# cgroup v1 says "no limit" with a number near 2^63.
_NO_LIMIT = 1 << 60
# glibc fits no tensor into the hole of another one of its size (measured: 1.3 to 1.6).
_GLIBC = 1.4


def limit_bytes(given: int | None = None, cgroup: Path = _CGROUP) -> int:
    """What a training may use: the GPU's memory, but for what the driver and other processes
    hold; else machine_bytes."""
    if on_gpu():
        free, _ = torch.cuda.mem_get_info()
        return int(free + torch.cuda.memory_reserved())
    return machine_bytes(given, cgroup)


def machine_bytes(given: int | None = None, cgroup: Path = _CGROUP) -> int:
    """What this process may use of the machine's memory: `given`, or the cgroup's limit, or all."""
    found: list[int | None] = [given] if given else [_number(cgroup / "memory.max")]
    found.append(_number(cgroup / "memory/memory.limit_in_bytes"))
    found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(number for number in found if number)


def reset_peak() -> None:
    """Count the peak from now on."""
    if on_gpu():
        torch.cuda.reset_peak_memory_stats()
        return
    # Where it isn't allowed, the peak is the one since the process began.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most that was in use: on the GPU where there is one, else by this process."""
    if on_gpu():
        return int(torch.cuda.max_memory_allocated())
    return peak_resident_bytes()


def used_bytes() -> int:
    """In use now: on the GPU where there is one, else by this process."""
    if on_gpu():
        return int(torch.cuda.memory_allocated())
    return resident_bytes()


def heap_per_tensor() -> float:
    """Bytes that the allocator takes for a byte of activations."""
    return 1.0 if on_gpu() or has_tcmalloc() else _GLIBC


def _number(path: Path) -> int | None:
    try:
        value = int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None
    return value if value < _NO_LIMIT else None
