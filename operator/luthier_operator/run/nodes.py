"""The JobSet of a run of several nodes: its pods find each other by name, and begin anew together.
Pure."""

from luthier_api.placement import Limits
from luthier_operator.resources import JOB_SETS, Obj
from luthier_operator.run import failure_policy

# The name of its Job, and a part of its pods' names.
NODE = "node"
# What these add to the JobSet's name: -node-0-255-abcde. All are DNS labels, of 63 characters.
LONGEST_NAME = 46


def master_of(job_set: str) -> str:
    """The DNS name of the first pod, as the other pods resolve it (`Network` in JobSet's API)."""
    return f"{job_set}-{NODE}-0-0.{job_set}"


def job_set(metadata: Obj, pod: Obj, nodes: int, limits: Limits, *, suspend: bool) -> Obj:
    """One Job of so many pods. `pod`: the pod template."""
    labels = pod["metadata"]["labels"]
    job: Obj = {
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
        # The first pod that fails ends them all: what becomes of that is JobSet's to say.
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": failure_policy.of_inner_job(),
        "template": pod | {"spec": pod["spec"] | {"topologySpreadConstraints": [_spread(labels)]}},
    }
    if limits.active_deadline_seconds is not None:
        job["activeDeadlineSeconds"] = limits.active_deadline_seconds
    return {
        "apiVersion": f"{JOB_SETS.group}/{JOB_SETS.version}",
        "kind": JOB_SETS.kind,
        "metadata": metadata,
        "spec": {
            "suspend": suspend,
            "successPolicy": {"operator": "All"},
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": failure_policy.of_job_set(limits.max_restarts),
            "replicatedJobs": [
                {
                    "name": NODE,
                    "replicas": 1,
                    "template": {"metadata": {"labels": labels}, "spec": job},
                }
            ],
        },
    }


def _spread(labels: dict[str, str]) -> Obj:
    """Over nodes, if there are so many: each brings its own memory and network."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
