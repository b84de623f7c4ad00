"""What the watches saw, trimmed to what the operator reads."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from typing import Any

from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    ARTIFACTS_FINALIZER,
    ATTEMPT_LABEL,
    CREATED_BY_ANNOTATION,
    ERRAND_ANNOTATION,
    FINE_TUNE_JOBS,
    INDEX_LABEL,
    JOB_SET_LABEL,
    JOB_SETS,
    JOB_UID_LABEL,
    JOBS,
    KIND_LABEL,
    LABELLED,
    NAME_LABEL,
    NAMESPACES,
    OPTIMIZE_JOBS,
    OWNERS,
    PODS,
    POOL_ANNOTATION,
    QUEUE_LABEL,
    RERUN_ANNOTATION,
    RETRAIN_ANNOTATION,
    RETRY_ANNOTATION,
    REVISION_LABEL,
    ROLE_LABEL,
    SETTINGS_ANNOTATION,
    SUSPENDED_ANNOTATION,
    UID_LABEL,
    WORKLOADS,
    Key,
    Obj,
    Resource,
    controller_uid,
    key_of,
    label_of,
)
from luthier_operator.run.concurrency import Live
from luthier_operator.run.pod import CONTAINER, held

_METADATA = (
    "namespace",
    "name",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
)
# What we read; whoever may write an object may put a megabyte of others there.
_LABELS = (
    KIND_LABEL,
    NAME_LABEL,
    UID_LABEL,
    REVISION_LABEL,
    ATTEMPT_LABEL,
    ROLE_LABEL,
    INDEX_LABEL,
    JOB_SET_LABEL,
    QUEUE_LABEL,
)
_ANNOTATIONS = (
    POOL_ANNOTATION,
    RETRY_ANNOTATION,
    RERUN_ANNOTATION,
    RETRAIN_ANNOTATION,
    ERRAND_ANNOTATION,
    SETTINGS_ANNOTATION,
    SUSPENDED_ANNOTATION,
    CREATED_BY_ANNOTATION,
)
ANNOTATION_LENGTH = 512
_JOB_SPEC = (
    "completions",
    "suspend",
    "ttlSecondsAfterFinished",
    "activeDeadlineSeconds",
    "backoffLimit",
)
_JOB_SET_SPEC = ("suspend", "ttlSecondsAfterFinished")
_JOB_SET_STATUS = ("conditions", "restarts", "restartsCountTowardsMax")
_POD_STATUS = ("phase", "conditions", "containerStatuses")
_WORKLOAD_SPEC = ("active", "priority", "priorityClassName", "priorityClassRef", "queueName")
_WORKLOAD_CONDITION = ("type", "status", "reason", "message")
MOST_CONDITIONS = 16
MESSAGE_LENGTH = 1024
_CONTAINER = ("name", "state")
_CONDITIONS = {
    JOBS: ("Complete", "Failed"),
    JOB_SETS: ("Completed", "Failed", "Suspended"),
    PODS: ("PodScheduled", "DisruptionTarget"),
}
# Where Jobs take a run's place, and give it back.
_WITH_PLACES = (JOBS, JOB_SETS)


def _pick(source: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def trim(resource: Resource, obj: Obj) -> Obj:
    """The part of an object that the operator reads. At 10,000 runs the rest is most of it."""
    metadata = _metadata(obj["metadata"])
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if resource == JOBS:
        # Its deadline counts from when it began; a JobSet's Job has what is left of the JobSet's.
        spec, status = _pick(spec, _JOB_SPEC), _pick(status, ("conditions", "startTime"))
    elif resource == JOB_SETS:
        spec, status = _job_set_spec(spec), _pick(status, _JOB_SET_STATUS)
    elif resource == PODS:
        spec = _pick(spec, ("nodeName",)) | {"containers": held(spec)}
        status = _pick(status, _POD_STATUS)
        if "containerStatuses" in status:
            status["containerStatuses"] = [
                _pick(container, _CONTAINER)
                for container in status["containerStatuses"] or []
                if container["name"] == CONTAINER
            ]
    elif resource == WORKLOADS:
        if label := _pick(obj["metadata"].get("labels") or {}, (JOB_UID_LABEL,)):
            metadata["labels"] = label
        spec, status = _pick(spec, _WORKLOAD_SPEC), {"conditions": _workload_conditions(status)}
    elif resource == NAMESPACES:
        spec, status = {}, {}
    if resource in _CONDITIONS and "conditions" in status:
        status["conditions"] = [
            condition
            for condition in status["conditions"] or []
            if condition["type"] in _CONDITIONS[resource]
        ]
    return {"metadata": metadata, "spec": spec, "status": status}


def _job_set_spec(spec: Obj) -> Obj:
    """Of what it makes Jobs of no more than how many pods work together."""
    first: Obj = next(iter(spec.get("replicatedJobs") or []), {})
    job = (first.get("template") or {}).get("spec") or {}
    return _pick(spec, _JOB_SET_SPEC) | {
        "failurePolicy": _pick(spec.get("failurePolicy") or {}, ("maxRestarts",)),
        "replicatedJobs": [
            {"template": {"spec": _pick(job, ("completions", "activeDeadlineSeconds"))}}
        ],
    }


def _workload_conditions(status: Obj) -> list[Obj]:
    return [
        {
            name: str(value)[:MESSAGE_LENGTH]
            for name, value in _pick(condition, _WORKLOAD_CONDITION).items()
        }
        for condition in (status.get("conditions") or [])[:MOST_CONDITIONS]
    ]


def _metadata(whole: dict[str, Any]) -> dict[str, Any]:
    metadata = _pick(whole, _METADATA)
    if labels := _pick(whole.get("labels") or {}, _LABELS):
        metadata["labels"] = labels
    annotations = _pick(whole.get("annotations") or {}, _ANNOTATIONS)
    if short := {n: value for n, value in annotations.items() if len(value) <= ANNOTATION_LENGTH}:
        metadata["annotations"] = short
    if ARTIFACTS_FINALIZER in (whole.get("finalizers") or []):
        metadata["finalizers"] = [ARTIFACTS_FINALIZER]
    for owner in whole.get("ownerReferences") or []:
        if owner.get("controller"):
            metadata["ownerReferences"] = [{"uid": owner["uid"], "controller": True}]
            break
    return metadata


def version_of(obj: Obj) -> int:
    """The resource version as a number: Kubernetes orders one resource's versions so."""
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0


