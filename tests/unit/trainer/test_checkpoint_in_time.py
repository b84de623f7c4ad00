"""A checkpoint that can't be uploaded within the grace period is told of before it matters."""

import time
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.test_checkpoint import take

from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training.checkpointwriter import CheckpointWriter


class SlowStore(FileStore):
    """Uploads take a moment."""

    def upload(self, key: str, path: Path) -> None:
        time.sleep(0.02)
        super().upload(key, path)


def written(folder: Path, grace: float | None, steps: int = 1) -> CheckpointWriter:
    store: Any = SlowStore(folder / "store")
    writer = CheckpointWriter(
        store, 10, lambda: None, lambda _: None, folder / "scratch", None, grace
    )
    for step in range(1, steps + 1):
        writer.submit(take(step), 0.0)
        assert writer.drain(60)
    return writer


def test_it_is_told_once_with_numbers_and_remedies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = written(tmp_path, grace=0.01, steps=3)
    told = writer.warning
    assert told
    assert "and a pod that is told to stop has 0.0 s" in told
    assert "terminationGracePeriodSeconds" in told
    assert "saveEverySteps" in told
    assert capsys.readouterr().err.count("warning: a checkpoint of") == 1


@pytest.mark.parametrize("grace", [1000.0, None])
def test_nothing_is_told_where_there_is_time(grace: float | None, tmp_path: Path) -> None:
    assert written(tmp_path, grace).warning is None
