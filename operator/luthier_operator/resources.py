"""The kinds that the operator reads and writes, and the labels it finds them by."""

from dataclasses import dataclass, field
from typing import Any

from luthier_api import GROUP, VERSION
from luthier_api.kinds import KINDS

Obj = dict[str, Any]  # a Kubernetes object, as JSON
Key = tuple[str, str]  # namespace, name


@dataclass(frozen=True)
class Resource:
    """A kind of the Kubernetes API, the same one in whatever version it is served."""

    group: str
    version: str = field(compare=False)
    plural: str
    kind: str

    def path(self, namespace: str | None = None, name: str = "", sub: str = "") -> str:
        """URL path; without a namespace that of all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{where}/{self.plural}", name, sub) if part)


OWNERS = tuple(Resource(GROUP, VERSION, kind.plural, kind.name) for kind in KINDS.values())
FINE_TUNE_JOBS, OPTIMIZE_JOBS, ADAPTER_BUNDLES = OWNERS
JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
WORKLOADS = Resource("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")

JOB_SETS = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")

CHILDREN = (JOBS, PODS)
# What is found by the label of the resource that it serves.
LABELLED = (*CHILDREN, JOB_SETS)
# Kinds that a cluster may lack, with the versions of them that we can read, best first.
OPTIONAL: dict[Resource, tuple[str, ...]] = {
    WORKLOADS: ("v1beta2", "v1beta1"),
    JOB_SETS: ("v1alpha2",),
}
# Of these those that are written, in those versions alone, and looked for from the start.
WRITTEN = (JOB_SETS,)

KIND_LABEL = f"{GROUP}/kind"
NAME_LABEL = f"{GROUP}/name"
UID_LABEL = f"{GROUP}/uid"
REVISION_LABEL = f"{GROUP}/revision"
ATTEMPT_LABEL = f"{GROUP}/attempt"
ROLE_LABEL = f"{GROUP}/role"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
# Of a pod of an Indexed Job: which part of it; the Job controller sets it.
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
# Of what a JobSet makes.
JOB_SET_LABEL = "jobset.sigs.k8s.io/jobset-name"
JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
POOL_ANNOTATION = f"{GROUP}/pool"
RETRY_ANNOTATION = f"{GROUP}/retry"
RERUN_ANNOTATION = f"{GROUP}/rerun"
RETRAIN_ANNOTATION = f"{GROUP}/retrain"
ERRAND_ANNOTATION = f"{GROUP}/errand"
SETTINGS_ANNOTATION = f"{GROUP}/made-of"
SUSPENDED_ANNOTATION = f"{GROUP}/suspended"
CREATED_BY_ANNOTATION = f"{GROUP}/created-by"
CONTENT_ANNOTATION = f"{GROUP}/content-sha256"
# Of a resource whose artifacts go with it: it waits for the errand that deletes them.
ARTIFACTS_FINALIZER = f"{GROUP}/artifacts"
FIELD_MANAGER = "luthier"


def key_of(obj: Obj) -> Key:
    """Namespace and name of an object."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def controller_uid(obj: Obj) -> str | None:
    """The uid of the object's controlling owner.

    Whoever may create the object wrote it there, in whatever namespace: it says nothing about
    an owner of another namespace.
    """
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


def label_of(obj: Obj, name: str) -> str | None:
    """A label's value."""
    value: str | None = (obj["metadata"].get("labels") or {}).get(name)
    return value
