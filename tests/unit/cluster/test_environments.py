"""Environments of programs with requirements of their own."""

from pathlib import Path

import pytest

from luthier_cluster import environments
from luthier_cluster.commands import CommandError


def test_without_uv_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    with pytest.raises(CommandError, match="run `make setup`"):
        environments.ensure("wandb")
    assert not list(tmp_path.glob("environments/*/.made")), "half of one is made anew"
