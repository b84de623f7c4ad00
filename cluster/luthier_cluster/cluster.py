"""A cluster on this machine: up, down, and a hand on each of its components."""

from __future__ import annotations

import os
import signal as signals
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from . import (
    access,
    binaries,
    certificates,
    images,
    network,
    node,
    packages,
    processes,
    s3,
    supervise,
    teardown,
)
from . import layout as layouts
from . import record as records
from .components import Programs, control_plane, names
from .components import node as node_components
from .errors import ClusterError
from .external import ExternalCluster
from .kubectl import run_kubectl
from .layout import Layout
from .locks import locked
from .output import say, step
from .record import Record


class Cluster:
    """One cluster, by name. Nothing is started before `up`.

    As a context manager it is up inside the block and gone after it. Attributes that depend
    on the cluster's number (`address`, `s3_endpoint`, `kubeconfig`, …) raise `ClusterError`
    before the first `up`.
    """

    is_external = False

    def __init__(self, name: str, flavour: str = "full") -> None:
        """`ValueError` for a name that can't be one, or a flavour that isn't in FLAVOURS."""
        if flavour not in records.FLAVOURS:
            raise ValueError(f"flavour {flavour!r}: use one of {', '.join(records.FLAVOURS)}")
        self.name = layouts.check_name(name)
        self._flavour = flavour

    @staticmethod
    def external() -> ExternalCluster | None:
        """The cluster that CLUSTER_KUBECONFIG names, or None where it names none.

        The ambient KUBECONFIG is never looked at.
        """
        return ExternalCluster.from_environment(os.environ)

    def __enter__(self) -> Cluster:
        try:
            self.up()
        except BaseException:
            # The error carries the log's last lines; nobody else would take it down.
            self.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # What it is

    @property
    def flavour(self) -> str:
        known = records.read(self.name)
        return known.flavour if known else self._flavour

    @property
    def layout(self) -> Layout:
        return Layout(self.name, self._record.number)

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    @property
    def address(self) -> str:
        return self.layout.address

    @property
    def s3_endpoint(self) -> str:
        """Reachable from this machine and from the pods."""
        return self.layout.s3_endpoint

    @property
    def s3_access_key(self) -> str:
        return self._record.s3_access_key

    @property
    def s3_secret_key(self) -> str:
        return self._record.s3_secret_key

    @property
    def components(self) -> tuple[str, ...]:
        """The names of its components, in the order in which they start."""
        return names(self.flavour)

    # Up and down

    def up(self) -> None:
        """Starts what doesn't run and waits until all of it works.

        Reuses what runs, starts anew what died or has changed. Interrupted or failed, it
        leaves what runs running: the next `up` goes on, `down` cleans up. Raises
        `ComponentError` with the last lines of the log of a component that dies or doesn't
        get ready, `CommandError` where a program, package or build is lacking.
        """
        _require_root()
        # Slow the first time, and nothing of the cluster's yet: so outside its lock.
        packages.ensure(self._wanted)
        programs = _programs(self._wanted)
        with self._locked():
            record = records.reserve(self.name, self._flavour)
            layout = self.layout
            say(f"cluster {self.name} ({record.flavour}) at {layout.address}")
            self._prepare(layout, record)
            plane = control_plane(layout, programs)
            supervise.bring_up(layout, plane[:3])
            supervise.bring_up(layout, plane[3:])
            if record.flavour == "full":
                node.bring_up(layout, programs)

    def _prepare(self, layout: Layout, record: Record) -> None:
        with step("network, credentials"):
            layout.run.mkdir(parents=True, exist_ok=True)
            network.create(layout)
            certificates.create(layout)
            access.create(layout, record)
            table = s3.identities(record.s3_access_key, record.s3_secret_key)
            records.write_private(layout.config / "s3.json", table)
            (layout.state / "s3").mkdir(exist_ok=True)

    def down(self) -> None:
        """Takes it down with all it holds, as far as it is there; no pod gets a farewell."""
        _require_root()
        with self._locked():
            known = records.read(self.name)
            with step(f"cluster {self.name} down"):
                teardown.remove(Layout(self.name, known.number if known else 0))
        teardown.remove_shared()

    # One component

    def pid(self, component: str) -> int | None:
        """Its process id, or None while it doesn't run."""
        process = supervise.running(self.layout, self._checked(component))
        return process.pid if process else None

    def start(self, component: str) -> None:
        """Starts it, if it doesn't run, and waits until it works."""
        layout, programs = self.layout, _programs(self.flavour)
        known = [*control_plane(layout, programs), *node_components(layout, programs)]
        chosen = known[names("full").index(self._checked(component))]
        supervise.start(layout, chosen)
        supervise.await_ready(layout, chosen)

    def stop(self, component: str) -> None:
        """Ends it as an administrator would: SIGTERM, after ten seconds SIGKILL."""
        process = supervise.running(self.layout, self._checked(component))
        if process is not None:
            processes.stop(process)

    def kill(self, component: str, signal: int = signals.SIGKILL) -> None:
        """Sends it a signal; after SIGKILL, waits until it is gone. It isn't started again.

        `ClusterError` if it doesn't run: a fault that hits nothing proves nothing.
        """
        process = supervise.running(self.layout, self._checked(component))
        if process is None:
            raise ClusterError(f"{component} of cluster {self.name} doesn't run")
        if signal == signals.SIGKILL:
            processes.kill(process)
        else:
            processes.send(process, signal)

    def logs(self, component: str, lines: int = 50) -> str:
        """The last lines of its log."""
        log = supervise.log_file(self.layout, self._checked(component))
        return processes.tail(log, lines)

    def check(self) -> None:
        """`ComponentError` for the first component that doesn't run."""
        for component in self.components:
            if self.pid(component) is None:
                raise supervise.failure(self.layout, component, "doesn't run")

    # At work

    def import_image(self, archive: Path) -> None:
        """Brings a docker-archive (`buildah push`, `docker save`) to the node under its tag.

        Pods use it with imagePullPolicy Never or IfNotPresent.
        """
        if self.flavour != "full":
            raise ClusterError(f"cluster {self.name} has no node: bring it up with flavour full")
        images.load(self.layout, archive)

    def kubectl(
        self, *arguments: str, input: str | None = None, within: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """kubectl as the administrator. `ClusterError` with its message if it fails."""
        return run_kubectl(self.kubeconfig, arguments, input=input, within=within, check=check)

    # Inside

    @property
    def _record(self) -> Record:
        known = records.read(self.name)
        if known is None:
            raise ClusterError(
                f"there is no cluster {self.name}: "
                f"`python -m luthier_cluster up --name {self.name}`"
            )
        return known

    def _locked(self) -> AbstractContextManager[None]:
        return locked(layouts.lock(self.name))

    @property
    def _wanted(self) -> str:
        """The flavour after the next `up`: a full cluster stays full."""
        return "full" if "full" in (self._flavour, self.flavour) else self._flavour

    def _checked(self, component: str) -> str:
        if component not in self.components:
            known = ", ".join(self.components)
            raise ClusterError(f"no component {component!r} in {self.name}: use one of {known}")
        return component


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("a cluster needs root: network namespaces, mounts, cgroups")


def _programs(flavour: str) -> Programs:
    """The flavour's programs, built if need be."""
    kubernetes = binaries.ensure(binaries.KUBERNETES)
    if flavour != "full":
        return Programs(kubernetes, s3.program())
    coredns, pause = binaries.ensure(binaries.COREDNS), binaries.ensure(binaries.PAUSE)
    return Programs(kubernetes, s3.program(), coredns, pause)
