"""A cached program is built anew exactly when something that it depends on has changed."""

from pathlib import Path

import pytest

from luthier_cluster import binaries
from luthier_cluster.binaries import Binary
from luthier_cluster.commands import CommandError

GO = 'package main\n\nfunc main() { println("hello") }\n'


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "modules" / "hello"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module hello\n\ngo 1.24\n")
    (folder / "main.go").write_text(GO)
    monkeypatch.setattr(binaries, "MODULES", folder.parent)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    return folder


HELLO = Binary("hello", "hello", 0.1, links=("bonjour",))


def test_the_fingerprint_follows_sources_flags_and_go(module: Path) -> None:
    first = binaries.fingerprint(HELLO, "go1.26.8")
    assert binaries.fingerprint(HELLO, "go1.26.8") == first
    assert binaries.fingerprint(HELLO, "go1.26.9") != first
    flagged = Binary("hello", "hello", 0.1, ("main.version=2",))
    assert binaries.fingerprint(flagged, "go1.26.8") != first
    (module / "main.go").write_text(GO + "// changed\n")
    assert binaries.fingerprint(HELLO, "go1.26.8") != first


def test_built_once_and_again_after_a_change(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = binaries.ensure(HELLO)
    assert "build hello" in capsys.readouterr().err
    assert (binaries.tools() / "bonjour").resolve() == first

    assert binaries.ensure(HELLO) == first
    assert capsys.readouterr().err == ""

    (module / "main.go").write_text(GO.replace("hello", "again"))
    second = binaries.ensure(HELLO)
    assert second != first
    assert (binaries.tools() / "hello").resolve() == second


def test_a_build_that_fails_says_why_and_leaves_nothing(module: Path) -> None:
    (module / "main.go").write_text(GO.replace("println", "no_such_function"))
    with pytest.raises(CommandError, match="undefined: no_such_function"):
        binaries.ensure(HELLO)
    assert sorted(file.name for file in binaries.folder().iterdir()) == ["hello.log"]
