"""Clusters of the tests' own: side by side, interrupted, and gone without a trace."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from clusters import of_run, own
from e2e.pods import apply, pod, succeeded, tenant

from luthier_cluster import Cluster, processes, record, s3, supervise, wait
from luthier_cluster.layout import Layout

ROOT = Path(__file__).parents[2]


def host_firewall() -> str:
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in rules.splitlines() if not line.startswith(("#", ":")))


def traces(layout: Layout) -> list[str]:
    """Whatever on this machine still belongs to a cluster."""
    name = layout.name
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if processes.start_time(int(process.name)) is None:
            continue  # a zombie, about to be reaped
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            belongs = f"/{name}/" in command or f"/luthier-{name}" in command
            if belongs or f"/luthier-{name}/" in (process / "cgroup").read_text():
                found.append(f"process {process.name}: {command[:100]}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if f"/{name}/" in line or f"-{name} " in line]
    folders = [Path("/var/lib/luthier/clusters", name), Path("/run/luthier", name)]
    folders.append(Path("/run/netns", f"luthier-{name}"))
    # Another cluster, of another test run, may have got the number since.
    others = [record.read(other) for other in record.names() if other != name]
    if layout.number not in [other.number for other in others if other]:
        folders += [Path("/sys/class/net", layout.link), *s3.sockets(layout.number)]
    # Directly below each hierarchy's root. No walk: a cgroup that ends meanwhile would break it.
    for pattern in (f"luthier-{name}", f"*/luthier-{name}"):
        folders += Path("/sys/fs/cgroup").glob(pattern)
    found += [str(folder) for folder in folders if folder.exists()]
    for log in Path("/var/log/containers").glob("*"):
        with suppress(FileNotFoundError):  # another cluster's, gone meanwhile
            found += [str(log)] if f"/{name}/" in str(log.readlink()) else []
    found += [str(file) for file in Path("/var/lib/cni/results").glob(f"luthier-{name}-*")]
    return found


def test_two_nodes_side_by_side_keep_their_pods_and_leave_no_trace() -> None:
    firewall = host_firewall()
    clusters = [Cluster(own("left"), "full"), Cluster(own("right"), "full")]
    try:
        for cluster in clusters:
            cluster.up()
            tenant(cluster, "tenant")
            say = f"echo begin {cluster.name}; sleep 60; echo end {cluster.name}"
            for_ever = ["/bin/sh", "-c", "sleep 100000"]
            apply(
                cluster,
                pod("minute", "tenant", ["/bin/sh", "-c", say]),
                pod("for-ever", "tenant", for_ever),
            )
        for cluster in clusters:
            log = succeeded(cluster, "minute", "tenant")
            assert log == f"begin {cluster.name}\nend {cluster.name}\n"
            cluster.kubectl("wait", "pod/for-ever", "--namespace=tenant", "--for=condition=Ready")
            cluster.check()
        was = [cluster.layout for cluster in clusters]
        assert all(traces(one) for one in was)
        sockets = [
            Path(file.read_text().removeprefix("unix://"))
            for cluster in clusters
            for file in cluster.layout.run.glob("containerd/*/*/*/address")
        ]
        assert sockets
        assert all(socket.exists() for socket in sockets)
    finally:
        for cluster in clusters:
            cluster.down()
    assert [traces(one) for one in was] == [[], []]
    assert not any(socket.exists() for socket in sockets)
    assert host_firewall() == firewall


@pytest.mark.parametrize("finished", [True, False], ids=["finished by the next", "taken away"])
def test_an_interrupted_start_is_finished_by_the_next_or_taken_away(
    tmp_path: Path, finished: bool
) -> None:
    name = own("interrupted")
    command = [sys.executable, "-m", "luthier_cluster", "{}", "--name", name]
    up = [word.format("up") for word in command] + ["--flavour", "control-plane"]
    log = tmp_path / "log"
    try:
        with log.open("w") as stream:
            started = subprocess.Popen(up, stderr=stream)
        try:
            await_first(started, lambda: "network, credentials" in log.read_text())
            layout = Cluster(name).layout
            await_first(started, supervise.pid_file(layout, "etcd").exists)
        finally:
            started.kill()
            started.wait(30)
        assert supervise.running(layout, "etcd")
        if finished:
            subprocess.run(up, check=True, timeout=120)
            Cluster(name).check()
    finally:
        subprocess.run([word.format("down") for word in command], check=True, timeout=120)
    assert traces(layout) == []


def test_an_interrupted_test_run_leaves_no_trace(tmp_path: Path) -> None:
    """Ctrl-C while its two workers have a control plane each."""
    files = ["tests/contract/test_crds.py", "tests/contract/test_accepted.py"]
    words = [*files, "-n2", f"--basetemp={tmp_path / 'run'}", "-pno:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            stdout=log, stderr=log, cwd=ROOT, env=environment, start_new_session=True,
        )  # fmt: skip

    def layouts() -> list[Layout]:
        return [Cluster(name).layout for name in of_run(str(run.pid), record.names())]

    def both_up() -> bool:
        found = layouts()
        servers = [supervise.pid_file(each, "kube-apiserver").exists() for each in found]
        return servers == [True, True]

    try:
        await_first(run, both_up)
        was = layouts()
        assert all(traces(each) for each in was)
    finally:
        os.killpg(run.pid, signal.SIGINT)
        code = run.wait(120)
    assert code == pytest.ExitCode.INTERRUPTED, (tmp_path / "log").read_text()
    assert layouts() == []
    assert [traces(each) for each in was] == [[], []]


def await_first(process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Until `holds()`, before the process ends. The machine's first start builds programs."""
    assert wait.until(lambda: holds() or process.poll() is not None, 300, every=0.02)
    assert process.poll() is None
