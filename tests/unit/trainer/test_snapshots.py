"""Copies of the state in memory: two at most, whatever an upload takes."""

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.test_checkpoint import take

from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training.checkpoint import Snapshot
from luthier_trainer.training.checkpointfolder import complete_steps
from luthier_trainer.training.checkpointwriter import MOST_SNAPSHOTS, CheckpointWriter


class HeldStore(FileStore):
    """Uploads wait until they may go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may, self.begun = threading.Semaphore(0), threading.Semaphore(0)

    def upload(self, key: str, path: Path) -> None:
        if key.endswith(".safetensors"):
            self.begun.release()
            assert self.may.acquire(timeout=30)
        super().upload(key, path)


@pytest.fixture
def held(tmp_path: Path) -> HeldStore:
    return HeldStore(tmp_path / "store")


def writer_of(store: HeldStore, folder: Path) -> CheckpointWriter:
    return CheckpointWriter(store, 10, lambda: None, lambda _: None, folder)


def snapshot(step: int, best: int | None = None) -> Snapshot:
    found = take(step)
    found.document["best"] = {"step": best, "value": 1.0, "waited": 0} if best else None
    return found


def submit(writer: CheckpointWriter, step: int, best: int | None = None) -> Any:
    """As the training does: room first, then the copy."""
    writer.make_room(best)
    made = snapshot(step, best)
    writer.submit(made, 0.0)
    return weakref.ref(made)


def test_one_that_waits_gives_way_before_the_next_is_made(held: HeldStore, tmp_path: Path) -> None:
    writer = writer_of(held, tmp_path)
    alive = [submit(writer, 1)]
    assert held.begun.acquire(timeout=30)
    for step in (2, 3, 4):
        writer.make_room(None)
        gc.collect()
        assert sum(ref() is not None for ref in alive) < MOST_SNAPSHOTS
        alive.append(submit(writer, step))
    held.may.release(2)
    assert writer.drain(30)
    assert complete_steps(held) == [1, 4]


def test_the_best_one_is_waited_for(held: HeldStore, tmp_path: Path) -> None:
    writer = writer_of(held, tmp_path)
    submit(writer, 1)
    assert held.begun.acquire(timeout=30)
    submit(writer, 2, best=2)
    waiting = threading.Thread(target=submit, args=(writer, 3, 2), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    held.may.release()  # step 1 is uploaded, and step 2 begins: there is room for step 3
    waiting.join(30)
    assert not waiting.is_alive()
    held.may.release(2)
    assert writer.drain(30)
    assert complete_steps(held) == [1, 2, 3]


def test_who_waits_for_room_is_told_what_failed(held: HeldStore, tmp_path: Path) -> None:
    writer = writer_of(held, tmp_path)
    submit(writer, 1)
    assert held.begun.acquire(timeout=30)
    submit(writer, 2, best=2)

    def broken(*_: Any) -> None:
        raise OSError("no room")

    held.write = broken  # type: ignore[method-assign]
    held.may.release()
    with pytest.raises(OSError, match="no room"):
        writer.make_room(2)
