"""What a pod holds, and on whose account. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier_api.kinds import KINDS
from luthier_api.platform import Platform
from luthier_api.usage import OTHERS
from luthier_operator.resources import (
    CREATED_BY_ANNOTATION,
    KIND_LABEL,
    POOL_ANNOTATION,
    Obj,
    Resource,
    controller_uid,
    key_of,
    label_of,
)

# How far up the owners of a pod its pool is looked for: a Job, and the JobSet that made it.
_LEVELS = 2
USER_LENGTH = 128
MOST_HELD = 100_000.0  # more than any node has
_SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Payer:
    """Whose use it is."""

    namespace: str
    pool: str
    kind: str
    user: str


@dataclass(frozen=True)
class Holding:
    """What a pod keeps others from having while it runs."""

    payer: Payer
    gpus: float
    cpus: float


Find = Callable[[str], tuple[Resource, Obj] | None]


def holding_of(
    pod: Obj, owner: tuple[Resource, Obj] | None, find: Find, platform: Platform
) -> Holding | None:
    """None for a pod that carries none of our kinds' names: whoever labelled it, it isn't ours.

    `owner`: the resource that it serves; `find`: an object by its uid.
    """
    kind = label_of(pod, KIND_LABEL)
    if kind not in KINDS:
        return None
    namespace = key_of(pod)[0]
    pool = _pool_of_owners(pod, find) or (pool_of(owner[1], platform) if owner else "")
    containers = pod["spec"].get("containers") or [{}]
    resources = containers[0].get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    gpus = {it.gpu_resource for it in platform.pools}
    return Holding(
        Payer(namespace, _known(pool, platform), kind, created_by(owner[1]) if owner else ""),
        gpus=min(MOST_HELD, sum(number(limits[name]) for name in gpus if name in limits)),
        cpus=min(MOST_HELD, number(requests.get("cpu") or limits.get("cpu") or "0")),
    )


def payer_of(resource: Resource, obj: Obj, platform: Platform) -> Payer:
    """Whose use it is what a resource's trainer tells of."""
    pool = _known(pool_of(obj, platform), platform)
    return Payer(key_of(obj)[0], pool, resource.kind, created_by(obj))


def pool_of(obj: Obj, platform: Platform) -> str:
    """The pool that a resource's spec asks for."""
    placement: Mapping[str, Any] = (obj.get("spec") or {}).get("placement") or {}
    namespace = obj["metadata"]["namespace"]
    name = placement.get("pool") or platform.for_namespace(namespace).pool or platform.default_pool
    return str(name)


def created_by(obj: Obj) -> str:
    """Who created a resource, by its annotation; the admission policy sees to it that it's true."""
    annotations = obj["metadata"].get("annotations") or {}
    return str(annotations.get(CREATED_BY_ANNOTATION, ""))[:USER_LENGTH]


def number(quantity: str) -> float:
    """Kubernetes' quantity of a countable resource; what is none counts as nothing."""
    text = str(quantity)
    digits = text.rstrip("numkM")
    try:
        return float(digits) * _SUFFIXES[text[len(digits) :]]
    except (ValueError, KeyError):
        return 0.0


def _pool_of_owners(pod: Obj, find: Find) -> str:
    child = pod
    for _ in range(_LEVELS):
        found = find(controller_uid(child) or "")
        if found is None or key_of(found[1])[0] != key_of(pod)[0]:
            return ""
        child = found[1]
        pool = (child["metadata"].get("annotations") or {}).get(POOL_ANNOTATION)
        if pool:
            return str(pool)
    return ""


def _known(pool: str, platform: Platform) -> str:
    """Of names that luthier.yaml hasn't, one: each is a series, and anybody may write some."""
    return pool if platform.pool(pool) is not None else OTHERS
