"""What can go wrong with a cluster, said so that a reader knows what to do."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """A cluster isn't in the state that was asked for; the message has the remedy."""


class ComponentError(ClusterError):
    """A component died or didn't get ready: which, and the last lines of its log."""

    def __init__(self, component: str, what: str, log: str, last_lines: str) -> None:
        super().__init__(f"{component} {what}. Last lines of {log}:\n{last_lines}")
        self.component = component
