"""Locks between processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import ClusterError
from .wait import until


@contextmanager
def locked(file: Path, within: float = 600) -> Iterator[None]:
    """One process at a time; a lock dies with its holder, and its file goes with the lock.

    `ClusterError` if another process still holds it after `within` seconds.
    """
    held = -1

    def take() -> bool:
        nonlocal held
        held = _try(file)
        return held >= 0

    if not until(take, within):
        raise ClusterError(f"another process has held {file} for {within:g} s: wait or end it")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(held)


def _try(file: Path) -> int:
    """The locked file's descriptor, or -1."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Deleted by its last holder meanwhile, it would be a lock that nobody else sees.
        if os.fstat(descriptor).st_ino == file.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return -1
