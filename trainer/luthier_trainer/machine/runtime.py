"""The process: allocator, threads, offline mode, and what must not be imported."""

import gc
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from luthier_trainer import credentials
from luthier_trainer.machine import device

# Tensors of a few MB are allocated and freed all the time: what was freed is kept, or the kernel
# would have it back, and fault it in again, each time. Into the hole of an aligned tensor glibc
# (before 2.38) fits no other of its size, so that activations take half as much again (6.1 GB
# where tcmalloc takes 4.1): it is for machines without tcmalloc.
_TCMALLOC = {
    "TCMALLOC_RELEASE_RATE": "0",
    "TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD": str(1 << 60),  # it would log what weights take
}
_GLIBC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_TOP_PAD_": "268435456",
}
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
_QUIET = {"PYTHONWARNINGS": "ignore::FutureWarning,ignore::DeprecationWarning"}
# Threads that wait for work spin for some 20 µs, then sleep. libgomp's default (to spin for
# milliseconds) is fast on an idle node, and many times slower on one shared with other pods.
_THREADS = {"GOMP_SPINCOUNT": "20000"}
# Optional packages that transformers, peft and accelerate import when they find them.
_UNUSED = (
    "bitsandbytes",
    "datasets",
    "deepspeed",
    "pandas",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorboardX",
    "torchvision",
    "wandb",
)
_CGROUP = Path("/sys/fs/cgroup")
_LIBRARIES = Path("/usr")
# What the settings of the allocator are called, for programs that are to have the default.
ALLOCATOR = ("LD_PRELOAD", *_TCMALLOC, *_GLIBC)


def restart_with_settings(scratch_dir: str, gpus: int = 0, *, apart: bool = False) -> None:
    """Execute this process anew (same pid) with the settings that are read at its start.
    `apart`: and with its credentials out of the environment (credentials.py)."""
    wanted = settings(scratch_dir, gpus)
    apart = apart and bool(credentials.in_environment())
    if not apart and all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    environment = {**os.environ, **wanted}
    if apart:
        environment = credentials.without_credentials(environment)
    os.execve(  # noqa: S606 - the same program
        sys.executable, [sys.executable, *sys.orig_argv[1:]], environment
    )


def settings(scratch_dir: str, gpus: int = 0) -> dict[str, str]:
    """Of the environment, for a process that trains."""
    return {
        **device.visible(gpus),
        **allocator(),
        **_OFFLINE,
        **_QUIET,
        **_THREADS,
        "OMP_NUM_THREADS": str(threads()),
        "RAYON_NUM_THREADS": os.environ.get("RAYON_NUM_THREADS", str(threads())),  # of tokenizers
        "HF_HOME": f"{scratch_dir}/huggingface",
        "MPLCONFIGDIR": f"{scratch_dir}/matplotlib",
    }


def allocator(usr: Path = _LIBRARIES) -> dict[str, str]:
    """Settings of the best one that is there. What is preloaded stays: only glibc reads its own."""
    if os.environ.get("LD_PRELOAD"):
        return {} if has_tcmalloc() else _GLIBC
    places = ("lib/*-linux-gnu", "lib64", "lib")
    found = [path for place in places for path in usr.glob(f"{place}/libtcmalloc_minimal.so.4")]
    return {"LD_PRELOAD": str(found[0]), **_TCMALLOC} if found else _GLIBC


def has_tcmalloc() -> bool:
    """Whether this process allocates by it."""
    return "tcmalloc" in os.environ.get("LD_PRELOAD", "")


def hide_unused_packages() -> None:
    """Importing them costs seconds; a name that is None in sys.modules isn't found.

    Not once transformers is imported, as by a user's code: it remembers which are there, and fails
    at what it doesn't find then.
    """
    if "transformers" in sys.modules:
        return
    _hide(_UNUSED)


@contextmanager
def all_packages() -> Iterator[None]:
    """Within it none is hidden: for code of the user's, which may import what it likes."""
    hidden = [name for name in _UNUSED if sys.modules.get(name, ...) is None]
    for name in hidden:
        del sys.modules[name]
    try:
        yield
    finally:
        _hide(hidden)


def _hide(names: Iterable[str]) -> None:
    for name in names:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def collect_rarely() -> None:
    """Look for garbage in cycles a hundred times less often than Python does.

    Importing torch, transformers and peft makes a million objects that all stay, and a fifth of
    the time that it takes went into looking at them (8.0 CPU seconds, 6.3 with this). What isn't
    in a cycle, tensors among it, is freed at once as ever.
    """
    gc.set_threshold(100_000, 50, 50)


def threads() -> int:
    """That compute beside each other: what the environment says (a pool's `env`), or a CPU each."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else cpu_limit()


def cpu_limit(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process may use: its affinity, or its cgroup's quota if that is less."""
    available = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, min(available, round(quota))) if quota else available


def _quota_v2(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(cgroup: Path) -> float | None:
    try:
        quota = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        period = int((cgroup / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None


def cpu_has_fast_bf16(cpuinfo: str | None = None) -> bool:
    """Whether the CPU multiplies bfloat16 faster than fp32: by AMX, or by AMD's AVX512-BF16.

    Intel's AVX512-BF16 has one unit where fp32 has two: without AMX (which many virtual machines
    hide) bf16 is half as fast there (measured: 157 against 309 GFLOP/s).
    """
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            return False
    lines = dict(re.findall(r"^(flags|vendor_id)\s*: (.*)$", cpuinfo, re.MULTILINE))
    flags = lines.get("flags", "").split()
    return "amx_bf16" in flags or (
        "avx512_bf16" in flags and lines.get("vendor_id") == "AuthenticAMD"
    )


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes() -> int:
    """The most resident memory that this process has had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def cpu_seconds() -> float:
    """CPU time of this process, all threads, and of the processes that it waited for."""
    return sum(os.times()[:4])
