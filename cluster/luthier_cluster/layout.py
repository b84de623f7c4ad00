"""Where everything of one cluster lies: folders, addresses, links, cgroups. Pure."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")

POD_BRIDGE = "cni0"
POD_NETWORK = "10.244.0.0/16"
SERVICE_NETWORK = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
API_PORT = 6443
S3_PORT = 8333
DNS_PORT = 5353


def state_root() -> Path:
    """State that outlives a reboot: credentials, etcd's and S3's data, images."""
    return Path(os.environ.get("LUTHIER_STATE", "/var/lib/luthier"))


def run_root() -> Path:
    """Sockets and mounts. Short on purpose: a Unix socket's path ends at 107 bytes."""
    return Path("/run/luthier")


def lock(name: str) -> Path:
    """The file that processes at work on the same cluster exclude each other by."""
    return Path("/run/lock") / f"luthier {name}"


def cache_root() -> Path:
    """Built binaries, shared by all clusters and checkouts."""
    return Path(os.environ.get("LUTHIER_CACHE", "~/.cache/luthier")).expanduser()


def check_name(name: str) -> str:
    """The name itself; `ValueError` unless it can name a node, a link and a folder."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"cluster name {name!r}: use 1 to 32 of a-z, 0-9 and '-', neither starting "
            "nor ending with '-'"
        )
    return name


@dataclass(frozen=True)
class Layout:
    """A cluster's name and number; all else follows from the two.

    `number` (1 to 254) tells apart the addresses of clusters that run side by side.
    """

    name: str
    number: int

    @property
    def address(self) -> str:
        """The node's address: the API server's, S3's and the cluster DNS's."""
        return f"10.89.{self.number}.2"

    @property
    def gateway(self) -> str:
        """This machine's end of the link to the node."""
        return f"10.89.{self.number}.1"

    @property
    def link(self) -> str:
        """The machine's link to the node (at most 15 characters)."""
        return f"luthier{self.number}"

    @property
    def netns(self) -> str:
        return f"luthier-{self.name}"

    @property
    def netns_file(self) -> Path:
        return Path("/run/netns") / self.netns

    @property
    def cgroup(self) -> str:
        """The parent of the pods' cgroups, below the root of each hierarchy."""
        return f"luthier-{self.name}"

    @property
    def api_server(self) -> str:
        return f"https://{self.address}:{API_PORT}"

    @property
    def s3_endpoint(self) -> str:
        return f"http://{self.address}:{S3_PORT}"

    @property
    def state(self) -> Path:
        return state_root() / "clusters" / self.name

    @property
    def run(self) -> Path:
        return run_root() / self.name

    @property
    def credentials(self) -> Path:
        return self.state / "credentials"

    @property
    def kubeconfig(self) -> Path:
        """The cluster administrator's."""
        return self.component_kubeconfig("admin")

    def component_kubeconfig(self, component: str) -> Path:
        return self.credentials / f"{component}.kubeconfig"

    @property
    def config(self) -> Path:
        """Generated configuration files of the components."""
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        return self.run / "pids"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"
