"""Configuration files of containerd, CNI and the kubelet. Pure."""

from __future__ import annotations

import json

from .images import PAUSE
from .layout import DNS_SERVICE, POD_BRIDGE, POD_NETWORK, Layout

CNI_PLUGINS = "/usr/lib/cni"


def containerd(layout: Layout) -> str:
    """containerd's configuration, version 2 (containerd 2 still reads it).

    Every folder that instances share by default is the cluster's own, the pods' network
    namespaces included. `restrict_oom_score_adj`: lowering the score takes CAP_SYS_RESOURCE,
    which root in a container or sandbox may lack.
    """
    return f"""\
version = 2
root = "{layout.state}/containerd"
state = "{layout.run}/containerd"

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.state}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{layout.config}/cni"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{layout.run}/runc"
        SystemdCgroup = false
"""


def cni(layout: Layout) -> str:
    """A bridge for the pods, addresses by host-local, and host ports."""
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_NETWORK}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(layout.run / "cni"),
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": layout.netns, "plugins": [bridge, ports]})


def kubelet(layout: Layout) -> str:
    """KubeletConfiguration v1beta1. What isn't the default:

    - cgroup v1 and swap are fine here, and the machine's memory belongs to others too: no
      node allocatable is enforced, images are never collected, pods evicted only when the
      machine is nearly full;
    - cgroups, pod logs and sockets are the cluster's own, since a kubelet clears away what
      it doesn't know.
    """
    pki = layout.credentials / "pki"
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{layout.cgroup}",
            "clusterDNS": [DNS_SERVICE],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
            "enforceNodeAllocatable": [],
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "failCgroupV1": False,
            "failSwapOn": False,
            "healthzBindAddress": layout.address,
            "imageGCHighThresholdPercent": 100,
            "localStorageCapacityIsolation": False,
            "oomScoreAdj": 0,
            "podLogsDir": str(layout.state / "pod-logs"),
            # Pods resolve names by the cluster's DNS alone, not by this machine's.
            "resolvConf": "",
            "volumePluginDir": str(layout.state / "kubelet" / "volume-plugins"),
        },
        indent=1,
    )
