"""`luthier usage` on a real API server; the test plays the operator that keeps the ledgers."""

import base64
import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from unit.cli.command import luthier

from luthier_api.usage import LEDGER_KEY, Ledger, Line, ledger_name, write_ledger
from luthier_cli import usage
from luthier_cli.errors import CliError
from luthier_cluster import Cluster

TODAY = datetime.now(UTC).date()


def line(days_ago: int, namespace: str, user: str, gpu_hours: float) -> Line:
    return Line(
        day=(TODAY - timedelta(days=days_ago)).isoformat(),
        namespace=namespace,
        pool="gpu",
        kind="FineTuneJob",
        user=user,
        gpu_seconds=gpu_hours * 3600,
        cpu_seconds=gpu_hours * 7200,
        trained_tokens=1_000_000,
        stored_bytes=2**30,
    )


LINES = [
    line(0, "team-a", "jo@example.com", 2),
    line(0, "team-b", "=HYPERLINK(1)", 5),
    line(6, "team-a", "kim@example.com", 1.5),
    line(200, "team-c", "", 7),
]


@pytest.fixture
def ledgers(control_plane: Cluster, namespace: str) -> str:
    """A namespace with the ledgers of a release called luthier."""
    months = {it.day[:7]: [other for other in LINES if other.day[:7] == it.day[:7]] for it in LINES}
    months |= {month: [] for month in _year() if month not in months}
    for month, lines in months.items():
        ledger = Ledger(month=month, until=datetime.now(UTC).isoformat(), lines=lines)
        packed = {LEDGER_KEY: base64.b64encode(write_ledger(ledger)).decode()} if lines else {}
        name = ledger_name("luthier", month)
        obj = {
            "apiVersion": "v1", "kind": "ConfigMap", "binaryData": packed,
            "metadata": {"name": name, "namespace": namespace},
        }  # fmt: skip
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(obj))
    return namespace


def _year() -> list[str]:
    first, found = TODAY.replace(day=1), []
    for _ in range(12):
        found.append(first.isoformat()[:7])
        first = (first - timedelta(days=1)).replace(day=1)
    return found


def said(cluster: Cluster, namespace: str, *arguments: str, **extra: str) -> str:
    where = f"{namespace}/luthier"
    done = luthier("usage", *arguments, "--ledger", where, kubeconfig=cluster.kubeconfig, **extra)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_table_by_namespace(control_plane: Cluster, ledgers: str) -> None:
    rows = [it.split() for it in said(control_plane, ledgers, "--since", "7d").splitlines()]
    assert rows[0] == ["Namespace", "GPU", "hours", "CPU", "hours", "Tokens", "Uploaded"]
    assert rows[1] == ["team-b", "5.00", "10.00", "1,000,000", "1.0", "GiB"]
    assert rows[2] == ["team-a", "3.50", "7.00", "2,000,000", "2.0", "GiB"]
    assert rows[3] == ["all", "8.50", "17.00", "3,000,000", "3.0", "GiB"]
    assert rows[4] == [f"{TODAY - timedelta(days=6)}", "to", f"{TODAY}", "(UTC)"]


def test_the_table_fits_eighty_columns(control_plane: Cluster, ledgers: str) -> None:
    text = said(control_plane, ledgers, "--by", "namespace,user", COLUMNS="80")
    assert max(map(len, text.splitlines())) <= 80
    assert "jo@example.com" in text


def test_documents_for_programs(control_plane: Cluster, ledgers: str) -> None:
    found = json.loads(said(control_plane, ledgers, "--since", "1d", "--by", "user", "-o", "json"))
    assert (found["from"], found["to"]) == (TODAY.isoformat(), TODAY.isoformat())
    assert {it["user"]: it["gpuSeconds"] for it in found["rows"]} == {
        "jo@example.com": 7200, "=HYPERLINK(1)": 18_000,
    }  # fmt: skip
    text = said(control_plane, ledgers, "--since", "1d", "--by", "user,pool", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    # A spreadsheet runs no formula that somebody called themselves.
    assert [(it["user"], it["pool"], it["gpu_seconds"]) for it in rows] == [
        ("'=HYPERLINK(1)", "gpu", "18000.0"), ("jo@example.com", "gpu", "7200.0"),
    ]  # fmt: skip


def test_a_month_that_is_over(control_plane: Cluster, ledgers: str) -> None:
    month = LINES[3].day[:7]
    text = said(control_plane, ledgers, "--month", month, "--by", "namespace,day")
    assert text.splitlines()[1].split()[:2] == ["team-c", LINES[3].day]
    assert "team-a" not in text


def test_nothing_used_is_no_trouble(control_plane: Cluster, ledgers: str) -> None:
    done = luthier(
        "usage", "--month", _year()[10], "--ledger", f"{ledgers}/luthier",
        kubeconfig=control_plane.kubeconfig,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing was used from" in done.stderr


def test_what_is_lacking_is_said_with_the_remedy(
    control_plane: Cluster, ledgers: str, tmp_path: Path
) -> None:
    done = luthier("usage", "--ledger", f"{ledgers}/other", kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 2
    assert f"no ledger of the release other in the namespace {ledgers}" in done.stderr
    assert "--ledger NAMESPACE/RELEASE" in done.stderr
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] |= {"as": "jo@example.com"}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    done = luthier("usage", "--ledger", f"{ledgers}/luthier", kubeconfig=tmp_path / "config")
    if done.returncode:  # a client that impersonates
        assert f"ask for the role luthier-usage of the namespace {ledgers}" in done.stderr


@pytest.mark.parametrize(
    ("since", "month", "first", "last"),
    [
        (None, None, date(2026, 2, 1), date(2026, 3, 2)),
        ("1d", None, date(2026, 3, 2), date(2026, 3, 2)),
        ("2w", None, date(2026, 2, 17), date(2026, 3, 2)),
        (None, "2026-02", date(2026, 2, 1), date(2026, 2, 28)),
        (None, "2025-12", date(2025, 12, 1), date(2025, 12, 31)),
    ],
)
def test_spans(since: str | None, month: str | None, first: date, last: date) -> None:
    assert usage.span(since, month, date(2026, 3, 2)) == (first, last)


@pytest.mark.parametrize(
    ("since", "month", "words"),
    [
        ("a week", None, "is no time"),
        ("30", None, "is no time"),
        (None, "2026-13", "is no month"),
        (None, "November", "is no month"),
        ("1d", "2026-01", "exclude each other"),
    ],
)
def test_spans_that_are_none(since: str | None, month: str | None, words: str) -> None:
    with pytest.raises(CliError, match=words):
        usage.span(since, month, date(2026, 3, 2))


def test_a_field_that_there_isnt() -> None:
    with pytest.raises(CliError, match="no such field"):
        usage.fields("namespace,team")
