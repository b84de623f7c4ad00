"""docs/convert.md shows what `luthier convert` says; docs/peers.md names fields that there are."""

import re
import shlex
from pathlib import Path

import pytest
from unit.cli.command import luthier
from unit.cli.test_convert_tables import is_field

from luthier_api.kinds import KINDS
from luthier_cli.convert.sources import SOURCES

DOCS = Path(__file__).parents[3] / "docs"
_FILE = re.compile(r"^```(?:yaml|json)\n# ([\w.-]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGE = (DOCS / "convert.md").read_text()
PEERS = (DOCS / "peers.md").read_text()
BLOCKS = _BLOCK.findall(PAGE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page shows."""
    for name, text in _FILE.findall(PAGE):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_page_shows_what_is_said(number: int) -> None:
    command, _, said = BLOCKS[number].partition("\n")
    done = luthier(*shlex.split(command.removeprefix("$ luthier ")))
    assert done.stdout + done.stderr == said


def test_there_are_blocks() -> None:
    assert len(BLOCKS) >= 3


def tables() -> dict[str, list[list[str]]]:
    """The rows of each peer's table."""
    found = {}
    for section in PEERS.split("\n## ")[1:]:
        rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
        if rows:
            found[section.partition("\n")[0]] = rows[1:]
    return found


def named(cell: str) -> list[str]:
    """What stands in code there: fields, kinds, commands."""
    return [it.partition(":")[0].strip() for it in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("peer", tables())
def test_fields_of_the_tables_are_there(peer: str) -> None:
    commands = {"luthier validate", "luthier run", "luthier watch", "luthier compare",
                "luthier history", "luthier trials", "luthier logs"}  # fmt: skip
    for _, here, *_ in tables()[peer]:
        for name in named(here):
            known = name in KINDS or name in commands or any(is_field(it, name) for it in KINDS)
            assert known, f"{peer}: {name}"


def test_each_peer_has_a_table() -> None:
    peers = {"Axolotl", "TRL", "LLaMA-Factory", "OpenAI's fine-tuning API", "Olive",
             "Kubeflow Trainer", "KAITO", "NeMo Customizer", "Katib"}  # fmt: skip
    assert peers <= set(tables())
    assert all(rows for rows in tables().values())


def test_the_page_names_each_tool() -> None:
    for tool in SOURCES:
        assert f"`{tool}`" in PAGE
