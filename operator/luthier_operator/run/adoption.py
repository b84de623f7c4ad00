"""Whether an object that is there already is the one that was to be created. Pure.

Its name can be worked out, and its owner reference is a word of whoever made it: who may create
Jobs in the namespace could put another one there first.
"""

import hashlib
import json

from luthier_operator.resources import CONTENT_ANNOTATION, Obj, controller_uid


def marked(obj: Obj) -> Obj:
    """The object with its content's digest, which the API server's defaults don't change."""
    text = json.dumps(obj, sort_keys=True, separators=(",", ":"))
    metadata = obj["metadata"]
    mark = {CONTENT_ANNOTATION: hashlib.sha256(text.encode()).hexdigest()}
    annotations = (metadata.get("annotations") or {}) | mark
    return obj | {"metadata": metadata | {"annotations": annotations}}


def obstacle(owner: Obj, wanted: Obj, found: Obj) -> str:
    """Why `found` can't be taken for `wanted`; empty where it can."""
    name = f"{wanted['kind']} {wanted['metadata']['name']}"
    if controller_uid(found) != owner["metadata"]["uid"]:
        return f"{name} exists and belongs to another owner: delete it, or rename the resource"
    if "data" in wanted and found.get("data") != wanted["data"]:
        return f"{name} exists with other content: delete it"
    if _mark(found) != _mark(wanted):
        return f"{name} exists, and isn't what this run needs: delete it"
    return ""


def is_the_same(wanted: Obj, found: Obj) -> bool:
    """Whether an object without an owner is the one that was to be created."""
    return _mark(found) == _mark(wanted)


def is_leaving(wanted: Obj, found: Obj) -> bool:
    """Whether it is the run spec of a Job or JobSet that was deleted, and goes after it in a
    moment."""
    owners = found["metadata"].get("ownerReferences") or []
    name = wanted["metadata"]["name"]
    return "data" in wanted and any(
        owner.get("kind") in ("Job", "JobSet") and owner.get("name") == name for owner in owners
    )


def _mark(obj: Obj) -> str | None:
    mark: str | None = (obj["metadata"].get("annotations") or {}).get(CONTENT_ANNOTATION)
    return mark
