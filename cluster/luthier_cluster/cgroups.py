"""The parent of a node's pod cgroups, in every hierarchy that the machine has.

A kubelet ends every pod cgroup below its root that it doesn't know, so each node has
a root of its own. cgroup v1 has a hierarchy for each controller, v2 a single one; a
hybrid machine has both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .errors import ClusterError
from .mounts import Mount, mount_table

V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")


def hierarchies(table: list[Mount]) -> list[tuple[Path, str]]:
    """(mount point, "cgroup" or "cgroup2") of each hierarchy. Pure."""
    return [(mount.point, mount.kind) for mount in table if mount.kind in ("cgroup", "cgroup2")]


def roots(cgroup: str) -> Iterator[Path]:
    for point, _ in hierarchies(mount_table()):
        yield point / cgroup


def create(cgroup: str) -> None:
    """Makes the cgroup in each hierarchy, ready to have children."""
    found = hierarchies(mount_table())
    only_v2 = all(kind == "cgroup2" for _, kind in found)
    for point, kind in found:
        folder = point / cgroup
        if kind == "cgroup2" and only_v2:
            _delegate(point)
        folder.mkdir(exist_ok=True)
        # A v1 cpuset starts empty, and nothing can run in it then.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if kind == "cgroup" and (folder / setting).exists():
                (folder / setting).write_text((point / setting).read_text())
        if kind == "cgroup2" and only_v2:
            _delegate(folder)


def _delegate(folder: Path) -> None:
    """Hands the controllers that there are on to the children."""
    offered = (folder / "cgroup.controllers").read_text().split()
    for controller in V2_CONTROLLERS:
        if controller not in offered:
            continue
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            raise ClusterError(
                f"cgroup {folder} can't hand on the controller {controller} ({error}): a full "
                "node needs the machine's own cgroup root, or one delegated to it"
            ) from error


def processes(cgroup: str) -> list[int]:
    """Every process in the cgroup or below it: those of the pods."""
    found: set[int] = set()
    for root in roots(cgroup):
        for file in root.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(pid) for pid in file.read_text().split())
    return sorted(found - {0})


def remove(cgroup: str, within: float = 10) -> None:
    """Removes it everywhere, deepest first; `ClusterError` if one stays."""
    deadline = time.monotonic() + within
    for root in roots(cgroup):
        while root.exists():
            try:
                for folder in sorted(_folders(root), key=lambda path: -len(path.parts)):
                    folder.rmdir()
            except OSError as error:
                # The kernel lets go of a killed process's cgroup a moment later.
                if time.monotonic() > deadline:
                    raise ClusterError(f"cgroup {root} can't be removed: {error}") from error
                time.sleep(0.05)


def _folders(root: Path) -> list[Path]:
    return [root, *(path for path in root.rglob("*") if path.is_dir())]
