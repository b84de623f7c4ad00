"""What every tracker can do, and what a run has for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Outcome = Literal["Finished", "Failed", "Interrupted"]


class TrackerError(Exception):
    """It can't be told, in our own words. `refused`: trying again soon can't heal it."""

    def __init__(self, told: str, *, refused: bool = False) -> None:
        super().__init__(told)
        self.refused = refused


@dataclass(frozen=True)
class Point:
    """What was measured at a step. `time`: Unix time, the same in every pod of the run."""

    step: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class About:
    """Which run it is. `key`: the same in every pod of the run, and no other's; `group`: that of
    the search whose trial it is."""

    key: str
    name: str
    namespace: str
    job: str
    began: float
    spec: Mapping[str, Any]
    group: str | None = None


@dataclass(frozen=True)
class Known:
    """What is known beside the measurements; it grows while the run goes on."""

    facts: Mapping[str, str] = field(default_factory=dict)
    resolved: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, float] = field(default_factory=dict)
    end: Outcome | None = None


class Tracker(Protocol):
    """A tracker's side of one run. Every method raises TrackerError, and may be called anew then,
    `open` first. None is called from two threads at once."""

    @property
    def name(self) -> Literal["MLflow", "WandB"]:
        """Whose it is."""
        ...

    @property
    def id(self) -> str | None:
        """Of the run there, once it is known."""
        ...

    @property
    def url(self) -> str | None:
        """Of the run's page, likewise."""
        ...

    def open(self, known: Known) -> int:
        """Find the run, or make it; the last step that it has, or -1."""
        ...

    def know(self, known: Known) -> None:
        """Tell what is known by now."""
        ...

    def measure(self, points: Sequence[Point]) -> None:
        """Tell measurements, of ever later steps."""
        ...

    def end(self, known: Known) -> None:
        """The run has ended, for now."""
        ...

    def close(self) -> None:
        """Let go of what it holds. Raises nothing."""
        ...
