"""The kernel settings that a kubelet changes for the whole machine, kept and given back."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from .layout import run_root

# k8s.io/component-helpers, node/util/sysctl: what the kubelet sets when it starts.
NAMES = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


def _file() -> Path:
    # Gone after a reboot, as the settings are.
    return run_root() / "kernel-settings.json"


def remember() -> None:
    """Notes the settings, unless a cluster has done so before."""
    if _file().exists():
        return
    settings = {name: _read(name) for name in NAMES if Path("/proc/sys", name).exists()}
    half = _file().with_suffix(".half")
    half.write_text(json.dumps(settings))
    half.rename(_file())


def restore() -> None:
    """Sets what was noted, if anything was."""
    if not _file().exists():
        return
    for name, value in json.loads(_file().read_text()).items():
        # Some are read-only in a container; then the kubelet hasn't changed them either.
        with suppress(OSError):
            if _read(name) != value:
                Path("/proc/sys", name).write_text(value)
    _file().unlink()


def _read(name: str) -> str:
    return Path("/proc/sys", name).read_text().strip()
