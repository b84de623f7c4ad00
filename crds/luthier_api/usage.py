"""What runs have used: the ledger that the operator keeps, and sums of it (docs/adr/0034). Pure.

A ledger is a month. Its lines are days; what was used before it stands in its `before`, so that
totals go on from month to month.
"""

import gzip
import io
import json
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated

from pydantic import Field

from luthier_api.bounds import MOST, Amount, Count
from luthier_api.meta import Model

LEDGER_KEY = "ledger.json.gz"  # of a ConfigMap's binaryData
MONTHS = 12
# A ConfigMap holds a MiB, its JSON with base64 in it.
MOST_BYTES = 700_000
# What a ledger of that size may unpack to: repetitive text shrinks twentyfold.
MOST_UNPACKED = 64 * 2**20
OTHERS = "(others)"

Text = Annotated[str, Field(max_length=256)]


class Used(Model):
    """Amounts, summed."""

    gpu_seconds: Amount = Field(default=0, description="GPUs that pods asked for × their time.")
    cpu_seconds: Amount = Field(default=0, description="CPUs that pods asked for × their time.")
    trained_tokens: Count = Field(default=0, description="Tokens learnt from, by trainers' word.")
    stored_bytes: Count = Field(default=0, description="Bytes uploaded, by trainers' word.")

    def __add__(self, other: "Used") -> "Used":
        """Both, up to what can be written: what one trainer tells mustn't spoil all sums."""
        return Used(
            gpu_seconds=min(MOST, self.gpu_seconds + other.gpu_seconds),
            cpu_seconds=min(MOST, self.cpu_seconds + other.cpu_seconds),
            trained_tokens=min(MOST, self.trained_tokens + other.trained_tokens),
            stored_bytes=min(MOST, self.stored_bytes + other.stored_bytes),
        )


class Account(Model):
    """Whose use it is: what counters are labelled by."""

    namespace: Text
    pool: Text
    kind: Text


class Line(Account, Used):
    """A day's use of one account by one user."""

    day: Text
    user: Text = ""


class Total(Account, Used):
    """All that an account has used."""


class Mark(Model):
    """How much of a resource's words is in the ledger already."""

    revision: Text
    trained_tokens: Count = 0
    stored_bytes: Count = 0


class Ledger(Model):
    """A month, and how far it goes."""

    month: Text = Field(description="YYYY-MM.")
    until: Text = Field(description="All before is in it (RFC 3339).")
    before: list[Total] = []
    lines: list[Line] = []
    marks: dict[str, Mark] = Field(default={}, description="By the uid of a resource.")


def ledger_name(release: str, month: str) -> str:
    """The ConfigMap of a month: there are twelve, and each is written anew after a year."""
    return f"{release}-usage-{month[-2:]}"


def write_ledger(ledger: Ledger) -> bytes:
    """As it lies in the ConfigMap."""
    text = json.dumps(ledger.to_json(sparse=True), separators=(",", ":"), ensure_ascii=False)
    return gzip.compress(text.encode(), mtime=0)


def read_ledger(packed: bytes) -> Ledger:
    """Raises ValueError for what is none."""
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            text = file.read(MOST_UNPACKED + 1)
    except (OSError, EOFError) as error:
        raise ValueError(f"not a gzip file: {error}") from error
    if len(text) > MOST_UNPACKED:
        raise ValueError(f"it unpacks to more than {MOST_UNPACKED} bytes")
    return Ledger.read(json.loads(text))


def totals(ledger: Ledger) -> list[Total]:
    """All that each account has used, up to the ledger's end."""
    sums: dict[tuple[str, str, str], Used] = {}
    entries: list[Total | Line] = [*ledger.before, *ledger.lines]
    for it in entries:
        key = (it.namespace, it.pool, it.kind)
        sums[key] = sums.get(key, Used()) + it
    return [
        # Rounded: in another order the same numbers have another sum, and a counter mustn't fall.
        Total(namespace=namespace, pool=pool, kind=kind, **dict(rounded(used)))
        for (namespace, pool, kind), used in sorted(sums.items())
    ]


def rounded(used: Used) -> Used:
    """To a millisecond."""
    return Used(
        gpu_seconds=round(used.gpu_seconds, 3),
        cpu_seconds=round(used.cpu_seconds, 3),
        trained_tokens=used.trained_tokens,
        stored_bytes=used.stored_bytes,
    )


def lines_between(ledgers: Iterable[Ledger], first: date, last: date) -> list[Line]:
    """The lines of days from `first` to `last`, both included."""
    days = (first.isoformat(), last.isoformat())
    return [line for ledger in ledgers for line in ledger.lines if days[0] <= line.day <= days[1]]


def summed(lines: Iterable[Line], by: Sequence[str]) -> list[tuple[tuple[str, ...], Used]]:
    """Sums by fields of a line, the largest first."""
    sums: dict[tuple[str, ...], Used] = {}
    for line in lines:
        key = tuple(getattr(line, name) for name in by)
        sums[key] = sums.get(key, Used()) + line
    return sorted(sums.items(), key=lambda it: (-it[1].gpu_seconds, -it[1].cpu_seconds, it[0]))
