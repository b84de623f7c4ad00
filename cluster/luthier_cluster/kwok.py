"""Simulated nodes beside a cluster, whose pods run as long as they are told: kwok as a process.

Their taint keeps everybody else's pods away. A pod of a FineTuneJob ends with the result that a
trainer would leave; any other pod of a Job just ends well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from . import binaries, processes, supervise, wait
from .cluster import Cluster
from .components import Component
from .errors import ClusterError
from .layout import Layout
from .output import step

NAME = "kwok"
PORT = 10247
# A node's label and taint; pools of simulated nodes select the one and bear the other.
SIMULATED = "luthier.dev/simulated"
TOLERATION = {"key": SIMULATED, "operator": "Exists", "effect": "NoSchedule"}
# A pod with this annotation ends well at once, where pods don't end by themselves.
END = "luthier.dev/simulated-end"

Json = dict[str, Any]

_NODES = {"apiGroup": "v1", "kind": "Node"}
_PODS = {"apiGroup": "v1", "kind": "Pod"}
_NOT_DELETED = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}


def start(
    cluster: Cluster, nodes: int = 1, gpus: int = 8, seconds: float | None = 1.0
) -> list[str]:
    """So many nodes with so many GPUs each; their names. Can be repeated with other numbers.

    A Job's pod ends after `seconds`; None: when it is given the annotation END. `down` of the
    cluster ends kwok, too.
    """
    layout = cluster.layout
    # Another name for other times: kwok reads it when it starts, and is started anew for it.
    file = layout.config / f"kwok-{'told' if seconds is None else seconds}.yaml"
    file.write_text(configuration(layout, seconds))
    process = Component(
        NAME,
        (
            str(binaries.ensure(binaries.KWOK)),
            f"--config={file}",
            f"--kubeconfig={layout.kubeconfig}",
        ),
        f"http://{layout.address}:{PORT}/healthz",
    )
    made = [node(number, gpus) for number in range(nodes)]
    names = [str(one["metadata"]["name"]) for one in made]
    with step(f"kwok, {nodes} simulated nodes"):
        supervise.start(layout, process)
        supervise.await_ready(layout, process)
        document = {"apiVersion": "v1", "kind": "List", "items": made}
        cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(document))
        if not wait.until(lambda: _ready(cluster) >= nodes, within=60):
            raise ClusterError(
                f"simulated nodes don't get ready: {supervise.log_file(layout, NAME)}"
            )
    return names


def stop(cluster: Cluster) -> None:
    """No simulated node is left, nor a pod on one."""
    found = cluster.kubectl("get", "nodes", "-l", SIMULATED, "-o", "name").stdout.split()
    if found:
        cluster.kubectl("delete", *found)
    if process := supervise.running(cluster.layout, NAME):
        processes.stop(process)


def node(number: int, gpus: int) -> Json:
    """A node without a kubelet. Pure."""
    name = f"simulated-{number:03}"
    amounts = {"cpu": "1000", "memory": "4000Gi", "pods": "10000", "nvidia.com/gpu": str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {SIMULATED: "true", "kubernetes.io/hostname": name},
        },
        "spec": {"taints": [{"key": SIMULATED, "value": "true", "effect": "NoSchedule"}]},
        "status": {"allocatable": amounts, "capacity": amounts},
    }


def configuration(layout: Layout, seconds: float | None) -> str:
    """kwok's settings, and how it moves nodes and pods on. Pure."""
    settings = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokConfiguration",
        "metadata": {"name": "kwok"},
        "options": {
            "enableCRDs": [],
            "manageNodesWithLabelSelector": SIMULATED,
            "nodeLeaseDurationSeconds": 40,
            # It has no defaults of its own in a file.
            "nodeLeaseParallelism": 4,
            "nodePlayStageParallelism": 4,
            "podPlayStageParallelism": 16,
            "podsOnNodeSyncParallelism": 16,
            "serverAddress": f"{layout.address}:{PORT}",
        },
    }
    return "---\n".join(json.dumps(each, indent=1) + "\n" for each in (settings, *stages(seconds)))


