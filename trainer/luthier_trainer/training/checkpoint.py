"""The whole state of a training, as tensors and JSON: nothing is ever pickled.

checkpoints/step-000100/state-<sha256>.safetensors   weights, optimiser, generators
checkpoints/step-000100/state-<sha256>.json          schedule, position, log
checkpoints/step-000100/manifest.json                digests of the two; written last
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from luthier_api.finetunejob import CheckpointRef
from luthier_trainer.digests import sha256_of
from luthier_trainer.documents import parse
from luthier_trainer.log import log
from luthier_trainer.models.tensorfile import write_tensors
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.training import generators, optimizerstate
from luthier_trainer.training.checkpointfolder import complete_steps, step_folder

_MODEL = "model."


@dataclass(frozen=True)
class Snapshot:
    """State after an optimiser step, in memory: tensors on the CPU, `document` JSON-ready."""

    step: int
    tensors: dict[str, Tensor]
    document: dict[str, Any]

    @property
    def best_step(self) -> int | None:
        """The step whose weights are the best so far, where a metric decides."""
        best = self.document.get("best")
        return best["step"] if best else None


Found = tuple[Snapshot, CheckpointRef]


def capture(
    step: int, model: nn.Module, optimizer: Any, scheduler: Any, document: dict[str, Any]
) -> Snapshot:
    """Copy the state of training. `document` is the caller's own part, JSON-ready."""
    tensors = {f"{_MODEL}{name}": value for name, value in _trainable(model).items()}
    optimizer_tensors, optimizer_document = optimizerstate.flatten(optimizer.state_dict())
    generator_tensors, generator_document = generators.capture()
    tensors |= optimizer_tensors | generator_tensors
    whole = {
        **document,
        "step": step,
        "optimizer": optimizer_document,
        "scheduler": scheduler.state_dict(),
        "generators": generator_document,
    }
    # Both parts are copies: training goes on while they are uploaded.
    return Snapshot(
        step,
        {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()},
        json.loads(json.dumps(whole)),
    )


def restore_model(snapshot: Snapshot, model: nn.Module) -> None:
    """Set the trainable weights. Raises KeyError if the snapshot lacks one."""
    _set_weights(snapshot.tensors, model)


def restore_optimizer(snapshot: Snapshot, optimizer: Any, scheduler: Any) -> None:
    """Set the state of optimiser and schedule."""
    optimizer.load_state_dict(
        optimizerstate.restore(snapshot.tensors, snapshot.document["optimizer"])
    )
    scheduler.load_state_dict(snapshot.document["scheduler"])


def restore_generators(snapshot: Snapshot) -> None:
    """Set the state of all random generators of this process."""
    generators.restore(snapshot.tensors, snapshot.document["generators"])


def write(store: ObjectStore, snapshot: Snapshot, scratch: Path) -> tuple[CheckpointRef, int]:
    """Upload; returns what was written and its bytes. The manifest is last.

    `scratch`: a folder with room for the state. Raises TrainerError, and OSError where there
    is no room.
    """
    folder = step_folder(snapshot.step)
    with _folder(scratch) as temporary:
        tensors, document = temporary / "tensors", temporary / "document"
        document.write_text(json.dumps(snapshot.document))
        digests = {
            "safetensors": (tensors, write_tensors(tensors, snapshot.tensors)),
            "json": (document, sha256_of(document)),
        }
        files, size = {}, 0
        for suffix, (path, sha256) in digests.items():
            name = f"state-{sha256[:16]}.{suffix}"
            store.upload(f"{folder}/{name}", path)
            size += path.stat().st_size
            files[suffix] = {"name": name, "sha256": sha256, "bytes": path.stat().st_size}
        manifest = json.dumps({"step": snapshot.step, "files": files}, indent=2).encode()
        store.write(f"{folder}/manifest.json", manifest)
    ref = CheckpointRef(
        step=snapshot.step, uri=join(store.uri, folder), sha256=hashlib.sha256(manifest).hexdigest()
    )
    return ref, size


def read_latest(store: ObjectStore, scratch: Path) -> Found | None:
    """The newest checkpoint whose files are what its manifest says; older ones if need be."""
    for step in reversed(complete_steps(store)):
        try:
            with _downloaded(store, step, scratch) as (tensors, document, ref):
                return Snapshot(step, load_file(tensors), json.loads(document.read_text())), ref
        except (ValueError, KeyError, TypeError) as error:
            log(f"warning: checkpoint of step {step} is damaged ({error}); trying an older one")
    return None


def restore_weights(store: ObjectStore, step: int, scratch: Path, model: nn.Module) -> None:
    """Set the trainable weights to those of a step's checkpoint. Raises ValueError where it
    is gone or damaged."""
    with (
        _downloaded(store, step, scratch) as (tensors, _, _),
        safe_open(tensors, framework="pt") as file,
    ):
        names = [name for name in file.keys() if name.startswith(_MODEL)]  # noqa: SIM118
        _set_weights({name: file.get_tensor(name) for name in names}, model)


@contextmanager
def _downloaded(
    store: ObjectStore, step: int, scratch: Path
) -> Iterator[tuple[Path, Path, CheckpointRef]]:
    """Tensors and document of a checkpoint as files. Raises ValueError or KeyError."""
    folder = step_folder(step)
    manifest = store.read(f"{folder}/manifest.json")
    if manifest is None:
        raise ValueError("its manifest is gone")
    ref = CheckpointRef(
        step=step, uri=join(store.uri, folder), sha256=hashlib.sha256(manifest).hexdigest()
    )
    files = parse(manifest)["files"]
    with _folder(scratch) as temporary:
        for suffix in ("safetensors", "json"):
            file = files[suffix]
            path = temporary / suffix
            try:
                store.download(f"{folder}/{file['name']}", path)
            except FileNotFoundError:
                raise ValueError(f"{file['name']} is missing") from None
            if sha256_of(path) != file["sha256"]:
                raise ValueError(f"{file['name']} has another digest than its manifest says")
        yield temporary / "safetensors", temporary / "json", ref


@contextmanager
def _folder(scratch: Path) -> Iterator[Path]:
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="checkpoint-", dir=scratch) as name:
        yield Path(name)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _set_weights(tensors: dict[str, Tensor], model: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in _trainable(model).items():
            parameter.copy_(tensors[f"{_MODEL}{name}"])
