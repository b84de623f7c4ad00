"""A default never changes within an API version.

The API server writes defaults into what is stored when it is read. A changed one would
change everybody's specs without their doing, and so retrain them. A new field's default is
added to defaults.json; an entry that is there stays.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luthier_api import VERSION
from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.structural import Schema

GOLDEN = Path(__file__).parent / "defaults.json"


def test_defaults_are_those_of_this_version() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["version"] == VERSION
    defaults = {
        resource.kind: dict(_defaults(resource.schema()["properties"]["spec"], "spec"))
        for resource in CUSTOM_RESOURCES
    }
    assert defaults == golden["defaults"]


def _defaults(node: Schema, path: str) -> Iterator[tuple[str, Any]]:
    """Default of every scalar (int-or-string too, which has no type) and list; an object's are
    those of its fields."""
    if "default" in node and node.get("type") != "object":
        yield path, node["default"]
    for name, child in node.get("properties", {}).items():
        yield from _defaults(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if key in node:
            yield from _defaults(node[key], path + mark)
