"""`luthier run` with another program in the trainer's place."""

from pathlib import Path

import pytest
from unit.cli.tiny import MANIFEST

from luthier_cli.order import Options


def replaced(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Options]:
    """A manifest's file and the options to run it with; `trainer`: the program."""
    file, data = tmp_path / "things.yaml", tmp_path / "rows.jsonl"
    file.write_text(MANIFEST)
    data.write_text("{}")
    package = tmp_path / "path/luthier_trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(trainer)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    output = str(tmp_path / "out")
    return str(file), Options(output=output, model=str(tmp_path), dataset=str(data))
