"""The machine's mounts, and taking away those below a folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from .commands import CommandError, run
from .errors import ClusterError


@dataclass(frozen=True)
class Mount:
    point: Path
    kind: str


def parse(mountinfo: str) -> list[Mount]:
    """proc(5) mountinfo: the fifth field is the mount point, octal escapes for blanks;
    the type is the first field after the lone dash."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])
        found.append(Mount(Path(point), after.split()[0]))
    return found


def mount_table() -> list[Mount]:
    return parse(Path("/proc/self/mountinfo").read_text())


def below(folder: Path) -> list[Path]:
    """Mount points in the folder, the latest (so the topmost) first."""
    folder = folder.resolve()
    return [mount.point for mount in reversed(mount_table()) if mount.point.is_relative_to(folder)]


def unmount_below(folder: Path) -> None:
    for point in below(folder):
        try:
            run(["umount", point])
        except CommandError:
            run(["umount", "--lazy", point])


def remove_folder(folder: Path) -> None:
    """Unmounts what is mounted below, then deletes.

    Refuses to delete while anything is still mounted there: a pod's mount of a folder
    of this machine would be emptied with it.
    """
    unmount_below(folder)
    if left := below(folder):
        raise ClusterError(f"{left[0]} is still mounted: unmount it, then `down` again")
    if folder.exists():
        shutil.rmtree(folder)
