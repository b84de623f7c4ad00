"""A real Kubernetes and an S3 on one bare machine, without Docker and without a registry.

For the demo and the tests. It needs root, a Debian, and Go; the rest it sets up itself.

    python -m luthier_cluster up                    # cluster "demo": 10 s once all is built
    eval "$(python -m luthier_cluster env)"         # kubectl, helm, KUBECONFIG, AWS_*
    python -m luthier_cluster status
    python -m luthier_cluster logs kubelet
    python -m luthier_cluster down                  # leaves nothing behind

`up` may be repeated (it starts what doesn't run) and interrupted. Two flavours: `full`, and
`control-plane`, which has no node and is up in four seconds. From Python:

    with Cluster("t-1", "control-plane") as cluster:
        cluster.kubectl("apply", "--filename=-", input=manifest)
        cluster.kill("kube-apiserver")
        cluster.start("kube-apiserver")

How it works
    No package registry serves Kubernetes built, but the Go module proxy serves its modules:
    `cluster/binaries/` has a small `main` for the components (one binary), for CoreDNS, and
    for the pods' pause process; `binaries.py` builds them once into ~/.cache/luthier
    (LUTHIER_CACHE). containerd and runc are Debian's; S3 is SeaweedFS from the environment.

    Each cluster lives in a network namespace of its own, joined to the machine by one link:
    the node is 10.89.N.2, the machine 10.89.N.1. So clusters stand side by side with the same
    ports, the machine's iptables stay untouched, and nothing in a cluster reaches the outside.
    Network namespaces don't separate cgroups, mounts or folders: those are named after the
    cluster. State lies in /var/lib/luthier/clusters/NAME (LUTHIER_STATE/clusters/NAME),
    sockets and mounts in /run/luthier/NAME.

    Images come without a registry: `Cluster.import_image` takes a docker-archive, and
    `host_files.py` lets pods run the machine's own Python environment.

Beside it, where tests and benchmarks ask for them: `kueue.install(cluster)` on a full node,
`kwok.start(cluster)` with nodes that only seem to be there.

What it isn't
    Production: etcd doesn't sync to disk, tokens are static, NetworkPolicies are accepted and
    not enforced, and `down` ends pods without a farewell.

Another cluster (`Cluster.external()`) is used only when CLUSTER_KUBECONFIG names it.
"""

from .cluster import Cluster
from .commands import CommandError
from .errors import ClusterError, ComponentError
from .external import ExternalCluster

__all__ = ["Cluster", "ClusterError", "CommandError", "ComponentError", "ExternalCluster"]
