"""Where a run's state is shown while it goes on: a live picture, plain lines, or JSON."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Protocol

import rich.live
from rich.console import Console, RenderableType
from rich.text import Text

from luthier_api.visible import in_json, one_line
from luthier_cli import view
from luthier_cli.state import Resource, outcome, status_of

_PLAIN_SECONDS = 10.0


class Display(Protocol):
    """Shows the latest state of a run."""

    def show(self, resource: Resource) -> None:
        """The state changed."""

    def say(self, note: str) -> None:
        """Something the user should know meanwhile."""


@contextmanager
def open_display(console: Console, output: str, note: str = "") -> Iterator[Display]:
    """The display that suits the terminal and `--output`."""
    if output == "json":
        yield _JsonLines()
    elif not console.is_terminal:
        yield _PlainLines(console)
    else:
        picture = _Picture(note)
        with rich.live.Live(
            get_renderable=picture.render, console=console, refresh_per_second=8, transient=True
        ):
            yield picture


class _Picture:
    """Drawn anew several times a second, so that ETA and spinner go on between changes."""

    def __init__(self, note: str) -> None:
        self._live = view.Live()
        self._resource: Resource | None = None
        self._note = note

    def show(self, resource: Resource) -> None:
        self._resource = resource

    def say(self, note: str) -> None:
        self._note = note

    def render(self) -> RenderableType:
        if self._resource is None:
            return Text(one_line(self._note), style="dim")
        return self._live.frame(self._resource, datetime.now(UTC), self._note)


class _PlainLines:
    """A line whenever the phase changes, and every few seconds while only numbers move."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._phase = ""
        self._line = ""
        self._last = 0.0

    def show(self, resource: Resource) -> None:
        # "Evaluating 512/2000" is the same phase as "Evaluating 640/2000".
        phase, now = re.sub(r"\d+", "", view.phase(resource)), time.monotonic()
        if phase == self._phase and now - self._last < _PLAIN_SECONDS and not outcome(resource):
            return
        self._phase, self._last = phase, now
        if (line := view.plain_line(resource, datetime.now(UTC))) != self._line:
            self._line = line
            self.say(line)

    def say(self, note: str) -> None:
        clock = datetime.now().strftime("%H:%M:%S")
        line = f"{clock}  {one_line(note)}"
        self._console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)


class _JsonLines:
    """One JSON document a change, on stdout."""

    def show(self, resource: Resource) -> None:
        metadata = resource["metadata"]
        document = {
            "event": "change",
            "namespace": metadata.get("namespace"),
            "name": metadata["name"],
            "generation": metadata.get("generation"),
            "status": status_of(resource),
        }
        print(in_json(json.dumps(document, ensure_ascii=False)), flush=True)

    def say(self, note: str) -> None:
        """JSON is for programs: they see the change itself."""
