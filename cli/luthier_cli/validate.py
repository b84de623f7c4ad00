"""`luthier validate`: check manifests, on a cluster or offline."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from luthier_api.visible import one_line
from luthier_cli import platformfile, searches
from luthier_cli.allowed import Rules
from luthier_cli.errors import CliError
from luthier_cli.findings import Finding, identity
from luthier_cli.offline import is_ours
from luthier_cli.paths import path_of
from luthier_cli.yaml import Document, YamlError, load_documents

Check = Callable[[Document, str], list[Finding]]

# What a manifest was checked against where there was no cluster.
OFFLINE = "the schema of this luthier, offline"

_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_BYTES = 8 << 20  # the API server takes 3 MiB; a chart's output holds several resources


@dataclass
class Report:
    """What was checked, and what is wrong."""

    checked: list[tuple[str, str]] = field(default_factory=list)  # file, Kind/name
    skipped: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.checked + other.checked,
            self.skipped + other.skipped,
            self.findings + other.findings,
        )

    def to_json(self, how: str) -> dict[str, Any]:
        """As JSON-ready dict; `how` says what it was checked against."""
        return {
            "valid": not self.findings,
            "checkedAgainst": how,
            "checked": [{"file": file, "resource": name} for file, name in self.checked],
            "skipped": [{"file": file, "resource": name} for file, name in self.skipped],
            "findings": [finding.to_json() for finding in self.findings],
        }


def validate(
    sources: Sequence[tuple[str, str]], check: Check, rules: Rules | None = None
) -> Report:
    """Check all documents of (file name, text) pairs; `rules`: of a platform, for what is valid."""
    report = Report()
    loaded = [(file, _load(file, text, report)) for file, text in sources]
    if rules is not None:
        rules = rules.among(it.value for _, documents in loaded for it in documents or ())
    for file, documents in loaded:
        if documents is None:
            continue
        ours = 0
        for document in documents:
            name = identity(document.value)
            if platformfile.is_platform(document.value, file):
                ours += 1
                report.checked.append((file, platformfile.NAME))
                report.findings += platformfile.check(document, file)
                continue
            if not is_ours(document.value):
                report.skipped.append((file, name))
                continue
            ours += 1
            report.checked.append((file, name))
            found = check(document, file) or searches.check(document, file)
            if rules is not None and not found:
                found = rules.check(document, file)
            report.findings += found
        if not ours:
            report.findings.append(_nothing_found(file, documents))
    return report


def _load(file: str, text: str, report: Report) -> list[Document] | None:
    try:
        return load_documents(text)
    except YamlError as error:
        report.findings.append(Finding(file, error.line, "", error.message))
        return None


def _nothing_found(file: str, documents: Sequence[Document]) -> Finding:
    first = documents[0] if documents else None
    return Finding(
        file,
        first.line(("apiVersion",)) if first and isinstance(first.value, dict) else 1,
        "apiVersion",
        "no Luthier resource in this file",
        "begin one with apiVersion: luthier.dev/v1alpha1",
    )


def read_sources(names: Sequence[str]) -> list[tuple[str, str]]:
    """Files, folders of manifests, or `-` for stdin. Raises CliError."""
    return [(str(path), _read(path)) for name in names for path in _expand(name)]


def read_source(name: str) -> tuple[str, str]:
    """One file, or `-` for stdin. Raises CliError."""
    path = path_of(name)
    return str(path), _read(path)


def _expand(name: str) -> Iterator[Path]:
    path = path_of(name)
    if name == "-" or not path.is_dir():
        yield path
        return
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    if not files:
        raise CliError(f"no manifest in {name}", f"names must end in {', '.join(_SUFFIXES)}")
    yield from files


def _read(path: Path) -> str:
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise CliError(
                f"{path} has more than {_MAX_BYTES >> 20} MiB", "is it a manifest? split it"
            )
        return data.decode()
    except OSError as error:
        raise CliError(f"can't read {path}: {error.strerror}", "check the path") from None
    except UnicodeDecodeError:
        raise CliError(f"{path} isn't UTF-8 text", "is it a manifest?") from None


def show(report: Report, how: str, console: Console) -> None:
    """The report for people: one line a finding, as compilers write it."""
    for finding in report.findings:
        line = Text(one_line(f"{finding.file}:{finding.line}: "), style="bold")
        if finding.field:
            line.append(one_line(f"{finding.field}: "), style="bold not bold cyan")
        line.append(one_line(finding.message), style="not bold")
        if finding.remedy:
            line.append(one_line(f" → {finding.remedy}"), style="not bold green")
        console.print(line, soft_wrap=True)
    wrong = {finding.file for finding in report.findings}
    for file, name in report.checked:
        if file not in wrong:
            console.print(Text(one_line(f"{file}: {name} is valid"), style="green"), soft_wrap=True)
    for file, name in report.skipped:
        words = one_line(f"{file}: {name} skipped: not a Luthier resource")
        console.print(Text(words, style="dim"), soft_wrap=True)
    console.print(Text(one_line(f"checked against {how}"), style="dim"), soft_wrap=True)
