"""Files in folders that others fill: claims, folders of the platform, caches.

A link there may lead anywhere in this pod, to its environment say, and a pipe hangs whoever opens
it. So links are followed only within the folders that may be read, as the kubelet's own are, and
nothing but plain files is opened. A hard link can't be told from a file.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError


def confined(path: Path, within: Sequence[Path] | None, param: str) -> Path:
    """The path with all its links followed. Raises TrainerError (PathEscapes) where that leads
    out of all of `within`, which are resolved themselves; None: it may lead anywhere."""
    real = Path(os.path.realpath(path))
    if within is None or any(real.is_relative_to(folder) for folder in within):
        return real
    raise TrainerError(
        ExitCode.DENIED,
        "PathEscapes",
        f"{path}: a link leads out of {' and '.join(map(str, within)) or 'every folder'}; put the "
        "file itself there",
        param,
    )


def require_file(path: Path, param: str) -> None:
    """Raises TrainerError (NotAFile) for a pipe, a socket or a device, FileNotFoundError where
    nothing is."""
    _check_mode(path.stat().st_mode, path, param)


def open_file(path: Path, param: str) -> IO[bytes]:
    """Open a plain file, and never wait for one. Raises as require_file, and TrainerError
    (FileDenied)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise TrainerError(
            ExitCode.DENIED,
            "FileDenied",
            f"{path}: the run may not read it; make it readable for its user or group",
            param,
        ) from error
    except OSError as error:
        if not stat.S_ISSOCK(_mode(path)):  # a socket can't be opened at all
            raise
        raise _no_file(path, "a socket", param) from error
    try:
        _check_mode(os.fstat(descriptor).st_mode, path, param)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_tree(root: Path, within: Sequence[Path] | None, param: str) -> None:
    """Check every name below a folder that a library reads by itself, also below what its links
    lead to. Raises TrainerError (PathEscapes, NotAFile)."""
    seen = {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, followlinks=within is not None):
        for name in folders:
            if Path(folder, name).is_symlink():
                confined(Path(folder, name), within, param)
        for name in names:
            check_entry(Path(folder, name), within, param)
        folders[:] = [name for name in folders if _is_new(Path(folder, name), seen)]


def _is_new(folder: Path, seen: set[str]) -> bool:
    """Whether it wasn't seen yet: links may lead in a circle."""
    real = os.path.realpath(folder)
    new = real not in seen
    seen.add(real)
    return new


def check_entry(path: Path, within: Sequence[Path] | None, param: str) -> os.stat_result | None:
    """What a name in a folder is; None: a link to nothing. Raises as check_tree."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            found = confined(path, within, param).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        return None  # links in a circle
    _check_mode(found.st_mode, path, param)
    return found


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _check_mode(mode: int, path: Path, param: str) -> None:
    if kind := _KINDS.get(stat.S_IFMT(mode)):
        raise _no_file(path, kind, param)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(path)


def _no_file(path: Path, kind: str, param: str) -> TrainerError:
    return TrainerError(
        ExitCode.DENIED, "NotAFile", f"{path} is {kind}, and is never opened; remove it", param
    )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
