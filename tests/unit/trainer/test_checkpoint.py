"""Checkpoints by themselves: they are copies, what is kept, what is never seen."""

import json
from pathlib import Path

import pytest
import torch

from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training import checkpoint
from luthier_trainer.training.checkpointfolder import complete_steps, prune
from luthier_trainer.training.checkpointwriter import CheckpointWriter


def take(step: int = 1, journal: list[dict[str, float]] | None = None) -> checkpoint.Snapshot:
    torch.manual_seed(step)
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: 1 / (at + 1))
    torch.autograd.backward(model(torch.ones(2, 4)).sum())
    optimizer.step()
    scheduler.step()
    snapshot = checkpoint.capture(step, model, optimizer, scheduler, {"journal": journal or []})
    with torch.no_grad():  # training goes on
        for parameter in model.parameters():
            parameter.zero_()
    return snapshot


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def test_a_snapshot_is_a_copy() -> None:
    journal = [{"step": 1.0}]
    snapshot = take(journal=journal)
    journal.append({"step": 2.0})
    assert snapshot.document["journal"] == [{"step": 1.0}]
    assert snapshot.tensors["model.weight"].abs().sum() > 0


def test_what_is_written_is_read(store: FileStore, tmp_path: Path) -> None:
    snapshot = take(7)
    ref, size = checkpoint.write(store, snapshot, tmp_path)
    found = checkpoint.read_latest(store, tmp_path / "scratch")
    assert found
    assert found[1] == ref
    assert size > 0
    assert found[0].document == snapshot.document
    assert found[0].tensors.keys() == snapshot.tensors.keys()
    for name, tensor in snapshot.tensors.items():
        assert torch.equal(found[0].tensors[name], tensor), name


def test_generators_go_on_where_they_were() -> None:
    import random

    import numpy as np

    snapshot = take()
    expected = (torch.rand(3).tolist(), random.random(), float(np.random.rand()))
    checkpoint.restore_generators(snapshot)
    assert (torch.rand(3).tolist(), random.random(), float(np.random.rand())) == expected


def test_only_complete_ones_are_seen_and_the_newest_kept(store: FileStore, tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint.write(store, take(step), tmp_path)
    store.delete(["checkpoints/step-000001/manifest.json"])  # half-written
    assert complete_steps(store) == [2, 3, 4]
    prune(store, keep_last=2, since=4)
    assert complete_steps(store) == [3, 4]
    assert {entry.key.split("/")[1] for entry in store.entries()} == {"step-000003", "step-000004"}


@pytest.mark.parametrize("damage", ["missing", "changed", "manifest"])
def test_damaged_ones_fall_back(damage: str, store: FileStore, tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.write(store, take(step), tmp_path)
    keys = [entry.key for entry in store.entries("checkpoints/step-000002/")]
    state = next(key for key in keys if key.endswith(".safetensors"))
    if damage == "missing":
        store.delete([state])
    elif damage == "changed":
        store.write(state, b"x")
    else:
        store.write("checkpoints/step-000002/manifest.json", json.dumps({"step": 2}).encode())
    found = checkpoint.read_latest(store, tmp_path / "scratch")
    assert found
    assert found[0].step == 1


def test_the_best_one_is_kept_beside_the_newest(store: FileStore, tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint.write(store, take(step), tmp_path)
    prune(store, keep_last=1, since=4, pinned=2)
    assert complete_steps(store) == [2, 4]


@pytest.mark.parametrize("readable", [(100,), ()], ids=["an-older-one", "none"])
def test_what_could_not_be_read_is_no_reason_to_delete_another(
    readable: tuple[int, ...], store: FileStore, tmp_path: Path
) -> None:
    """A pod goes on from a step before, and passes the damaged one without saving there."""
    for step in (100, 200):
        checkpoint.write(store, take(step), tmp_path)
        if step not in readable:
            store.write(f"checkpoints/step-{step:06d}/manifest.json", b"{}")
    found = checkpoint.read_latest(store, tmp_path)
    assert (found[0].step if found else None) == (readable[0] if readable else None)
    writer = CheckpointWriter(
        store, 2, lambda: None, lambda _: None, tmp_path, found[1] if found else None
    )

    def left_after(step: int) -> list[int]:
        writer.submit(take(step), 0)
        assert writer.drain(60)
        return complete_steps(store)

    damaged = {100, 200} - set(readable)
    assert left_after(150) == [*readable, 150, 200]
    assert left_after(250) == [150, 250]
    assert {entry.key.split("/")[1] for entry in store.entries()}.isdisjoint(
        f"step-{step:06d}" for step in damaged
    )
    assert left_after(350) == [250, 350]


def test_weights_alone_are_read_back(store: FileStore, tmp_path: Path) -> None:
    snapshot = take(3)
    checkpoint.write(store, snapshot, tmp_path)
    model = torch.nn.Linear(4, 3)
    checkpoint.restore_weights(store, 3, tmp_path, model)
    assert torch.equal(model.weight, snapshot.tensors["model.weight"])
    with pytest.raises(ValueError, match="its manifest is gone"):
        checkpoint.restore_weights(store, 4, tmp_path, model)


def test_the_file_is_a_safetensors_file_of_every_type(tmp_path: Path) -> None:
    """As the library of the format reads it."""
    import hashlib

    from safetensors.torch import load_file

    from luthier_trainer.models.tensorfile import write_tensors

    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.uint8, torch.int8, torch.int64)
    tensors = {str(kind): torch.arange(7).to(kind) for kind in kinds}
    tensors |= {
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "flag": torch.tensor([True]),
    }
    digest = write_tensors(tmp_path / "file", tensors)
    assert digest == hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
    back = load_file(tmp_path / "file")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name


def test_nothing_stays_in_scratch(store: FileStore, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    checkpoint.write(store, take(1), scratch)
    checkpoint.read_latest(store, scratch)
    assert list(scratch.iterdir()) == []
