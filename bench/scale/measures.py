"""What is measured, by name; each on a fleet of its own."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.figures import Rows
from bench.scale import burst, chaos, idle, start, takeover
from bench.scale.fleet import fleet

DEFAULT = ("burst", "idle", "start")
NAMES = (*DEFAULT, "takeover", "chaos")


class Figures(Protocol):
    """What a measurement gives: a dataclass."""

    def rows(self) -> Rows: ...


@dataclass(frozen=True)
class Options:
    """How much of each."""

    burst: int = 300
    idle: int = 30
    start: int = 10_000
    chaos: int = 500
    minutes: float = 20
    replicas: int = 2
    profile: Path | None = None


def measured(names: Iterable[str], options: Options | None = None) -> Iterator[Figures]:
    """Each in turn, told on stderr as soon as it is there."""
    chosen = options or Options()
    for name in names:
        for figures in _one(name, chosen):
            for what, figure in figures.rows():
                print(f"{what}: {figure}", file=sys.stderr, flush=True)
            yield figures


def _one(name: str, options: Options) -> list[Figures]:
    # Pods that last: kills have to hit runs in their middle.
    with fleet(seconds=20.0 if name == "chaos" else 1.0) as found:
        match name:
            case "burst":
                return list(burst.measure(found, options.burst, options.profile))
            case "idle":
                return [idle.measure(found, options.idle)]
            case "start":
                return [start.measure(found, options.start, options.profile)]
            case "takeover":
                return [takeover.measure(found)]
            case _:
                return [chaos.measure(found, options.chaos, options.minutes, options.replicas)]


def as_json(figures: Iterable[Any]) -> str:
    """All that was measured, not only what the table shows."""
    return json.dumps([{type(it).__name__: asdict(it)} for it in figures], indent=2)
