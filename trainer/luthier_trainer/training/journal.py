"""What was measured while training, step by step: metrics.jsonl."""

import json
import math
from collections.abc import Mapping
from typing import Any


class Journal:
    """One entry per logged step and kind; part of every checkpoint, so that a resumed run
    goes on where the checkpoint was: no step is missing, none is double."""

    def __init__(self, entries: list[dict[str, Any]] | None = None) -> None:
        self.entries: list[dict[str, Any]] = list(entries or [])

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Values that are no number (a gradient norm that overflowed) are left out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self.entries.append({"step": step, **finite})

    def names(self) -> list[str]:
        """All that was measured, in the order of its first entry."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry))

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """(steps, values) of one measure."""
        found = [(entry["step"], entry[name]) for entry in self.entries if name in entry]
        return [step for step, _ in found], [value for _, value in found]

    def to_jsonl(self) -> bytes:
        return "".join(json.dumps(entry) + "\n" for entry in self.entries).encode()
