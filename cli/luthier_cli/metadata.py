"""The metadata of a manifest, as the API server would judge it. Names become those of folders, too:
on this machine nothing else keeps a namespace like ../../x from leading out of them."""

import re
from collections.abc import Iterator
from typing import Any

from luthier_api.customresources import MAX_NAME_LENGTH, NAME_RULES
from luthier_api.fieldnames import did_you_mean
from luthier_cli.yaml import Path

FIELDS = (
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_PREFIX = re.compile(r"[a-z][-a-z0-9]*")
_GENERATED = 5  # characters that the API server puts behind generateName
_DEFAULT_NAMESPACE = "default"


def problems(metadata: Any) -> Iterator[tuple[Path, str, str]]:
    """Field, what is wrong with it, and the remedy."""
    if metadata is not None and not isinstance(metadata, dict):
        yield ("metadata",), "must be a mapping", "write name: below it"
        return
    found = metadata or {}
    for name in found.keys() - set(FIELDS):
        yield ("metadata", name), "unknown field", did_you_mean(name, FIELDS)
    for name in ("name", "generateName", "namespace"):
        value = found.get(name)
        if value is not None and not isinstance(value, str):
            yield ("metadata", name), f"must be a string, not {value!r:.60}", "quote it"
            return
    for name in ("labels", "annotations"):
        yield from _texts(name, found.get(name))
    if name := found.get("name"):
        from luthier_cli.rules import holds

        for rule in NAME_RULES:
            if not holds(rule.cel, {"metadata": {"name": name}}):
                yield ("metadata", "name"), rule.message, ""
    elif prefix := found.get("generateName"):
        if not _PREFIX.fullmatch(prefix) or len(prefix) > MAX_NAME_LENGTH - _GENERATED:
            yield (
                ("metadata", "generateName"),
                "generateName must begin with a letter, hold a-z, 0-9 and - only, and have at "
                f"most {MAX_NAME_LENGTH - _GENERATED} characters",
                "shorten it, or give the resource a name",
            )
    else:
        yield ("metadata", "name"), "required", "give the resource a name"
    namespace = found.get("namespace")
    if namespace and (not _LABEL.fullmatch(namespace) or len(namespace) > 63):
        yield (
            ("metadata", "namespace"),
            "a namespace holds a-z, 0-9 and - only, with a letter or digit at both ends, and at "
            "most 63 characters",
            "correct it, or leave it out",
        )


def _texts(field: str, value: Any) -> Iterator[tuple[Path, str, str]]:
    if value is None:
        return
    if not isinstance(value, dict):
        yield ("metadata", field), "must be a mapping", "write key: value below it"
        return
    for key, item in value.items():
        if item is not None and not isinstance(item, str):
            yield ("metadata", field, key), f"must be a string, not {item!r:.60}", "quote it"


def namespace_of(manifest: dict[str, Any]) -> str:
    """Of a manifest without mistakes."""
    return str(manifest["metadata"].get("namespace") or _DEFAULT_NAMESPACE)


def name_of(manifest: dict[str, Any]) -> str:
    """Of a manifest without mistakes: its name, or what the API server would begin it with."""
    metadata = manifest["metadata"]
    return str(metadata.get("name") or metadata["generateName"].rstrip("-"))
