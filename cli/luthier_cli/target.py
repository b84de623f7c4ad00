"""Which resource of a cluster a command is about: NAME, or KIND/NAME as kubectl has it."""

from dataclasses import dataclass

from luthier_api.kinds import FINE_TUNE_JOB, KINDS, Kind, kind_called
from luthier_cli.errors import CliError


@dataclass(frozen=True)
class Target:
    """A resource by kind and name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name} {self.name}"

    @property
    def argument(self) -> str:
        """As a command takes it."""
        return self.name if self.kind is FINE_TUNE_JOB else f"{self.kind.short}/{self.name}"

    def path(self, namespace: str) -> str:
        """Its path in the API."""
        return f"{self.kind.collection(namespace)}/{self.name}"


def parse_kinds(text: str | None) -> list[Kind]:
    """The kind of that name, all without one. Raises CliError."""
    if text is None:
        return list(KINDS.values())
    if found := kind_called(text):
        return [found]
    known = ", ".join(f"{kind.short} ({kind.name})" for kind in KINDS.values())
    raise CliError(f"{text} is no kind of ours", f"write {known}")


def parse_target(text: str) -> Target:
    """A name alone is a FineTuneJob's. Raises CliError."""
    kind, slash, name = text.rpartition("/")
    if not slash:
        return Target(FINE_TUNE_JOB, text)
    found = kind_called(kind)
    if found is None or not name:
        known = ", ".join(f"{kind.short}/NAME ({kind.name})" for kind in KINDS.values())
        raise CliError(f"{text} names no resource of ours", f"write {known}")
    return Target(found, name)
