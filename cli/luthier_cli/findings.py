"""What is wrong with a manifest: where, what, and the remedy."""

from dataclasses import asdict, dataclass
from typing import Any

from luthier_cli.yaml import Document, Path


@dataclass(frozen=True)
class Finding:
    """One mistake, at a field of a file."""

    file: str
    line: int
    field: str
    message: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready dict."""
        return asdict(self)


def field_name(path: Path) -> str:
    """A path as the API server writes it: spec.evaluation.metrics[0]."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def locate(document: Document, field: str) -> Path:
    """The path of a field that the API server named, or of the nearest one around it."""
    paths = {field_name(path): path for path in document.lines}
    while field not in paths:
        field = field[: max(field.rfind("."), field.rfind("["), 0)]
    return paths[field]


def identity(value: Any) -> str:
    """`Kind/name` of a manifest, as far as it says."""
    metadata = value.get("metadata") if isinstance(value, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    kind = value.get("kind") if isinstance(value, dict) else None
    return f"{kind or 'resource without kind'}/{name or '(no name)'}"
