"""What became of each field of a configuration."""

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_SHOWN = 60  # characters of a value
_SECRET = re.compile(r"(?i)(token|secret|passw|api_?key|access_?key|credential)")
# Names that only seem to be of secrets: counts of tokens, names of special ones.
_HARMLESS = re.compile(r"(?i)(tokens|_token_ids?|(pad|eos|bos|unk|new)_token|tokenizer.*)$")


class Fate(StrEnum):
    """What becomes of a field, in the words of the report."""

    SAME = "same"
    DIFFERS = "differs"
    DEFAULT = "default"  # it isn't given, and the tool's default isn't ours
    FILL = "fill in"  # what stands there now is a guess: only the user knows
    MOOT = "not needed"  # nothing is lost without it
    LOST = "can't be said"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Told:
    """A field of the configuration, and what became of it. `target`: its field here, with spec."""

    field: str
    value: Any
    fate: Fate
    target: str = ""
    why: str = ""
    kind: str = ""

    @property
    def shown(self) -> str:
        """The value in short; never a secret's."""
        return shown(self.field, self.value)

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready dict."""
        return {
            "field": self.field,
            "value": self.shown,
            "fate": str(self.fate),
            "kind": self.kind,
            "target": self.target,
            "why": self.why,
        }


def shown(field: str, value: Any) -> str:
    """A value for people, in short; stars where the field's name tells of a secret."""
    if value is None:
        return ""
    last = field.rpartition(".")[2]
    if _SECRET.search(last) and not _HARMLESS.search(last) and not isinstance(value, bool):
        return "***"
    if isinstance(value, dict | list):
        return "{…}" if isinstance(value, dict) else _cut(_listed(value))
    return _cut(value if isinstance(value, str) else json.dumps(value))


def _listed(value: list[Any]) -> str:
    plain = all(isinstance(it, str | int | float) for it in value)
    return f"[{', '.join(map(str, value))}]" if plain else "[…]"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
