"""The node of a full cluster: runtime, images, kubelet, services, DNS."""

from __future__ import annotations

import time

from . import cgroups, dns, images, kernel_settings, network, node_config, s3, supervise
from .components import Programs
from .components import node as node_components
from .errors import ClusterError
from .kubectl import run_kubectl
from .layout import DNS_SERVICE, Layout
from .output import step

READY = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"


def bring_up(layout: Layout, programs: Programs) -> None:
    """Up to a Ready node whose pods resolve names."""
    write_config(layout)
    cgroups.create(layout.cgroup)
    kernel_settings.remember()
    # SeaweedFS's inner servers ask nobody for credentials: the gateway alone is for pods.
    network.keep_pods_from(layout, s3.ports(layout.number).values())
    containerd, kubelet, proxy, coredns = node_components(layout, programs)
    supervise.bring_up(layout, [containerd])
    load_own_images(layout, programs)
    apply = ["apply", "--server-side", "--force-conflicts", "--filename=-"]
    run_kubectl(layout.kubeconfig, apply, input=dns.manifests(layout))
    supervise.bring_up(layout, [kubelet, proxy, coredns])
    with step("node ready, services reachable"):
        _await_node(layout)


def write_config(layout: Layout) -> None:
    files = {
        "containerd.toml": node_config.containerd(layout),
        "cni/10-bridge.conflist": node_config.cni(layout),
        "kubelet.json": node_config.kubelet(layout),
        "Corefile": dns.corefile(layout),
    }
    for name, content in files.items():
        file = layout.config / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def load_own_images(layout: Layout, programs: Programs) -> None:
    """The two images that every full node has, unless it has them."""
    assert programs.pause is not None
    with step("images"):
        archives = {
            images.PAUSE: images.pause(programs.pause.read_bytes()),
            images.HOST_ROOT: images.host_root(),
        }
        for tag in archives.keys() - images.loaded(layout):
            file = layout.state / "image.tar"
            file.write_bytes(archives[tag])
            images.load(layout, file)
            file.unlink()


def _await_node(layout: Layout, within: float = 90) -> None:
    """Until the node is Ready and kube-proxy has written the rules for the DNS service.

    A pod that comes before them would fail to resolve its first names.
    """
    deadline = time.monotonic() + within
    get = ["get", "node", layout.name, "--output", READY]
    while True:
        ready = run_kubectl(layout.kubeconfig, get, check=False).stdout == "True"
        if ready and network.service_rules_exist(layout, DNS_SERVICE):
            return
        for name in ("containerd", "kubelet", "kube-proxy"):
            if supervise.running(layout, name) is None:
                raise supervise.failure(layout, name, "has died")
        if time.monotonic() > deadline:
            what = "services have no rules" if ready else "the node isn't Ready"
            culprit = "kube-proxy" if ready else "kubelet"
            raise ClusterError(
                f"{what} after {within:g} s. {supervise.failure(layout, culprit, 'may tell why')}"
            )
        time.sleep(0.2)