class Store:
    """Objects by resource and key; children also by the object of their namespace they serve.

    The newest version wins, whoever brings it: a watch, a list, or the answer to a write.

    A domain is a resource in one namespace, or in all (None). What its watch has told up to some
    version is complete (`advance`): an earlier version of an object that the store lacks is of one
    that has gone, such as a write's answer that comes after the object's end.
    """

    def __init__(self) -> None:
        self._objects: defaultdict[Resource, dict[Key, Obj]] = defaultdict(dict)
        self._children: dict[tuple[Resource, str, str], dict[Key, Obj]] = {}
        self._by_uid: dict[str, tuple[Resource, Key]] = {}
        # Pods by kind, namespace and label of the name that they run for.
        self._pods_for: dict[tuple[str, str, str], set[Key]] = {}
        # FineTuneJob → the resources that take its result.
        self._followers: dict[Key, set[tuple[Resource, Key]]] = {}
        self._complete: dict[tuple[Resource, str | None], float] = {}
        self._running = 0
        self.live = Live()

    @property
    def running(self) -> int:
        """How many resources are in the phase Running, without a walk through all of them."""
        return self._running

    def get(self, resource: Resource, key: Key) -> Obj | None:
        """The object of that name, or None."""
        return self._objects[resource].get(key)

    def all(self, resource: Resource) -> Iterator[tuple[Key, Obj]]:
        """Every object of a kind."""
        return iter(tuple(self._objects[resource].items()))

    def find(self, uid: str) -> tuple[Resource, Obj] | None:
        """The object with that uid, or None."""
        found = self._by_uid.get(uid)
        return (found[0], self._objects[found[0]][found[1]]) if found else None

    def children(self, resource: Resource, namespace: str, owner_uid: str) -> list[Obj]:
        """The Jobs, JobSets or pods of a namespace that carry the label of that owner.

        Of a Job or JobSet those Workloads that it controls.
        """
        return list(self._children.get((resource, namespace, owner_uid), {}).values())

    def pods_for(self, kind: str, namespace: str, name_label: str) -> list[Obj]:
        """The pods of a namespace whose labels say that they run for a resource of that name,
        whatever its uid: of one that was deleted and created again, too."""
        keys = self._pods_for.get((kind, namespace, name_label), ())
        return [self._objects[PODS][key] for key in keys]

    def owner(self, child: Obj) -> tuple[Resource, Obj] | None:
        """The resource of its own namespace that a child serves, or None.

        Jobs, JobSets and pods name it in a label, a Workload through what controls it.
        """
        uid = label_of(child, UID_LABEL)
        found = self.find(uid or controller_uid(child) or "")
        if found is None or key_of(found[1])[0] != key_of(child)[0]:
            return None
        if uid is None:
            return self.owner(found[1]) if found[0] in _WITH_PLACES else None
        return found if found[0] in OWNERS else None

    def followers(self, fine_tune_job: Key) -> list[tuple[Resource, Key]]:
        """The OptimizeJobs and AdapterBundles that take the result of a FineTuneJob."""
        return list(self._followers.get(fine_tune_job, ()))

    def put(self, resource: Resource, obj: Obj, *, listed: bool = False) -> bool:
        """Remember an object; False where that is no news: the store knows this version, a newer
        one, or the object's end, or nothing that is read of it has changed.

        One that a list of its whole domain has is there, whatever the watch has told before.
        """
        key, version = key_of(obj), version_of(obj)
        known = self._objects[resource].get(key)
        same = known is not None and known["metadata"]["uid"] == obj["metadata"]["uid"]
        if known is not None:
            if version_of(known) > version or (same and version_of(known) == version):
                return False
        elif not listed and 0 < version <= self._known_until(resource, key[0]):
            return False
        trimmed = trim(resource, obj)
        if known is not None:
            if same and _says_the_same(known, trimmed):
                # Most of a Job's and a pod's versions: what counts pods, takes finalizers away.
                known["metadata"]["resourceVersion"] = trimmed["metadata"]["resourceVersion"]
                return False
            self._remove(resource, key)
        self._objects[resource][key] = trimmed
        self._running += _is_running(resource, trimmed)
        self._by_uid[trimmed["metadata"]["uid"]] = (resource, key)
        if resource in _WITH_PLACES:
            self.live.count(trimmed, 1)
        if owner := _owner_uid(resource, trimmed):
            self._children.setdefault((resource, key[0], owner), {})[key] = trimmed
        if resource == PODS:
            self._pods_for.setdefault(_named(trimmed), set()).add(key)
        for followed in _followed(resource, trimmed):
            self._followers.setdefault(followed, set()).add((resource, key))
        return True

    def remove(self, resource: Resource, obj: Obj) -> None:
        """Forget an object, unless another one has taken its name."""
        known = self._objects[resource].get(key_of(obj))
        if known is not None and known["metadata"]["uid"] == obj["metadata"]["uid"]:
            self._remove(resource, key_of(obj))

    def advance(self, resource: Resource, namespace: str | None, version: int) -> None:
        """All that happened in a domain up to this version is in the store."""
        self._complete[(resource, namespace)] = version

    def newest(self, resource: Resource, namespace: str | None) -> int:
        """The newest version of an object of a domain; 0 without one."""
        return max((version_of(obj) for obj in self._of(resource, namespace)), default=0)

    def remove_unlisted(
        self, resource: Resource, namespace: str | None, listed: Container[str], version: int
    ) -> list[Obj]:
        """Forget, and return, what a list of the domain taken at `version` lacks."""
        gone = [
            obj
            for obj in self._of(resource, namespace)
            if obj["metadata"]["uid"] not in listed and version_of(obj) <= version
        ]
        for obj in gone:
            self._remove(resource, key_of(obj))
        return gone

    def drop(self, resource: Resource, namespace: str | None) -> list[Obj]:
        """Forget, and return, a whole domain: its kind isn't served any more."""
        self._complete.pop((resource, namespace), None)
        dropped = self._of(resource, namespace)
        for obj in dropped:
            self._remove(resource, key_of(obj))
        return dropped

    def close(self, resource: Resource, namespace: str) -> list[Obj]:
        """Forget, and return, a domain that isn't served any more; late answers stay out."""
        dropped = self.drop(resource, namespace)
        self._complete[(resource, namespace)] = float("inf")
        return dropped

    def open(self, resource: Resource, namespace: str) -> None:
        """Take objects of a domain again."""
        self._complete.pop((resource, namespace), None)

    def _of(self, resource: Resource, namespace: str | None) -> list[Obj]:
        objects = self._objects[resource].items()
        return [obj for key, obj in objects if namespace in (None, key[0])]

    def _known_until(self, resource: Resource, namespace: str) -> float:
        everywhere = self._complete.get((resource, None), 0)
        return self._complete.get((resource, namespace), everywhere)

    def _remove(self, resource: Resource, key: Key) -> None:
        obj = self._objects[resource].pop(key)
        self._running -= _is_running(resource, obj)
        self._by_uid.pop(obj["metadata"]["uid"], None)
        if resource in _WITH_PLACES:
            self.live.count(obj, -1)
        if owner := _owner_uid(resource, obj):
            siblings = self._children.get((resource, key[0], owner), {})
            siblings.pop(key, None)
            if not siblings:
                self._children.pop((resource, key[0], owner), None)
        if resource == PODS:
            pods = self._pods_for.get(_named(obj), set())
            pods.discard(key)
            if not pods:
                self._pods_for.pop(_named(obj), None)
        for followed in _followed(resource, obj):
            followers = self._followers.get(followed, set())
            followers.discard((resource, key))
            if not followers:
                self._followers.pop(followed, None)


