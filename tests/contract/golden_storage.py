"""What a run of this version leaves in storage, by its own writers: an output of each kind, and of
a FineTuneJob the checkpoint that it went on from.

Part of golden_documents.py, apart from it because of what it imports.
"""

import json
import os
import re
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
from contract.golden_documents import KINDS, _filled
from unit.trainer.training_runs import Fit, llama

from luthier_api.finetunejob import DatasetFacts
from luthier_api.optimizejob import SourceRef
from luthier_api.result import RunEnd
from luthier_api.runspec import RunOrder
from luthier_api.runstatus import Usage
from luthier_trainer.bundle.index import (
    INDEX,
    AdapterPart,
    BasePart,
    File,
    Index,
    LeftOutPart,
    Proof,
)
from luthier_trainer.data import record
from luthier_trainer.data.examples import Examples
from luthier_trainer.data.hashes import row_hashes
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import take_claim
from luthier_trainer.pod.publish import describe, publish
from luthier_trainer.published import ask
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training.checkpointfolder import complete_steps, step_folder

STEP = 2  # of the newest checkpoint; the one before it is the best
DIGEST = "sha256:data"
# In place of what is another at each writing: when, and by which packages.
_TIME, _VERSIONS = "2026-01-01T00:00:00", {"python": "3.11.0"}
_OF_THE_MACHINE = ("environment", "journal")
_TIMED = re.compile(r'("(?:began|startedAt|endedAt|created)": ")[-0-9T:]{19}')

_MODEL = {"uri": "hf://owner/base", "digest": "sha256:base", "revision": "c0ffee", "licence": "mit"}
# Of each kind what its manifest says beside what all say, and its files.
DETAILS: dict[str, dict[str, Any]] = {
    "FineTuneJob": {
        "baseModel": _MODEL,
        "startedFrom": {"uri": "s3://b/r1-00000001", "revision": "r1-00000001"},
        "labels": ["green", "red"],
        "datasetDigest": DIGEST,
        "dataset": {"examples": 7},
        "datasetWarnings": ["one is short"],
        "checkpointCost": {"count": 1},
        "estimate": {"memoryBytes": 7},
        "resolved": {"precision": "fp32"},
        "merged": {"dtype": "float32"},
        "customCode": True,
    },
    "OptimizeJob": {
        "source": {"uri": "s3://models/tone", "manifestSha256": "0" * 64},
        "adapterUri": None,
        "sourceDigest": DIGEST,
        "customCode": False,
        "package": {"precision": "int8", "format": "genai", "device": "cpu", "options": {}},
        "machine": {"cpu": "one"},
    },
    "AdapterBundle": {
        "baseModel": _MODEL,
        "sources": [{"name": "tone", "source": {"uri": "s3://models/tone"}}],
        "customCode": False,
    },
}
_FILES = {
    "FineTuneJob": (
        *("adapter/adapter_config.json", "adapter/adapter_model.safetensors"),
        *("model/config.json", "model/model.safetensors"),
    ),
    "OptimizeJob": ("model/model.onnx",),
    "AdapterBundle": ("model/model.onnx", "adapters/tone.onnx_adapter"),
}


def renew(folder: Path) -> None:
    """Write what lies there anew; checkpoints where they look otherwise: no two are the same."""
    with TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        write_outputs(fresh)
        write_checkpoints(fresh / "FineTuneJob")
        there = folder / "FineTuneJob" / "checkpoints"
        if shape_of_checkpoint(folder) == shape_of_checkpoint(fresh):
            shutil.rmtree(fresh / "FineTuneJob" / "checkpoints")
            shutil.copytree(there, fresh / "FineTuneJob" / "checkpoints")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(fresh, folder)


def write_outputs(folder: Path) -> None:
    """The output of each kind in a folder of its name below `folder`."""
    for kind in KINDS:
        _write_output(folder / kind, kind)


