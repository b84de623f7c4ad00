"""The whole state of a training, as tensors and JSON: nothing is ever pickled.

checkpoints/step-000100/state-<sha256>.safetensors   weights, optimiser, generators
checkpoints/step-000100/state-<sha256>.json          schedule, position, log
checkpoints/step-000100/manifest.json                digests of all; written last

Of a model that is shared out each process writes what it has of weights and optimiser, as
part-<sha256>.safetensors. The manifest names the parts in their order: rows that follow each other.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from luthier_api.finetunejob import CheckpointRef
from luthier_trainer.digests import sha256_of
from luthier_trainer.distributed.parts import Part
from luthier_trainer.distributed.shards import Shards, parts_of, trained_weights
from luthier_trainer.distributed.world import World
from luthier_trainer.documents import parse
from luthier_trainer.log import log
from luthier_trainer.models.tensorfile import write_tensors
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.training import generators, optimizerstate
from luthier_trainer.training.checkpointfolder import complete_steps, step_folder

_MODEL = "model."
_WHOLE = Part()


@dataclass(frozen=True)
class Snapshot:
    """State after an optimiser step, in memory: tensors on the CPU, `document` JSON-ready. `parts`:
    what one process of several has of it; all else is the first one's to write."""

    step: int
    tensors: dict[str, Tensor]
    document: dict[str, Any]
    parts: dict[str, Tensor] = field(default_factory=dict)

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
    tensors: dict[str, Tensor] = {f"{_MODEL}{n}": p for n, p in trained_weights(model).items()}
    optimizer_tensors, optimizer_document = optimizerstate.flatten(optimizer.state_dict())
    generator_tensors, generator_document = generators.capture()
    tensors |= optimizer_tensors
    shards, parts = parts_of(model), {}
    if shards:
        owners = _owners(tensors, optimizer, shards)
        parts = {n: t for n, t in tensors.items() if n in owners and t.shape == owners[n].shape}
        tensors = {n: t for n, t in tensors.items() if n not in parts}
    whole = {
        **document,
        "step": step,
        "optimizer": optimizer_document,
        "scheduler": scheduler.state_dict(),
        "generators": generator_document,
    }
    # All are copies: training goes on while they are uploaded.
    return Snapshot(
        step,
        _copies(tensors | generator_tensors) if not shards or shards.world.is_first else {},
        json.loads(json.dumps(whole)),
        _copies(parts),
    )


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}


def _owners(names: Mapping[str, Tensor], optimizer: Any, shards: Shards) -> dict[str, nn.Parameter]:
    """Of the weights, and of the optimiser's states, that belong to a part of a weight: that
    part."""
    parts = {name: shards.weights[name] for name in shards.shapes}
    own = set(parts.values())
    order = [p for group in optimizer.param_groups for p in group["params"]]
    found = {f"{_MODEL}{name}": weight for name, weight in parts.items()}
    for name in names:
        index = optimizerstate.index_of(name)
        if index is not None and order[index] in own:
            found[name] = order[index]
    return found


def restore_model(snapshot: Snapshot, model: nn.Module) -> None:
    """Set the trainable weights. Raises KeyError if the snapshot lacks one."""
    _set_weights(snapshot.tensors, model)


def restore_optimizer(snapshot: Snapshot, model: nn.Module, optimizer: Any, scheduler: Any) -> None:
    """Set the state of optimiser and schedule."""
    tensors: Mapping[str, Tensor] = snapshot.tensors
    if shards := parts_of(model):
        owners = _owners(tensors, optimizer, shards)
        tensors = {
            n: shards.fitting(t, owners[n]) if n in owners else t for n, t in tensors.items()
        }
    optimizer.load_state_dict(optimizerstate.restore(tensors, snapshot.document["optimizer"]))
    scheduler.load_state_dict(snapshot.document["scheduler"])


def restore_generators(snapshot: Snapshot) -> None:
    """Set the state of all random generators of this process."""
    generators.restore(snapshot.tensors, snapshot.document["generators"])


def write(
    store: ObjectStore, snapshot: Snapshot, scratch: Path, world: World | None = None
) -> tuple[CheckpointRef | None, int]:
    """Upload; returns what was written and its bytes. The manifest is last.

    `scratch`: a folder with room for the state. `world`: the processes that write a part each; the
    first waits for all, and none of the others says that there is a checkpoint. Raises
    TrainerError, PeersLost, and OSError where there is no room.
    """
    folder = step_folder(snapshot.step)
    with _folder(scratch) as temporary:
        files: dict[str, Any] = {}
        if world:
            own = _upload_tensors(store, f"{folder}/part", snapshot.parts, temporary)
            note = f"checkpoint/{snapshot.step}"
            if not world.is_first:
                world.leave_note(f"{note}/{world.rank}", own)
                return None, own["bytes"]
            files["whole"] = _upload_tensors(store, f"{folder}/state", snapshot.tensors, temporary)
            others = [world.find_note(f"{note}/{rank}") for rank in range(1, world.size)]
            files["parts"] = [own, *others]
        else:
            found = _upload_tensors(store, f"{folder}/state", snapshot.tensors, temporary)
            files["safetensors"] = found
        document = temporary / "document"
        document.write_text(json.dumps(snapshot.document))
        sha256 = sha256_of(document)
        files["json"] = _upload(store, f"{folder}/state-{sha256[:16]}.json", document, sha256)
        manifest = json.dumps({"step": snapshot.step, "files": files}, indent=2).encode()
        store.write(f"{folder}/manifest.json", manifest)
    ref = CheckpointRef(
        step=snapshot.step, uri=join(store.uri, folder), sha256=hashlib.sha256(manifest).hexdigest()
    )
    return ref, sum(file["bytes"] for file in _all(files))


