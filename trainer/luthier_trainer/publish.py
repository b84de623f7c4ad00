"""The artifact: what is in it, and its manifest, published last."""

import hashlib
import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from luthier_api.finetunejob import ArtifactRef
from luthier_api.result import RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.parallel import run_all
from luthier_trainer.storage.objectstore import ObjectStore

MANIFEST = "manifest.json"
_PACKAGES = ("luthier", "torch", "transformers", "peft", "accelerate", "safetensors", "numpy")


def publish(
    store: ObjectStore,
    folder: Path,
    spec: RunSpec,
    details: dict[str, Any],
    result: RunResult,
    fence: Callable[[], None],
) -> ArtifactRef:
    """Upload every file below `folder`, then the manifest that makes it an artifact.

    A half-published one has no manifest, and the next pod publishes it anew.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    keys = {path: path.relative_to(folder).as_posix() for path in files}
    fence()
    run_all(partial(store.upload, key, path) for path, key in keys.items())
    manifest = {
        "apiVersion": spec.api_version,
        "run": spec.run.to_json(),
        "shapeHash": spec.shape_hash,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": spec.fine_tuning.to_json(),
        **details,
        "image": os.environ.get("LUTHIER_IMAGE"),
        "versions": _versions(),
        "files": {key: _describe(path) for path, key in keys.items()},
        "result": result.to_json(),
    }
    data = json.dumps(manifest, indent=2).encode()
    fence()
    store.write(MANIFEST, data)
    return _reference(store, data)


def read_published(store: ObjectStore) -> tuple[dict[str, Any], ArtifactRef] | None:
    """The manifest of a finished output and its reference, or None."""
    data = store.read(MANIFEST)
    return (json.loads(data), _reference(store, data)) if data else None


def _reference(store: ObjectStore, manifest: bytes) -> ArtifactRef:
    return ArtifactRef(uri=store.uri, manifest_sha256=hashlib.sha256(manifest).hexdigest())


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "bytes": path.stat().st_size,
        }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):  # luthier itself may run from its sources
            versions[name] = version(name)
    return versions
