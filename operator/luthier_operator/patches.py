"""JSON merge patches (RFC 7386). Pure."""

from typing import Any


def merge_diff(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The patch that makes `new` of `old`; empty where they are equal. Lists are replaced."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := merge_diff(before, value):
                patch[name] = inner
        elif name not in old or before != value:
            patch[name] = value
    return patch
