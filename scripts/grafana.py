"""Dashboards as Grafana imports them: rows of panels, a panel with its queries. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

SOURCE: Json = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24  # Grafana's
# What stands for the labels that are chosen above the panels.
WORDS = {
    "{OF": '{namespace=~"$namespace"',
    "{RUN": '{namespace="$namespace",kind="$kind",name="$name"',
}


@dataclass(frozen=True)
class Query:
    """PromQL, with `WORDS` in it, and how its series are called."""

    expression: str
    legend: str = ""

    @property
    def promql(self) -> str:
        """With Grafana's variables."""
        text = self.expression
        for word, labels in WORDS.items():
            text = text.replace(word, labels)
        return text


@dataclass(frozen=True)
class Panel:
    """`kind`: timeseries, stat, table or bargauge. `unit`: Grafana's."""

    title: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    text: str = ""
    width: int = 8
    height: int = 7
    stacked: bool = False
    log: bool = False


def graph(title: str, *queries: Query, **more: Any) -> Panel:
    return Panel(title, queries, **more)


def stat(title: str, expression: str, unit: str = "short", **more: Any) -> Panel:
    return Panel(title, (Query(expression),), "stat", unit, **({"width": 4, "height": 4} | more))


def bars(title: str, query: Query, unit: str = "short", **more: Any) -> Panel:
    return Panel(title, (query,), "bargauge", unit, **more)


def table(title: str, expression: str, **more: Any) -> Panel:
    return Panel(title, (Query(expression),), "table", **({"width": 24, "height": 9} | more))


@dataclass(frozen=True)
class Variable:
    """A choice above the panels, of the values of a label."""

    name: str
    query: str
    several: bool = False


@dataclass(frozen=True)
class Dashboard:
    """`uid`: of its address in Grafana, for good."""

    uid: str
    title: str
    about: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    since: str = "now-6h"


def model(dashboard: Dashboard) -> Json:
    """As Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["luthier"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": dashboard.since, "to": "now"},
        "refresh": "30s",
        "links": [
            {
                "type": "dashboards",
                "tags": ["luthier"],
                "title": "Luthier",
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), *map(_variable, dashboard.variables)]},
        "panels": list(_panels(dashboard.rows)),
    }


def _source() -> Json:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(of: Variable) -> Json:
    several = {"multi": True, "includeAll": True, "allValue": ".*"} if of.several else {}
    return {
        "name": of.name,
        "label": of.name.capitalize(),
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": of.query, "refId": of.name},
        "refresh": 2,
        "sort": 1,
        **several,
        "current": {"text": "All", "value": "$__all"} if of.several else {},
    }


def _panels(rows: Sequence[tuple[str, tuple[Panel, ...]]]) -> list[Json]:
    found: list[Json] = []
    top = 0
    for title, panels in rows:
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        row = {"type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}
        found.append({"id": len(found) + 1, **row})
        top += 1
        left = height = 0
        for panel in panels:
            if left + panel.width > WIDTH:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            found.append({"id": len(found) + 1, **_panel(panel), "gridPos": place})
            left, height = left + panel.width, max(height, panel.height)
        top += height
    return found


def _panel(panel: Panel) -> Json:
    instant = panel.kind != "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.promql,
            "legendFormat": query.legend or "__auto",
            "instant": instant,
            "range": not instant,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for number, query in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, **_style(panel)}, "overrides": []},
        "options": _options(panel),
        **({"transformations": _COLUMNS} if panel.kind == "table" else {}),
    }


_COLUMNS = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]


def _style(panel: Panel) -> Json:
    if panel.kind != "timeseries":
        return {"min": 0} if panel.kind == "bargauge" else {}
    custom: Json = {
        "lineWidth": 1,
        "fillOpacity": 20 if panel.stacked else 0,
        "showPoints": "never",
    }
    if panel.stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    if panel.log:
        custom["scaleDistribution"] = {"type": "log", "log": 10}
    return {"custom": custom}


def _options(panel: Panel) -> Json:
    match panel.kind:
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi"},
            }
        case "bargauge":
            return {"orientation": "horizontal", "displayMode": "basic", **_LAST}
        case "stat":
            return {"graphMode": "none", "colorMode": "value", **_LAST}
    return {"showHeader": True}


_LAST: Json = {"reduceOptions": {"calcs": ["lastNotNull"]}}
