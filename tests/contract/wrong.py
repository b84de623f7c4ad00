"""A manifest that must be refused: what is changed, the field that the error names, its remedy."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Wrong:
    """A change to the valid FineTuneJob (spec fields, unless the path begins with a dot).

    `field` is a whole path: less of one is found in the words of many a message.
    """

    title: str
    changes: dict[str, Any]
    field: str
    words: str

    def __post_init__(self) -> None:
        assert self.field.startswith(("spec", "metadata")), f"{self.title}: {self.field}"

    @property
    def paths(self) -> dict[str, Any]:
        """The changes by their whole path."""
        return {
            path[1:] if path.startswith(".") else f"spec.{path}": value
            for path, value in self.changes.items()
        }


def wrong(title: str, changes: dict[str, Any], field: str, words: str) -> Wrong:
    """A case, in one line."""
    return Wrong(title, changes, field, words)
