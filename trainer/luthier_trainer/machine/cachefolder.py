"""A cache folder that pods share: who writes an entry holds its lock, and whatever lies where the
entry is to be goes away first.

What uses it writes an entry beside its place and renames it there, so that there is never half of
one: pods may be killed at any moment.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK_SECONDS = 3600


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """The lock file, which is followed nowhere, and held. Raises TimeoutError where another pod
    has been at it for an hour: `what` says at what."""
    descriptor = _open(path)
    try:
        _acquire(descriptor, what)
        yield
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """A file, a link (not what it leads to), or a folder with all in it; or nothing."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def unless_locked(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock, which is held then."""
    descriptor = _open(path)
    try:
        yield _take(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    path.unlink(missing_ok=True)
    return os.open(path, flags, 0o666)


def _acquire(descriptor: int, what: str) -> None:
    """Wait for the lock in steps that a signal can interrupt."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while not _take(descriptor):
        if time.monotonic() > deadline:
            raise TimeoutError(f"another pod has been {what} for 1 h")
        time.sleep(0.2)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
