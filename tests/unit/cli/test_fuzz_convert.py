"""Configurations of any kind, for any tool: valid manifests or an error of ours, and no more."""

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from unit.cli.converted import CONFIGS, FILES
from unit.cli.test_fuzz_manifests import BOMBS, TEXT, VALUE, paths_of, with_value

from luthier_api.visible import one_line
from luthier_cli import offline
from luthier_cli.convert import olive_command, report
from luthier_cli.convert.commandline import convert_command
from luthier_cli.convert.convert import Converted, Naming, convert_text
from luthier_cli.convert.sources import SOURCES
from luthier_cli.errors import CliError
from luthier_cli.yaml import load_documents

VALUES = st.sampled_from(["1", "a,b", "x/y"])
FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
GIVEN = {
    name: json.loads(text) if name.endswith(".json") else load_documents(text)[0].value
    for name in FILES
    for text in [(CONFIGS / name).read_text()]
}
FIELDS = {
    name: sorted({field for kind in it.tables.values() for one in kind.values() for field in one})
    for name, it in SOURCES.items()
}  # fmt: skip


def convert(document: Any, tool: str | None) -> Converted | None:
    try:
        text = json.dumps(document)
    except ValueError:
        return None
    return check(lambda: convert_text(text, "file", Naming(), lambda _: None, tool))


def check(make: Any) -> Converted | None:
    """A conversion, which is valid and acts on no terminal; None: it was refused."""
    try:
        done: Converted = make()
    except CliError:
        return None
    for document in load_documents(done.yaml):
        assert offline.check_document(document, "file") == []
    out = io.StringIO()
    report.show(done.told, "tool", Console(file=out, width=80), everything=True)
    for shown in (out.getvalue(), done.yaml):
        assert all(one_line(line) == line for line in shown.split("\n"))
    assert all(line.lstrip()[:1] != "✔" for line in done.yaml.split("\n"))
    json.dumps(done.to_json())
    return done


@FUZZ
@given(st.data())
def test_anything_anywhere(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(GIVEN)))
    path = data.draw(st.sampled_from(paths_of(GIVEN[name])))
    convert(with_value(GIVEN[name], path, data.draw(VALUE)), FILES[name])


@FUZZ
@given(st.data())
def test_known_fields_with_anything(data: st.DataObject) -> None:
    tool = data.draw(st.sampled_from(sorted(SOURCES)))
    field = st.sampled_from(FIELDS[tool]) | TEXT
    convert(data.draw(st.dictionaries(field, VALUE, max_size=6)), tool)


@FUZZ
@given(st.dictionaries(TEXT, VALUE, max_size=4))
def test_any_mapping_of_no_tool(document: dict[str, Any]) -> None:
    convert(document, None)


@FUZZ
@given(st.data())
def test_command_lines(data: st.DataObject) -> None:
    command = data.draw(st.sampled_from([*olive_command.COMMANDS, "run", "x"]))
    table = olive_command.COMMANDS.get(command, (None, {"config": None}))[1]
    word = st.sampled_from([f"--{name}" for name in table]) | TEXT | VALUES
    words = ["olive", command, *data.draw(st.lists(word, max_size=8))]
    check(lambda: convert_command(words, Naming(), lambda _: None, None))


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    text = f"base_model: x\n{BOMBS[name]}"
    check(lambda: convert_text(text, "file", Naming(), lambda _: None, None))


EVIL = "\x1b[2J\x9b31m\u202e\n✔ done\n# kind: \r\u2028---\napiVersion: v1"


@pytest.mark.parametrize("name", FILES)
def test_foreign_text(name: str) -> None:
    for path in paths_of(GIVEN[name]):
        value = GIVEN[name]
        for part in path:
            value = value[part]
        if isinstance(value, str):
            done = convert(with_value(GIVEN[name], path, value + EVIL), FILES[name])
            kinds = {it.value["kind"] for it in load_documents(done.yaml)} if done else set()
            assert kinds <= {"FineTuneJob", "OptimizeJob", "AdapterBundle"}
