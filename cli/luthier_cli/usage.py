"""`luthier usage`: what runs have used, from the operator's ledgers."""

import base64
import csv
import io
import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.usage import (
    LEDGER_KEY,
    Ledger,
    Used,
    ledger_name,
    lines_between,
    read_ledger,
    summed,
)
from luthier_api.visible import one_line
from luthier_cli import text
from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, UnreachableError

FIELDS = ("namespace", "pool", "kind", "user", "day")
_SINCE = re.compile(r"(\d{1,3})([dw])")
_MONTH = re.compile(r"\d{4}-\d{2}")
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Span = tuple[date, date]
Row = tuple[tuple[str, ...], Used]


def span(since: str | None, month: str | None, today: date) -> Span:
    """The first and the last day. Raises CliError."""
    if month is not None:
        if since is not None:
            raise CliError("--since and --month exclude each other", "give one of them")
        return _month(month)
    found = _SINCE.fullmatch(since or "30d")
    if found is None:
        raise CliError(f"--since {since} is no time", "write days or weeks: 30d, 4w")
    days = int(found[1]) * (7 if found[2] == "w" else 1)
    return today - timedelta(days=max(days, 1) - 1), today


def fields(by: str) -> list[str]:
    """What is summed by. Raises CliError."""
    names = [name.strip() for name in by.split(",")]
    for name in names:
        if name not in FIELDS:
            raise CliError(
                f"--by {name}: there is no such field", f"there are: {', '.join(FIELDS)}"
            )
    return list(dict.fromkeys(names))


def fetch(cluster: Cluster, where: str, days: Span) -> list[Ledger]:
    """The ledgers of the months of these days. `where`: NAMESPACE/RELEASE. Raises CliError."""
    namespace, slash, release = where.partition("/")
    if not (namespace and slash and release):
        raise CliError(f"--ledger {where} names no release", "write NAMESPACE/RELEASE")
    found = []
    for month in _months(days):
        path = f"/api/v1/namespaces/{namespace}/configmaps/{ledger_name(release, month)}"
        try:
            obj = cluster.request("GET", path)
        except ApiError as error:
            raise _explained(cluster, error, namespace, release) from None
        except UnreachableError as error:
            raise cluster.explain(error, "the ledger") from None
        if packed := (obj.get("binaryData") or {}).get(LEDGER_KEY):
            try:
                ledger = read_ledger(base64.b64decode(packed))
            except ValueError as error:
                raise CliError(f"the ledger of {month} can't be read: {error}", "") from None
            if ledger.month == month:
                found.append(ledger)
    return found


def rows(ledgers: Sequence[Ledger], days: Span, by: Sequence[str]) -> list[Row]:
    """Sums, the largest first. Lines of a folded ledger stand at the first of their month."""
    return summed(lines_between(ledgers, *days), by)


def render(found: Sequence[Row], by: Sequence[str], days: Span) -> RenderableType:
    """A line for each, and their sum."""
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1),
        header_style="bold",
        caption=f"{days[0]} to {days[1]} (UTC)",
        caption_justify="left",
        show_footer=len(found) > 1,
        footer_style="bold",
    )
    total = Used()
    for _, used in found:
        total += used
    for number, name in enumerate(by):
        table.add_column(Text(name.capitalize()), "" if number else Text("all"), overflow="fold")
    for heading, cell in zip(_HEADINGS, _cells(total), strict=True):
        table.add_column(Text(heading), Text(cell), justify="right", no_wrap=True)
    for key, used in found:
        table.add_row(*(Text(one_line(it or "–")) for it in key), *map(Text, _cells(used)))
    return table


def to_json(found: Sequence[Row], by: Sequence[str], days: Span) -> dict[str, Any]:
    """For programs."""
    return {
        "from": days[0].isoformat(),
        "to": days[1].isoformat(),
        "rows": [dict(zip(by, key, strict=True)) | used.to_json() for key, used in found],
    }


def to_csv(found: Sequence[Row], by: Sequence[str], days: Span) -> str:
    """For spreadsheets, and for whatever charges back."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    amounts = list(Used.model_fields)
    writer.writerow(["from", "to", *by, *amounts])
    for key, used in found:
        texts = [f"'{it}" if it.startswith(_FORMULA) else one_line(it) for it in key]
        writer.writerow([*(it.isoformat() for it in days), *texts, *dict(used).values()])
    return out.getvalue()


_HEADINGS = ("GPU hours", "CPU hours", "Tokens", "Uploaded")


def _cells(used: Used) -> tuple[str, ...]:
    return (
        f"{used.gpu_seconds / 3600:,.2f}",
        f"{used.cpu_seconds / 3600:,.2f}",
        f"{used.trained_tokens:,}",
        text.size(used.stored_bytes),
    )


def _explained(cluster: Cluster, error: ApiError, namespace: str, release: str) -> CliError:
    if error.code == 403:
        return CliError(
            f"you may not: {error}",
            f"ask for the role {release}-usage of the namespace {namespace}",
        )
    if error.code == 404:
        return CliError(
            f"no ledger of the release {release} in the namespace {namespace} of {cluster.server}",
            "name the operator's namespace and release: --ledger NAMESPACE/RELEASE",
        )
    return cluster.explain(error, "the ledger", namespace)


def _month(text: str) -> Span:
    try:
        if not _MONTH.fullmatch(text):
            raise ValueError
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise CliError(f"--month {text} is no month", "write YYYY-MM, e.g. 2026-11") from None
    return first, _next(first) - timedelta(days=1)


def _months(days: Span) -> list[str]:
    """Those of the days, and the one after: a day's last minutes may stand in the next ledger."""
    month, found = days[0].replace(day=1), []
    while month <= _next(days[1].replace(day=1)):
        found.append(month.isoformat()[:7])
        month = _next(month)
    return found[-12:]


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
