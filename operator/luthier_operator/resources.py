"""The kinds that the operator reads and writes, and the labels it finds them by."""

from dataclasses import dataclass
from typing import Any

from luthier_api import GROUP, VERSION

Obj = dict[str, Any]  # a Kubernetes object, as JSON
Key = tuple[str, str]  # namespace, name


@dataclass(frozen=True)
class Resource:
    """A namespaced kind of the Kubernetes API."""

    group: str
    version: str
    plural: str
    kind: str

    def path(self, namespace: str | None = None, name: str = "", sub: str = "") -> str:
        """URL path; without a namespace that of all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        where = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (f"{root}{where}/{self.plural}", name, sub) if part)


FINE_TUNE_JOBS = Resource(GROUP, VERSION, "finetunejobs", "FineTuneJob")
OPTIMIZE_JOBS = Resource(GROUP, VERSION, "optimizejobs", "OptimizeJob")
ADAPTER_BUNDLES = Resource(GROUP, VERSION, "adapterbundles", "AdapterBundle")
JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview")
WORKLOADS = Resource("kueue.x-k8s.io", "v1beta1", "workloads", "Workload")

OWNERS = (FINE_TUNE_JOBS, OPTIMIZE_JOBS, ADAPTER_BUNDLES)
CHILDREN = (JOBS, PODS)

KIND_LABEL = f"{GROUP}/kind"
NAME_LABEL = f"{GROUP}/name"
UID_LABEL = f"{GROUP}/uid"
REVISION_LABEL = f"{GROUP}/revision"
ATTEMPT_LABEL = f"{GROUP}/attempt"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
POOL_ANNOTATION = f"{GROUP}/pool"
RETRY_ANNOTATION = f"{GROUP}/retry"
FIELD_MANAGER = "luthier"


def key_of(obj: Obj) -> Key:
    """Namespace and name of an object."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def controller_uid(obj: Obj) -> str | None:
    """The uid of the object's controlling owner."""
    owners = obj["metadata"].get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)
