"""Text of others (statuses, logs, samples, manifests, names) acts on no terminal."""

import io
import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from unit.cli.command import luthier
from unit.cli.statuses import bundled, complete, condition, failed, optimized, optimizing, running

from luthier_api.visible import one_line
from luthier_cli import view
from luthier_cli.commands.console import told_errors
from luthier_cli.display import open_display
from luthier_cli.errors import CliError
from luthier_cli.findings import Finding
from luthier_cli.state import Resource
from luthier_cli.summary import Extras, Sample, render, summarize
from luthier_cli.validate import Report, show

NOW = datetime(2026, 1, 1, 10, 0, 30, tzinfo=UTC)
EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\u202e\u200b[/a][red]\rx"
FORGED = "done\n✔ team-b/other: Complete"
STATUSES = [running, complete, failed, optimizing, optimized, bundled]


def spoilt(node: Any, text: str, *, keep: tuple[str, ...] = ("type", "status", "state")) -> Any:
    """With `text` at the end of every text in it that isn't one of a few words."""
    if isinstance(node, dict):
        return {
            key: value if key in keep or key.endswith("Time") else spoilt(value, text)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [spoilt(item, text) for item in node]
    return node + text if isinstance(node, str) else node


def printed(renderable: Any, width: int = 100) -> str:
    """As Rich's own defaults print it, which look for markup."""
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(renderable, crop=False)
    return captured.get()


def acts(shown: str) -> bool:
    return any(one_line(line) != line for line in shown.split("\n"))


def all_views(body: Resource, text: str) -> list[str]:
    sample = Sample(text, text, text, text)
    extras = Extras(
        files=[(text, 1)],
        report=text,
        loss_curve=text,
        samples=[sample],
        next_commands=[text],
        log=text,
        warnings=[text],
    )
    summary = summarize(body, extras)
    return [
        printed(view.Live().frame(body, NOW, text)),
        view.plain_line(body, NOW),
        printed(render(summary)),
        printed(render(summary), width=60),
        printed(render(json.loads(json.dumps(summary)))),
    ]


@pytest.mark.parametrize("status", STATUSES)
def test_nothing_of_a_status_acts(status: Any) -> None:
    for shown in all_views(spoilt(deepcopy(status()), EVIL), EVIL):
        assert not acts(shown)
        assert "\n" not in shown or "[/a][red]" in shown.replace("\n", "")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(STATUSES), st.text(st.characters(codec=None), max_size=20))
def test_whatever_a_status_says(status: Any, text: str) -> None:
    for shown in all_views(spoilt(deepcopy(status()), text), text):
        assert not acts(shown)


def test_no_line_is_forged() -> None:
    body = failed("Because", FORGED)
    body["status"]["conditions"].append(condition("Overfitting", "True", "X", FORGED))
    for shown in all_views(body, FORGED):
        assert not any(line.startswith("✔") for line in shown.split("\n")), shown


def test_plain_lines_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    body = spoilt(running(), EVIL)
    with open_display(Console(file=io.StringIO()), "json") as display:
        display.show(body)
    written = capsys.readouterr().out
    assert not acts(written)
    assert json.loads(written)["status"] == body["status"]

    out = io.StringIO()
    with open_display(Console(file=out, width=80), "text") as display:
        display.show(body)
        display.say(FORGED + EVIL)
    assert not acts(out.getvalue())
    assert len(out.getvalue().splitlines()) == 2


def test_findings() -> None:
    report = Report(
        checked=[(EVIL, EVIL)],
        skipped=[(EVIL, EVIL)],
        findings=[Finding(f"f{EVIL}", 1, EVIL, FORGED + EVIL, EVIL)],
    )
    out = io.StringIO()
    show(report, EVIL, Console(file=out, width=80))
    assert not acts(out.getvalue())
    assert len(out.getvalue().splitlines()) == 4


def test_errors(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), told_errors():
        raise CliError(f"a\nerror: b{EVIL}", f"c\nd{EVIL}")
    shown = capsys.readouterr().err
    assert not acts(shown)
    assert [line[:2] for line in shown.splitlines()] == ["er", "  ", "  ", "  "]


def test_validate_of_a_manifest_that_holds_them() -> None:
    name = "\\e[2J\\x9b\\u202e[/a]"
    text = f'apiVersion: luthier.dev/v1alpha1\nkind: "{name}"\nmetadata: {{name: "{name}"}}\n'
    for more in ((), ("-o", "json")):
        done = luthier("validate", "--offline", "-", *more, stdin=text)
        assert done.returncode == 1
        assert not acts(done.stdout)
        assert "[/a]" in done.stdout