def _says_the_same(known: Obj, newer: Obj) -> bool:
    """Whether two trimmed versions of an object differ in nothing but their version."""
    version = {"resourceVersion": newer["metadata"].get("resourceVersion")}
    return known | {"metadata": known["metadata"] | version} == newer


def _owner_uid(resource: Resource, obj: Obj) -> str | None:
    """What `children` finds an object by."""
    if resource in LABELLED:
        return label_of(obj, UID_LABEL)
    return controller_uid(obj) if resource == WORKLOADS else None


def _named(pod: Obj) -> tuple[str, str, str]:
    """What `pods_for` finds a pod by."""
    kind, name = label_of(pod, KIND_LABEL), label_of(pod, NAME_LABEL)
    return (kind or "", key_of(pod)[0], name or "")


def _is_running(resource: Resource, obj: Obj) -> bool:
    return resource in OWNERS and obj["status"].get("phase") == "Running"


def _followed(resource: Resource, obj: Obj) -> set[Key]:
    """The FineTuneJobs that an object names as its sources."""
    spec = obj["spec"]
    named: list[dict[str, Any]] = []
    if resource == FINE_TUNE_JOBS:
        named = [(spec.get("model") or {}).get("adapter") or {}]
    elif resource == OPTIMIZE_JOBS:
        named = [spec.get("source") or {}]
    elif resource == ADAPTER_BUNDLES:
        named = spec.get("adapters") or []
    references = [source.get("fineTuneJobRef") or {} for source in named]
    namespace = obj["metadata"].get("namespace", "")
    return {(namespace, it["name"]) for it in references if "name" in it}
