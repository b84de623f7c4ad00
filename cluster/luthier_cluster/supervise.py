"""Starting, watching and ending the components of one cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from . import network, processes, wait
from .components import Component
from .errors import ComponentError
from .layout import Layout
from .output import step
from .processes import Process


def pid_file(layout: Layout, name: str) -> Path:
    return layout.pids / f"{name}.json"


def log_file(layout: Layout, name: str) -> Path:
    return layout.logs / f"{name}.log"


def running(layout: Layout, name: str) -> Process | None:
    return processes.read(pid_file(layout, name))


def start(layout: Layout, component: Component) -> bool:
    """Starts it unless it runs as it should; whether it did.

    One that runs with another command line (the code or a binary has changed) starts anew.
    """
    process = running(layout, component.name)
    if process is not None:
        if process.command == list(component.command):
            return False
        processes.stop(process)
    processes.kill_all(_orphans(layout, component))
    processes.start(
        component.command,
        pid_file=pid_file(layout, component.name),
        log=log_file(layout, component.name),
        netns_file=layout.netns_file,
        folder=layout.state / "work" / component.name,
    )
    return True


def _orphans(layout: Layout, component: Component) -> list[int]:
    """What an `up` that was killed had started and not yet noted: it holds the ports."""
    command = b"\0".join(word.encode() for word in component.command) + b"\0"
    return [
        pid for pid in network.processes_inside(layout) if processes.command_line(pid) == command
    ]


def await_ready(layout: Layout, component: Component) -> None:
    """Waits until it answers; `ComponentError` if it dies first or takes too long."""
    deadline = time.monotonic() + component.within
    while True:
        # In this order: an answer may come from a stranger at the same address.
        if running(layout, component.name) is None:
            raise failure(layout, component.name, "has died")
        if wait.answers(component.health) and component.also():
            return
        if time.monotonic() > deadline:
            what = f"isn't ready after {component.within:g} s ({component.health})"
            raise failure(layout, component.name, what)
        time.sleep(0.05)


def failure(layout: Layout, name: str, what: str) -> ComponentError:
    log = log_file(layout, name)
    return ComponentError(name, what, str(log), processes.tail(log, 20))


def bring_up(layout: Layout, components: Iterable[Component]) -> None:
    """Starts them all at once, then waits for each."""
    batch = list(components)
    names = ", ".join(component.name for component in batch)
    with step(names):
        for component in batch:
            start(layout, component)
        for component in batch:
            await_ready(layout, component)
