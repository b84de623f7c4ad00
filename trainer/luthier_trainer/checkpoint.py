"""The whole state of a training, as tensors and JSON: nothing is ever pickled.

checkpoints/step-000100/state-<sha256>.safetensors   weights, optimiser, generators
checkpoints/step-000100/state-<sha256>.json          schedule, position, log
checkpoints/step-000100/manifest.json                digests of the two; written last
"""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from luthier_api.finetunejob import CheckpointRef
from luthier_trainer.checkpointfolder import complete_steps, step_folder
from luthier_trainer.log import log
from luthier_trainer.objectstore import ObjectStore, join


@dataclass(frozen=True)
class Snapshot:
    """State after an optimiser step, in memory: tensors on the CPU, `document` JSON-ready."""

    step: int
    tensors: dict[str, Tensor]
    document: dict[str, Any]


def capture(
    step: int, model: nn.Module, optimizer: Any, scheduler: Any, document: dict[str, Any]
) -> Snapshot:
    """Copy the state of training. `document` is the caller's own part, JSON-ready."""
    tensors = {f"model.{name}": value for name, value in _trainable(model).items()}
    optimizer_state = optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, state in optimizer_state["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    generators, generator_document = _capture_generators()
    tensors |= generators
    whole = {
        **document,
        "step": step,
        "optimizer": {"scalars": scalars, "groups": optimizer_state["param_groups"]},
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
    with torch.no_grad():
        for name, parameter in _trainable(model).items():
            parameter.copy_(snapshot.tensors[f"model.{name}"])


def restore_optimizer(snapshot: Snapshot, optimizer: Any, scheduler: Any) -> None:
    """Set the state of optimiser and schedule."""
    saved = snapshot.document["optimizer"]
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in saved["scalars"].items()}
    for key, value in snapshot.tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = value.clone()
    optimizer.load_state_dict({"state": state, "param_groups": saved["groups"]})
    scheduler.load_state_dict(snapshot.document["scheduler"])


def restore_generators(snapshot: Snapshot) -> None:
    """Set the state of all random generators of this process."""
    document = snapshot.document["generators"]
    version, internal, gauss = document["python"]
    random.setstate((version, tuple(internal), gauss))
    name, position, has_gauss, cached = document["numpy"]
    np.random.set_state(
        (name, snapshot.tensors["generator.numpy"].numpy(), position, has_gauss, cached)
    )
    torch.set_rng_state(snapshot.tensors["generator.torch"])
    if "generator.cuda" in snapshot.tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(snapshot.tensors["generator.cuda"])


def write(store: ObjectStore, snapshot: Snapshot) -> tuple[CheckpointRef, int]:
    """Upload; returns what was written and its bytes. The manifest is last."""
    folder = step_folder(snapshot.step)
    contents = {
        "safetensors": save_tensors(snapshot.tensors),
        "json": json.dumps(snapshot.document).encode(),
    }
    files = {}
    for suffix, content in contents.items():
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"state-{sha256[:16]}.{suffix}"
        store.write(f"{folder}/{name}", content)
        files[suffix] = {"name": name, "sha256": sha256, "bytes": len(content)}
    manifest = json.dumps({"step": snapshot.step, "files": files}, indent=2).encode()
    store.write(f"{folder}/manifest.json", manifest)
    ref = CheckpointRef(
        step=snapshot.step, uri=join(store.uri, folder), sha256=hashlib.sha256(manifest).hexdigest()
    )
    return ref, sum(len(content) for content in contents.values())


def read_latest(store: ObjectStore) -> tuple[Snapshot, CheckpointRef] | None:
    """The newest checkpoint whose files are what its manifest says; older ones if need be."""
    for step in reversed(complete_steps(store)):
        try:
            return _read(store, step)
        except (ValueError, KeyError) as error:
            log(f"warning: checkpoint of step {step} is damaged ({error}); trying an older one")
    return None


def _read(store: ObjectStore, step: int) -> tuple[Snapshot, CheckpointRef]:
    folder = step_folder(step)
    manifest = store.read(f"{folder}/manifest.json")
    if manifest is None:
        raise ValueError("its manifest is gone")
    contents = {}
    for suffix, file in json.loads(manifest)["files"].items():
        content = store.read(f"{folder}/{file['name']}")
        if content is None:
            raise ValueError(f"{file['name']} is missing")
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise ValueError(f"{file['name']} has another digest than its manifest says")
        contents[suffix] = content
    snapshot = Snapshot(step, load_tensors(contents["safetensors"]), json.loads(contents["json"]))
    sha256 = hashlib.sha256(manifest).hexdigest()
    return snapshot, CheckpointRef(step=step, uri=join(store.uri, folder), sha256=sha256)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _capture_generators() -> tuple[dict[str, Tensor], dict[str, Any]]:
    name, keys, position, has_gauss, cached = np.random.get_state()
    tensors = {
        "generator.torch": torch.get_rng_state(),
        "generator.numpy": torch.from_numpy(np.array(keys)),
    }
    if torch.cuda.is_available():
        tensors["generator.cuda"] = torch.cuda.get_rng_state()
    document = {
        "python": random.getstate(),
        "numpy": [name, position, has_gauss, cached],
    }
    return tensors, document


def local_resume_folder(snapshot: Snapshot, folder: Path) -> Path:
    """A folder with the one file that the training loop of transformers reads itself."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps(snapshot.document["trainer"]))
    return folder
