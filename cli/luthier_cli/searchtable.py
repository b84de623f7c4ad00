"""The trials of a search, as a table. Pure: parts of a status in, Rich out."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.visible import one_line

_STYLES = {"Complete": "green", "Pruned": "dim", "Failed": "red", "Running": "cyan"}


def counted(search: Mapping[str, Any]) -> str:
    """How far it is, in a few words."""
    ended = sum(search.get(name, 0) for name in ("complete", "pruned", "failed"))
    told = [f"{ended} of {search.get('trials', 0)} trials"]
    told += [
        f"{search[name]} {name}" for name in ("running", "pruned", "failed") if search.get(name)
    ]
    best = search.get("best") or {}
    if best.get("value") is not None:
        told.append(f"best {best['value']:.4g} (trial {best['number']})")
    return ", ".join(told)


def render(search: Mapping[str, Any]) -> RenderableType:
    """The counts, and a line for each trial that the status has."""
    trials = search.get("table") or []
    if not trials:
        return Text("no trial has begun yet")
    metric = (search.get("objective") or {}).get("metric", "value")
    paths = sorted({path for trial in trials for path in trial.get("settings") or {}})
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for heading in ("Trial", "State", metric, "Steps", "Seconds", *paths):
        right = heading not in ("State", *paths)
        table.add_column(Text(one_line(heading)), justify="right" if right else "left")
    best = (search.get("best") or {}).get("number")
    for trial in trials:
        state, value = str(trial.get("state", "")), trial.get("value")
        chosen = trial.get("number") == best
        settings = trial.get("settings") or {}
        seconds = trial.get("seconds")
        table.add_row(
            Text(f"{trial.get('number')}{'*' if chosen else ''}", style="bold" if chosen else ""),
            Text(one_line(state), style=_STYLES.get(state, "")),
            Text("" if value is None else f"{value:.4g}"),
            Text(f"{trial.get('step', 0):,}"),
            Text("" if seconds is None else f"{seconds:.0f}"),
            *(Text(one_line(str(settings.get(path, "")))) for path in paths),
        )
    notes = [Text(f"{counted(search)}{'; * is the best' if best is not None else ''}")]
    if search.get("stopped"):
        notes.append(Text(one_line(f"stopped: {search['stopped']}"), style="yellow"))
    failed = [it for it in trials if it.get("error")]
    notes += [
        Text(one_line(f"trial {it.get('number')}: {it['error']}"), style="red")
        for it in failed[-3:]
    ]
    return Group(table, *notes)
