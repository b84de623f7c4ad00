"""What the watches saw, trimmed to what the operator reads."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from luthier_api import GROUP
from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    CHILDREN,
    JOBS,
    OPTIMIZE_JOBS,
    OWNERS,
    PODS,
    UID_LABEL,
    Key,
    Obj,
    Resource,
    key_of,
)

_METADATA = (
    "namespace",
    "name",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "ownerReferences",
)
_JOB_SPEC = ("suspend", "ttlSecondsAfterFinished", "activeDeadlineSeconds")
_JOB_STATUS = ("conditions", "active", "ready", "terminating", "failed", "succeeded", "startTime")
_POD_STATUS = ("phase", "reason", "message", "conditions", "containerStatuses", "startTime")
_CONTAINER = ("name", "state", "lastState")

# So many deleted objects are remembered, lest a late answer bring one back.
GRAVES = 10_000


def _pick(source: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: source[name] for name in names if name in source}


def trim(resource: Resource, obj: Obj) -> Obj:
    """The part of an object that the operator reads. At 10,000 runs the rest is most of it."""
    metadata = _pick(obj["metadata"], _METADATA)
    # Our annotations, but never the run spec: it is large and nobody here reads it back.
    annotations = {
        name: value
        for name, value in (obj["metadata"].get("annotations") or {}).items()
        if name.startswith(f"{GROUP}/") and len(value) <= 256
    }
    if annotations:
        metadata["annotations"] = annotations
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if resource == JOBS:
        spec, status = _pick(spec, _JOB_SPEC), _pick(status, _JOB_STATUS)
    elif resource == PODS:
        spec, status = _pick(spec, ("nodeName",)), _pick(status, _POD_STATUS)
        if "containerStatuses" in status:
            status["containerStatuses"] = [
                _pick(container, _CONTAINER) for container in status["containerStatuses"]
            ]
    return {"metadata": metadata, "spec": spec, "status": status}


def version_of(obj: Obj) -> int:
    """The resource version as a number: Kubernetes orders one resource's versions so."""
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdigit() else 0


class Store:
    """Objects by resource and key; children also by the uid of the resource they serve.

    The newest version wins, whoever brings it: a watch, a list, or the answer to a write.
    """

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Key, Obj]] = {
            resource: {} for resource in (*OWNERS, *CHILDREN)
        }
        self._children: dict[tuple[Resource, str], dict[Key, Obj]] = {}
        self._by_uid: dict[str, tuple[Resource, Key]] = {}
        # FineTuneJob → the resources that take its result.
        self._followers: dict[Key, set[tuple[Resource, Key]]] = {}
        self._graves: OrderedDict[str, None] = OrderedDict()

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

    def children(self, resource: Resource, owner_uid: str) -> list[Obj]:
        """The Jobs or pods that carry the label of that owner."""
        return list(self._children.get((resource, owner_uid), {}).values())

    def followers(self, fine_tune_job: Key) -> list[tuple[Resource, Key]]:
        """The OptimizeJobs and AdapterBundles that take the result of a FineTuneJob."""
        return list(self._followers.get(fine_tune_job, ()))

    def put(self, resource: Resource, obj: Obj) -> bool:
        """Remember an object; False where the store knows this version, a newer one, or its end."""
        if obj["metadata"]["uid"] in self._graves:
            return False
        key = key_of(obj)
        known = self._objects[resource].get(key)
        if known is not None:
            same = known["metadata"]["uid"] == obj["metadata"]["uid"]
            if same and version_of(known) >= version_of(obj):
                return False
            self._remove(resource, key)
        trimmed = trim(resource, obj)
        self._objects[resource][key] = trimmed
        self._by_uid[trimmed["metadata"]["uid"]] = (resource, key)
        if resource in CHILDREN and (owner := _owner_label(trimmed)):
            self._children.setdefault((resource, owner), {})[key] = trimmed
        for followed in _followed(resource, trimmed):
            self._followers.setdefault(followed, set()).add((resource, key))
        return True

    def remove(self, resource: Resource, obj: Obj) -> None:
        """Forget an object for good, unless another one has taken its name."""
        self._graves[obj["metadata"]["uid"]] = None
        if len(self._graves) > GRAVES:
            self._graves.popitem(last=False)
        known = self._objects[resource].get(key_of(obj))
        if known is not None and known["metadata"]["uid"] == obj["metadata"]["uid"]:
            self._remove(resource, key_of(obj))

    def _remove(self, resource: Resource, key: Key) -> None:
        obj = self._objects[resource].pop(key)
        self._by_uid.pop(obj["metadata"]["uid"], None)
        if resource in CHILDREN and (owner := _owner_label(obj)):
            siblings = self._children.get((resource, owner), {})
            siblings.pop(key, None)
            if not siblings:
                self._children.pop((resource, owner), None)
        for followed in _followed(resource, obj):
            followers = self._followers.get(followed, set())
            followers.discard((resource, key))
            if not followers:
                self._followers.pop(followed, None)

    def behind(self, resource: Resource, listed: Iterable[Obj]) -> list[Obj]:
        """Objects of an earlier list that the store still lacks, or has an older version of."""
        late = []
        for obj in listed:
            if obj["metadata"]["uid"] in self._graves:
                continue
            known = self.get(resource, key_of(obj))
            if known is None or version_of(known) < version_of(obj):
                late.append(obj)
        return late

    def ghosts(self, resource: Resource, listed: Iterable[Obj], version: int) -> list[Obj]:
        """Objects of the store that a list taken at `version` lacks: deleted unseen."""
        there = {obj["metadata"]["uid"] for obj in listed}
        return [
            obj
            for _, obj in self.all(resource)
            if obj["metadata"]["uid"] not in there and version_of(obj) <= version
        ]


def _owner_label(obj: Obj) -> str | None:
    label: str | None = (obj["metadata"].get("labels") or {}).get(UID_LABEL)
    return label


def _followed(resource: Resource, obj: Obj) -> set[Key]:
    """The FineTuneJobs that an object names as its sources."""
    spec = obj["spec"]
    named: list[dict[str, Any]] = []
    if resource == OPTIMIZE_JOBS:
        named = [spec.get("source") or {}]
    elif resource == ADAPTER_BUNDLES:
        named = spec.get("adapters") or []
    references = [source.get("fineTuneJobRef") or {} for source in named]
    namespace = obj["metadata"].get("namespace", "")
    return {(namespace, it["name"]) for it in references if "name" in it}