def stages(seconds: float | None) -> Iterator[Json]:
    """What happens to nodes and pods, one after the other. Pure."""
    yield _stage("node-ready", _NODES, [_ready_is("NotIn")], _NODE_READY)
    waits: list[Json] = [_NOT_DELETED, _phase_is("Pending")]
    yield _stage("pod-runs", _PODS, waits, _POD_RUNS)
    of_job = {"key": ".metadata.ownerReferences.[].kind", "operator": "In", "values": ["Job"]}
    runs: list[Json] = [_NOT_DELETED, _phase_is("Running"), of_job]
    if seconds is None:
        runs.append({"key": f'.metadata.annotations["{END}"]', "operator": "Exists"})
    yield _stage("pod-ends", _PODS, runs, _POD_ENDS, milliseconds=round(1000 * (seconds or 0)))
    gone = _stage("pod-gone", _PODS, [{**_NOT_DELETED, "operator": "Exists"}], "")
    gone["spec"]["next"] = {"delete": True}
    yield gone


def _stage(name: str, of: Json, when: Sequence[Json], template: str, milliseconds: int = 0) -> Json:
    spec: Json = {
        "resourceRef": of,
        "selector": {"matchExpressions": list(when)},
        "next": {"statusTemplate": template},
    }
    if milliseconds:
        spec["delay"] = {"durationMilliseconds": milliseconds}
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": spec,
    }


def _phase_is(phase: str) -> Json:
    return {"key": ".status.phase", "operator": "In", "values": [phase]}


def _ready_is(operator: str) -> Json:
    key = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    return {"key": key, "operator": operator, "values": ["True"]}


def _ready(cluster: Cluster) -> int:
    path = "{.items[*].status.conditions[?(@.type=='Ready')].status}"
    words = ["get", "nodes", "-l", SIMULATED, "-o", f"jsonpath={path}"]
    return cluster.kubectl(*words).stdout.split().count("True")


_NODE_READY = """\
{{ $now := Now }}
conditions:
{{ range NodeConditions }}
- lastHeartbeatTime: {{ $now | Quote }}
  lastTransitionTime: {{ $now | Quote }}
  message: {{ .message | Quote }}
  reason: {{ .reason | Quote }}
  status: {{ .status | Quote }}
  type: {{ .type | Quote }}
{{ end }}
phase: Running
"""

_POD_RUNS = """\
{{ $now := Now }}
conditions:
{{ range list "Initialized" "Ready" "ContainersReady" }}
- lastTransitionTime: {{ $now | Quote }}
  status: "True"
  type: {{ . }}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  imageID: simulated
  name: {{ .name | Quote }}
  ready: true
  restartCount: 0
  started: true
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
phase: Running
startTime: {{ $now | Quote }}
"""

# The run's order says where its result goes; a pod without one leaves no message.
_POD_ENDS = """\
{{ $now := Now }}
{{ $labels := or .metadata.labels dict }}
{{ $order := index (or .metadata.annotations dict) "luthier.dev/runspec" }}
conditions:
- lastTransitionTime: {{ $now | Quote }}
  reason: PodCompleted
  status: "False"
  type: Ready
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  imageID: simulated
  name: {{ .name | Quote }}
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: 0
      finishedAt: {{ $now | Quote }}
      {{ if $order }}
      message: {{ dict
        "revision" (index $labels "luthier.dev/revision")
        "attempt" (index $labels "luthier.dev/attempt" | int)
        "outcome" "Succeeded"
        "artifact" (dict
          "uri" (fromJson $order).output
          "manifestSha256" (repeat 64 "0"))
        | toJson | Quote }}
      {{ end }}
      reason: Completed
      startedAt: {{ $.status.startTime | Quote }}
{{ end }}
phase: Succeeded
"""
