"""`luthier.yaml`, the platform team's file, checked as the operator reads it at its start."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from pydantic import ValidationError

from luthier_api.platform import Platform, parse_platform
from luthier_cli import offline
from luthier_cli.findings import Finding
from luthier_cli.yaml import Document

NAME = "luthier.yaml"


def is_platform(value: Any, file: str) -> bool:
    """Whether a document is one: no resource of Kubernetes, and called so, or with pools."""
    if not isinstance(value, dict) or "apiVersion" in value or "kind" in value:
        return False
    return PurePath(file).name == NAME or {"pools", "defaultPool"} & value.keys() != set()


def check(document: Document, file: str) -> list[Finding]:
    """All that the operator would refuse, by line."""
    return offline.findings(document, file, _problems(document.value))


def _problems(value: dict[str, Any]) -> Iterator[offline.Problem]:
    try:
        parse_platform(value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield offline.explain(Platform, value, detail)
