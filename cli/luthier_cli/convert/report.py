"""What became of each field, for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from luthier_api.visible import one_line
from luthier_cli.convert.told import Fate, Told

_STYLES = {
    Fate.LOST: "yellow",
    Fate.UNKNOWN: "red",
    Fate.FILL: "cyan",
    Fate.DIFFERS: "magenta",
    Fate.MOOT: "dim",
    Fate.DEFAULT: "dim",
    Fate.SAME: "green",
}
_ALWAYS = (Fate.FILL, Fate.LOST, Fate.UNKNOWN)


def show(told: Sequence[Told], title: str, console: Console, *, everything: bool) -> None:
    """A line a field: what needs a look, or all; and how many there are of each."""
    several = len({it.kind for it in told}) > 1
    for it in told:
        if everything or it.fate in _ALWAYS:
            console.print(_line(it, several), soft_wrap=True)
    counts = Counter(it.fate for it in told if it.field)
    words = ", ".join(f"{counts[fate]} {fate}" for fate in Fate if counts[fate])
    console.print(Text(f"{title}: {words or 'no field'}", "bold"), soft_wrap=True)


def _line(it: Told, several: bool) -> Text:
    """A field: its value → what it is here: why. `several`: it is said in which kind."""
    given = f"{it.field}: {it.shown}" if it.shown else it.field or "(not given)"
    line = Text(one_line(given))
    line.append(" → ", "dim")
    kind = f"{it.kind} " if several and it.target else ""
    line.append(one_line(f"{kind}{it.target.removeprefix('spec.')}"), "bold")
    if not it.target:
        line.append(str(it.fate), _STYLES[it.fate])
    elif it.fate is not Fate.SAME:
        line.append(f" ({it.fate})", _STYLES[it.fate])
    if it.why:
        line.append(one_line(f": {it.why}"))
    return line


def to_json(told: Sequence[Told]) -> list[dict[str, Any]]:
    """As JSON-ready list."""
    return [it.to_json() for it in told]


def is_whole(told: Sequence[Told]) -> bool:
    """Whether all that was said is said here."""
    return not any(it.fate in (Fate.LOST, Fate.UNKNOWN) for it in told)
