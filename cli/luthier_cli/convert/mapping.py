"""Tables of fields: what each field of a tool's configuration is here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier_cli.convert.draft import Draft
from luthier_cli.convert.told import Fate


class UnsaidError(Exception):
    """A value that can't be said here, and why."""


@dataclass(frozen=True)
class Said:
    """A value of ours that isn't quite what was said. None: it says nothing here."""

    value: Any
    why: str
    fate: Fate = Fate.DIFFERS


Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Field:
    """What a field of a tool is here. `default`: the tool's, where it isn't ours."""

    targets: tuple[str, ...] = ()
    read: Reader | None = None
    fate: Fate = Fate.SAME
    why: str = ""
    default: Any = None
    same: tuple[Any, ...] = ()
    rule: "Rule | None" = None


class Group:
    """Fields that are read together: one has its meaning by the others."""

    def __init__(
        self, draft: Draft, given: Mapping[str, Any], names: list[str], where: str
    ) -> None:
        self.draft = draft
        self.names = names
        self._given = given
        self._where = where
        self._told: set[str] = set()

    def get(self, name: str) -> Any:
        """A field's value; None where it isn't given."""
        return self._given.get(name)

    def put(
        self,
        target: str,
        value: Any,
        name: str = "",
        why: str = "",
        *,
        fate: Fate = Fate.SAME,
    ) -> None:
        """A field of ours, made of the one called `name`. None: of what isn't given."""
        if name and self.get(name) is None and fate is Fate.SAME:
            fate = Fate.DEFAULT
        self._told.add(name)
        self.draft.put(target, value, self._path(name), self.get(name), fate=fate, why=why)

    def read(self, target: str, name: str, reader: Reader, why: str = "") -> Any:
        """As `put`, of a field that is given, read by itself."""
        value = self.get(name)
        self._told.add(name)
        return (
            None
            if value is None
            else take(self.draft, target, reader, self._path(name), value, why)
        )

    def lost(self, name: str, why: str) -> None:
        """A field that can't be said, if it is given."""
        self._tell(name, Fate.LOST, why)

    def moot(self, name: str, why: str) -> None:
        """A field without which nothing is lost, if it is given."""
        self._tell(name, Fate.MOOT, why)

    def same(self, name: str, target: str, why: str = "") -> None:
        """A field that has its say in one that another has put, if it is given."""
        self._tell(name, Fate.SAME, why, f"spec.{target}")

    def quiet(self, *names: str) -> None:
        """Fields that no configuration has: they hand something to a rule."""
        self._told.update(names)

    def rest(self, why: str) -> None:
        """All that nothing was said of."""
        for name in self.names:
            if name not in self._told:
                self.moot(name, why)

    def _tell(self, name: str, fate: Fate, why: str, target: str = "") -> None:
        self._told.add(name)
        if (value := self.get(name)) is not None:
            self.draft.tell(self._path(name), value, fate, target, why)

    def _path(self, name: str) -> str:
        return f"{self._where}{name}" if name else ""


Rule = Callable[[Group], None]
Table = Mapping[str, Field]
# What a field that turns something on says where it doesn't.
_OFF = (None, False, "", "none", "no", "off", "false")


def to(target: str, read: Reader | None = None, *, why: str = "", default: Any = None) -> Field:
    """A field that is called `target` here."""
    return Field((target,), read, why=why, default=default)


def heard(read: Reader) -> Field:
    """A field that is never a field here; its reader says why, by its value."""
    return Field(read=read)


def moot(why: str) -> Field:
    """A field without which nothing is lost."""
    return Field(fate=Fate.MOOT, why=why)


def lost(why: str, *same: Any) -> Field:
    """A field that can't be said here, unless it is off, or one of those that are done anyway."""
    return Field(fate=Fate.LOST, why=why, same=same)


def group(rule: Rule, *targets: str) -> Field:
    """A field that is read with others, by one rule."""
    return Field(targets, rule=rule)


def several(names: str, field: Field) -> dict[str, Field]:
    """The same for several names."""
    return dict.fromkeys(names.split(), field)


def walk(table: Table, given: Mapping[str, Any], draft: Draft, where: str = "") -> None:
    """Read a mapping by a table. `where`: what its fields' names begin with, e.g. peft."""
    together: dict[Rule, list[str]] = {it.rule: [] for it in table.values() if it.rule}
    for name, value in given.items():
        field = table.get(name)
        if field is None:
            draft.tell(
                f"{where}{name}", value, Fate.UNKNOWN, why="no field that this command knows"
            )
        elif field.rule:
            together[field.rule].append(name)
        elif value is not None:
            _read(draft, field, f"{where}{name}", value)
    for name, field in table.items():
        if field.default is not None and given.get(name) is None:
            draft.put(
                field.targets[0], field.default, f"{where}{name}", fate=Fate.DEFAULT, why=field.why
            )
    for rule, names in together.items():
        rule(Group(draft, given, names, where))


def _read(draft: Draft, field: Field, name: str, value: Any) -> None:
    if field.targets or field.read:
        target = field.targets[0] if field.targets else ""
        take(draft, target, field.read, name, value, field.why)
    elif field.fate is Fate.LOST and _is_off(value):
        draft.moot(name, value, "it is off")
    elif field.fate is Fate.LOST and any(value == it for it in field.same):
        draft.moot(name, value, "so it is here, too")
    else:
        draft.tell(name, value, field.fate, why=field.why)


def _is_off(value: Any) -> bool:
    if isinstance(value, str):
        return value.lower() in _OFF
    return value in ([], {}) or any(value is it for it in _OFF)


def take(
    draft: Draft, target: str, read: Reader | None, name: str, value: Any, why: str = ""
) -> Any:
    """Put a value as it is read, or say why it can't be. What was put; None: nothing."""
    try:
        found = read(value) if read else value
    except UnsaidError as reason:
        draft.lost(name, value, str(reason))
        return None
    if found is None:
        found = Said(None, "it is off", Fate.MOOT)
    if isinstance(found, Said):
        if found.value is None:
            draft.tell(name, value, found.fate, why=found.why)
        else:
            draft.put(target, found.value, name, value, fate=found.fate, why=found.why)
        return found.value
    draft.put(target, found, name, value, fate=Fate.DIFFERS if why else Fate.SAME, why=why)
    return found
