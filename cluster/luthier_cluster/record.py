"""What a cluster remembers of itself: number, flavour, secrets. One file, mode 600."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import layout, network
from .errors import ClusterError
from .locks import locked

FLAVOURS = ("control-plane", "full")
IDENTITIES = ("admin", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "dns")


@dataclass(frozen=True)
class Record:
    """`tokens` maps each of IDENTITIES to its bearer token for the API server."""

    number: int
    flavour: str
    s3_access_key: str
    s3_secret_key: str
    tokens: dict[str, str]


def record_file(name: str) -> Path:
    return layout.state_root() / "clusters" / name / "cluster.json"


def read(name: str) -> Record | None:
    """The cluster's record, or None where there is no such cluster."""
    try:
        text = record_file(name).read_text()
    except FileNotFoundError:
        return None
    return Record(**json.loads(text))


def write(name: str, record: Record) -> None:
    write_private(record_file(name), json.dumps(asdict(record), indent=1))


def write_private(file: Path, text: str) -> None:
    """Whole or not at all, and readable by root alone from the first byte."""
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_name(f".{file.name}.{os.getpid()}")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    half.rename(file)


def names() -> list[str]:
    """Every cluster that has state on this machine, running or not."""
    return sorted(
        file.parent.name for file in record_file("x").parent.parent.glob("*/cluster.json")
    )


def lowest_free(taken: Iterable[int]) -> int:
    """The lowest number of 1 to 254 that isn't taken; `ClusterError` when all are."""
    used = set(taken)
    for number in range(1, 255):
        if number not in used:
            return number
    raise ClusterError("254 clusters exist on this machine: take some down (`down --all`)")


def reserve(name: str, flavour: str) -> Record:
    """The cluster's record, made where there is none.

    A full cluster stays full when asked for less: its pods may be at work.
    """
    with locked(layout.lock("all clusters")):
        record = read(name)
        if record is None:
            taken = [other.number for other in map(read, names()) if other is not None]
            record = Record(
                number=lowest_free([*taken, *network.numbers_in_use()]),
                flavour=flavour,
                s3_access_key=f"AK{secrets.token_hex(8).upper()}",
                s3_secret_key=secrets.token_urlsafe(30),
                tokens={identity: secrets.token_urlsafe(24) for identity in IDENTITIES},
            )
            write(name, record)
        elif flavour == "full" != record.flavour:
            record = replace(record, flavour=flavour)
            write(name, record)
        return record