def _upload_tensors(
    store: ObjectStore, key: str, tensors: Mapping[str, Tensor], temporary: Path
) -> dict[str, Any]:
    path = temporary / "tensors"
    sha256 = write_tensors(path, tensors)
    return _upload(store, f"{key}-{sha256[:16]}.safetensors", path, sha256)


def _upload(store: ObjectStore, key: str, path: Path, sha256: str) -> dict[str, Any]:
    """What the manifest says of the file."""
    store.upload(key, path)
    return {"name": key.rpartition("/")[2], "sha256": sha256, "bytes": path.stat().st_size}


def _all(files: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for found in files.values():
        yield from found if isinstance(found, list) else [found]


def read_latest(store: ObjectStore, scratch: Path, world: World | None = None) -> Found | None:
    """The newest checkpoint whose files are what its manifest says; older ones if need be. `world`:
    the processes that a model is shared out among: the newest that all of them can read, of which
    each gets its part. Raises PeersLost."""
    part = Part(world.rank, world.size) if world else _WHOLE
    steps = complete_steps(store)
    while True:
        found = _newest(store, steps, scratch, part)
        if world is None:
            return found
        read = world.gather(found[0].step if found else 0)
        if len(set(read)) == 1:
            return found
        steps = [step for step in steps if step <= min(read)]


def _newest(store: ObjectStore, steps: Sequence[int], scratch: Path, part: Part) -> Found | None:
    for step in reversed(steps):
        try:
            return _read(store, step, scratch, part)
        except (ValueError, KeyError, TypeError) as error:
            log(f"warning: checkpoint of step {step} is damaged ({error}); trying an older one")
    return None


def restore_weights(store: ObjectStore, step: int, scratch: Path, model: nn.Module) -> None:
    """Set the trainable weights to those of a step's checkpoint. Raises ValueError where it
    is gone or damaged."""
    shards = parts_of(model)
    snapshot, _ = _read(store, step, scratch, shards.part if shards else _WHOLE)
    _set_weights(snapshot.tensors, model)


def _read(store: ObjectStore, step: int, scratch: Path, part: Part) -> Found:
    """A checkpoint; its tensors are mapped, not read, where they are whole files'. Raises
    ValueError or KeyError."""
    folder = step_folder(step)
    manifest = store.read(f"{folder}/manifest.json")
    if manifest is None:
        raise ValueError("its manifest is gone")
    ref = CheckpointRef(
        step=step, uri=join(store.uri, folder), sha256=hashlib.sha256(manifest).hexdigest()
    )
    files = parse(manifest)["files"]
    with _folder(scratch) as temporary:
        document = json.loads(_download(store, folder, files["json"], temporary).read_text())
        if "parts" not in files:
            tensors = load_file(_download(store, folder, files["safetensors"], temporary))
            return Snapshot(step, tensors, document), ref
        tensors = load_file(_download(store, folder, files["whole"], temporary))
        written = files["parts"]
        if part.of == len(written):  # it is this one's own
            tensors |= load_file(_download(store, folder, written[part.number], temporary))
        else:
            pieces = [load_file(_download(store, folder, each, temporary)) for each in written]
            tensors |= {name: part.join([it[name] for it in pieces]) for name in pieces[0]}
        return Snapshot(step, tensors, document), ref


def _download(store: ObjectStore, folder: str, file: Mapping[str, Any], temporary: Path) -> Path:
    path = temporary / str(file["name"])
    try:
        store.download(f"{folder}/{file['name']}", path)
    except FileNotFoundError:
        raise ValueError(f"{file['name']} is missing") from None
    if sha256_of(path) != file["sha256"]:
        raise ValueError(f"{file['name']} has another digest than its manifest says")
    return path


@contextmanager
def _folder(scratch: Path) -> Iterator[Path]:
    scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="checkpoint-", dir=scratch) as name:
        yield Path(name)


def _set_weights(tensors: Mapping[str, Tensor], model: nn.Module) -> None:
    shards = parts_of(model)
    with torch.no_grad():
        for name, parameter in trained_weights(model).items():
            value = tensors[f"{_MODEL}{name}"]
            parameter.copy_(shards.fitting(value, parameter) if shards else value)