def shape_of_checkpoint(folder: Path) -> list[Any]:
    """What the newest one's documents are made of: names and types. Empty where there is none."""
    root = folder / "FineTuneJob" / step_folder(STEP)
    texts = [path.read_text() for path in sorted(root.glob("*.json"))]
    return [_shape(json.loads(text)) for text in texts]


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        # What a machine can tell of itself is another on each.
        told = {key: None if key in _OF_THE_MACHINE else item for key, item in value.items()}
        return {key: _shape(item) for key, item in told.items()}
    return [_shape(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__


def order_of(kind: str) -> RunOrder:
    """The order of the output: that of golden/VERSION/KIND/order.json."""
    order = _filled(KINDS[kind]["order"], kind)
    assert isinstance(order, RunOrder)
    return order


def fit(folder: Path) -> Fit:
    """The training whose checkpoint it is: the smallest with everything in its state."""
    settings = {"evalEverySteps": 1, "earlyStopping": {"patience": 9}, "maxSteps": 6}
    model = partial(llama, dropout=0.1, hidden=8)
    return Fit(folder, model, settings=settings, eval_items=Fit(folder).items[:4], keep_last=1)


def write_checkpoints(folder: Path) -> None:
    """The newest checkpoint and the best, below `folder`."""
    with TemporaryDirectory() as scratch:
        stopped = fit(Path(scratch))
        stopped.stop_at = STEP + 1
        stopped()
        for step in complete_steps(stopped.store):
            manifest = f"{step_folder(step)}/manifest.json"
            files = json.loads(stopped.store.read(manifest) or b"")["files"].values()
            for key in (manifest, *(f"{step_folder(step)}/{file['name']}" for file in files)):
                stopped.store.download(key, folder / key)


def _write_output(folder: Path, kind: str) -> None:
    order, store = order_of(kind), FileStore(folder)
    with TemporaryDirectory() as scratch, patch.dict(os.environ, LUTHIER_IMAGE="trainer:1"):
        first = _attempt(store, order, "pod-1")
        take_claim(store, order, DIGEST, first, _MODEL["digest"] if kind == "FineTuneJob" else None)
        if kind == "FineTuneJob":
            record.leave(store, _examples())
        first.begin(0)
        first.advance(STEP, Usage(cpu_seconds=1.5, gpu_seconds=0.5, trained_tokens=7))
        first.end("Interrupted", None, first.own.usage)
        second = _attempt(store, order, "pod-2")
        second.begin(STEP)
        second.end("Succeeded", None, Usage(cpu_seconds=2))
        _write_files(Path(scratch), kind)
        end = _filled(KINDS[kind]["result"], kind)
        assert isinstance(end, RunEnd)
        publish(store, Path(scratch), order, DETAILS[kind], end, second.fence)
    for entry in store.entries():
        if entry.key.endswith("claim.json") or entry.key.startswith(("attempts/", "manifest")):
            path = folder / entry.key
            document = json.loads(_TIMED.sub(rf"\g<1>{_TIME}", path.read_text()))
            if "versions" in document:
                document["versions"] = _VERSIONS
            path.write_text(json.dumps(document, indent=2) + "\n")


def _examples() -> Examples:
    rows = row_hashes(np.arange(7, dtype=np.uint64))
    files = {"0/train.jsonl": "70 etag"}
    facts = DatasetFacts(train=7)
    return Examples([], [], [], [], DIGEST, facts, hashes=rows, validators=files)


def _attempt(store: FileStore, order: RunOrder, pod: str) -> Attempts:
    with patch.dict(os.environ, POD_UID=pod, POD_NAME=f"tone-{pod}"):
        return Attempts(store, order.run)


def _write_files(folder: Path, kind: str) -> None:
    for name in _FILES[kind]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    if kind == "FineTuneJob":
        ask.write(folder / "adapter", _filled(ask.Ask, kind))
    if kind == "AdapterBundle":
        (folder / INDEX).write_text(json.dumps(_index(folder).to_json(), indent=2) + "\n")


def _index(folder: Path) -> Index:
    model, adapter = _FILES["AdapterBundle"]
    base = _filled(BasePart, "AdapterBundle").model_copy(
        update={"key": "base-key", "files": {model: File(**describe(folder / model))}}
    )
    part = _filled(AdapterPart, "AdapterBundle").model_copy(
        update={"key": "adapter-key", "file": adapter, **describe(folder / adapter)}
    )
    out = LeftOutPart(
        name="topic",
        source=SourceRef(uri="s3://models/topic"),
        code="NotEqual",
        message="too far",
        key="failed-key",
        proof=_filled(Proof, "AdapterBundle"),
    )
    return Index(base=base, adapters=[part], left_out=[out], versions=_VERSIONS)
