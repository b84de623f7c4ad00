"""Taking a cluster away, even when half of it is missing already."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from . import cgroups, kernel_settings, mounts, network, processes, record, s3, wait
from .layout import Layout, run_root, state_root

CNI_RESULTS = Path("/var/lib/cni/results")
CONTAINER_LOGS = Path("/var/log/containers")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")


def remove(layout: Layout) -> None:
    """Processes first, then what they held: mounts, network, cgroups, files.

    A number of 0 stands for a cluster whose record is gone: its link goes with the
    namespace at the latest.
    """
    for file in layout.pids.glob("*.json"):
        # Nothing may start pods anew while theirs are being ended.
        if process := processes.read(file):
            processes.kill(process)
    # Also what no pid file tells of: containerd's shims, and orphans of an interrupted start.
    processes.kill_all(network.processes_inside(layout))
    processes.kill_all(cgroups.processes(layout.cgroup))
    _remove_shim_sockets(layout)
    mounts.unmount_below(layout.run)
    mounts.unmount_below(layout.state)
    network.remove(layout)
    cgroups.remove(layout.cgroup)
    _remove_traces(layout)
    mounts.remove_folder(layout.run)
    mounts.remove_folder(layout.state)


def _remove_shim_sockets(layout: Layout) -> None:
    """containerd puts them into a folder that all its instances share."""
    for file in (layout.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(file.read_text().removeprefix("unix://")).unlink(missing_ok=True)


def cni_results(network_name: str, files: list[str]) -> list[str]:
    """Those of a network's sandboxes, among all networks' files. Pure.

    They are called NETWORK-SANDBOX-INTERFACE, with 64 hex digits for the sandbox; the
    loopback's network has the same name for every cluster.
    """
    ours = re.compile(rf"{re.escape(network_name)}-([0-9a-f]{{64}})-\w+")
    sandboxes = {match[1] for match in map(ours.fullmatch, files) if match}
    return [file for file in files if any(sandbox in file for sandbox in sandboxes)]


def _remove_traces(layout: Layout) -> None:
    """What components write to fixed places outside their own folders."""
    for socket in s3.sockets(layout.number):
        socket.unlink(missing_ok=True)
    if CNI_RESULTS.exists():
        names = [file.name for file in CNI_RESULTS.iterdir()]
        for name in cni_results(layout.netns, names):
            (CNI_RESULTS / name).unlink(missing_ok=True)
    if CONTAINER_LOGS.exists():
        for link in CONTAINER_LOGS.iterdir():
            with suppress(FileNotFoundError):  # another cluster's, gone meanwhile
                if link.is_symlink() and link.readlink().is_relative_to(layout.state):
                    link.unlink(missing_ok=True)


def remove_shared() -> None:
    """The last cluster takes along what all clusters share."""
    if not record.names():
        kernel_settings.restore()
    socket = DEVICE_PLUGINS / "kubelet.sock"
    if socket.exists() and not wait.answers(f"unix:{socket}"):
        socket.unlink(missing_ok=True)
    shared = [state_root() / "clusters", state_root(), run_root()]
    for folder in (*shared, DEVICE_PLUGINS, DEVICE_PLUGINS.parent, CONTAINER_LOGS):
        # Only an empty folder can be removed so.
        with suppress(OSError):
            folder.rmdir()
