"""Each component's command line and health endpoint, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import s3
from .layout import API_PORT, POD_NETWORK, SERVICE_NETWORK, Layout

ISSUER = "https://kubernetes.default.svc.cluster.local"
CONTROL_PLANE = ("etcd", "s3", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("containerd", "kubelet", "kube-proxy", "coredns")
# With the default of 20 writes a second, a controller is what every measurement would measure.
PACE = ("--kube-api-qps=500", "--kube-api-burst=1000")


def names(flavour: str) -> tuple[str, ...]:
    """The components of a flavour, in the order in which they start."""
    return CONTROL_PLANE + (NODE if flavour == "full" else ())


@dataclass(frozen=True)
class Component:
    """`health` answers 200 (http, https) or is listened on (unix:) once it works.

    `within` is the longest wait for that, in seconds: generous, for a busy machine. Where
    an answer isn't proof enough, `also` has to hold.
    """

    name: str
    command: tuple[str, ...]
    health: str
    within: float = 60
    also: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Programs:
    """The files of the built programs; the last two only a full node needs."""

    kubernetes: Path
    weed: Path
    coredns: Path | None = None
    pause: Path | None = None


def control_plane(layout: Layout, programs: Programs) -> list[Component]:
    """The components of CONTROL_PLANE."""
    return [
        _etcd(layout, programs),
        Component(
            "s3",
            s3.command(layout, programs.weed, layout.config / "s3.json"),
            f"{layout.s3_endpoint}/healthz",
            also=lambda: s3.finds_its_volumes(layout),
        ),
        _api_server(layout, programs),
        _controller_manager(layout, programs),
        _scheduler(layout, programs),
    ]


def node(layout: Layout, programs: Programs) -> list[Component]:
    """The components of NODE."""
    return [
        Component(
            "containerd",
            ("containerd", "--config", str(layout.config / "containerd.toml")),
            f"unix:{layout.containerd_socket}",
        ),
        _kubelet(layout, programs),
        _proxy(layout, programs),
        Component(
            "coredns",
            (str(programs.coredns), "-conf", str(layout.config / "Corefile")),
            f"http://{layout.address}:8181/ready",
        ),
    ]


def _etcd(layout: Layout, programs: Programs) -> Component:
    return Component(
        "etcd",
        (
            str(programs.kubernetes),
            "etcd",
            f"--data-dir={layout.state / 'etcd'}",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            f"--listen-metrics-urls=http://{layout.address}:2381",
            # The state of a cluster for demos and tests may be lost with the machine's power.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        f"http://{layout.address}:2381/readyz",
    )


def _api_server(layout: Layout, programs: Programs) -> Component:
    pki = layout.credentials / "pki"
    return Component(
        "kube-apiserver",
        (
            str(programs.kubernetes),
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--secure-port={API_PORT}",
            f"--advertise-address={layout.address}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--token-auth-file={layout.credentials / 'tokens.csv'}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={pki / 'sa.pub'}",
            f"--service-account-signing-key-file={pki / 'sa.key'}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            "--profiling=false",
        ),
        f"{layout.api_server}/readyz",
        within=90,
    )


def _controller_manager(layout: Layout, programs: Programs) -> Component:
    kubeconfig = layout.component_kubeconfig("kube-controller-manager")
    pki = layout.credentials / "pki"
    return Component(
        "kube-controller-manager",
        (
            str(programs.kubernetes),
            "kube-controller-manager",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'sa.key'}",
            "--use-service-account-credentials=true",
            f"--cluster-cidr={POD_NETWORK}",
            *PACE,
            # How soon a claim that came before its volume is looked at again; 15 s by default.
            "--pvclaimbinder-sync-period=1s",
            "--leader-elect=false",
            "--profiling=false",
        ),
        f"https://{layout.address}:10257/healthz",
    )


def _scheduler(layout: Layout, programs: Programs) -> Component:
    kubeconfig = layout.component_kubeconfig("kube-scheduler")
    return Component(
        "kube-scheduler",
        (
            str(programs.kubernetes),
            "kube-scheduler",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            *PACE,
            "--leader-elect=false",
            "--profiling=false",
        ),
        f"https://{layout.address}:10259/healthz",
    )


def _kubelet(layout: Layout, programs: Programs) -> Component:
    return Component(
        "kubelet",
        (
            str(programs.kubernetes),
            "kubelet",
            f"--config={layout.config / 'kubelet.json'}",
            f"--kubeconfig={layout.component_kubeconfig('kubelet')}",
            f"--root-dir={layout.state / 'kubelet'}",
            f"--cert-dir={layout.state / 'kubelet' / 'pki'}",
            f"--hostname-override={layout.name}",
            f"--node-ip={layout.address}",
        ),
        f"http://{layout.address}:10248/healthz",
    )


def _proxy(layout: Layout, programs: Programs) -> Component:
    return Component(
        "kube-proxy",
        (
            str(programs.kubernetes),
            "kube-proxy",
            f"--kubeconfig={layout.component_kubeconfig('kube-proxy')}",
            f"--hostname-override={layout.name}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_NETWORK}",
            # The table's size is the whole machine's, not the namespace's.
            "--conntrack-max-per-core=0",
            f"--healthz-bind-address={layout.address}:10256",
        ),
        f"http://{layout.address}:10256/livez",
    )
