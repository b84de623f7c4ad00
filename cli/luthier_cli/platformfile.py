"""`luthier.yaml`, the platform team's file, checked as the operator reads it at its start."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from luthier_api.platform import Platform, parse_platform
from luthier_api.prefixes import ANYTHING
from luthier_cli import offline
from luthier_cli.findings import Finding
from luthier_cli.yaml import Document, YamlError, at, load_documents

NAME = "luthier.yaml"


def is_platform(value: Any, file: str) -> bool:
    """Whether a document is one: no resource of Kubernetes, and called so, or with pools."""
    if not isinstance(value, dict) or "apiVersion" in value or "kind" in value:
        return False
    return PurePath(file).name == NAME or {"pools", "defaultPool"} & value.keys() != set()


def read(file: str, text: str) -> tuple[Platform | None, list[Finding]]:
    """What is in a file that is to be one, or in its ConfigMap; None where the operator would
    refuse it. All that is wrong with it."""
    try:
        found = [inner for it in load_documents(text) for inner in _within(it)]
    except YamlError as error:
        return None, [Finding(file, error.line, "", error.message)]
    if len(found) != 1 or not isinstance(found[0].value, dict):
        return None, [Finding(file, 1, "", f"no {NAME} in this file", "it begins with pools:")]
    problems = check(found[0], file)
    try:
        return parse_platform(found[0].value), problems
    except ValidationError:
        return None, problems


def check(document: Document, file: str) -> list[Finding]:
    """All that the operator would refuse, and what no run could use, by line."""
    return offline.findings(document, file, _problems(document.value))


def _within(document: Document) -> list[Document]:
    """The document, or what a ConfigMap's key holds, as `helm template` and `kubectl get` show it.

    Its text is a block: it begins on the line below its key.
    """
    value = document.value
    if not isinstance(value, dict) or value.get("kind") != "ConfigMap":
        return [document]
    text = at(value, ("data", NAME))
    above = document.line(("data", NAME))
    return [
        Document(it.value, {path: line + above for path, line in it.lines.items()})
        for it in load_documents(text if isinstance(text, str) else "")
    ]


def _problems(value: dict[str, Any]) -> Iterator[offline.Problem]:
    try:
        platform = parse_platform(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if detail["type"] == "luthier_fields":
                yield from detail["ctx"]["problems"]
            else:
                yield offline.explain(Platform, value, detail)
        return
    for namespace, defaults in platform.namespaces.items():
        pool = platform.pool(defaults.pool) if defaults.pool else None
        if pool and pool.namespaces and namespace not in (ANYTHING, *pool.namespaces):
            yield (
                ("namespaces", namespace, "pool"),
                f"the namespace may not use pool {pool.name!r}",
                "add it to the pool's namespaces, or name another pool",
            )
