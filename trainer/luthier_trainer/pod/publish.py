"""The artifact: what is in it, and its manifest, published last."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from luthier_api.meta import Model
from luthier_api.result import RunEnd
from luthier_api.runspec import BundleOrder, OptimizeOrder, RunOrder, RunSpec
from luthier_api.runstatus import ArtifactRef
from luthier_trainer import documents
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import output_unusable
from luthier_trainer.parallel import run_all
from luthier_trainer.redaction import redacted_values
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.versions import installed

MANIFEST = "manifest.json"
_PACKAGES = ("luthier", "torch", "transformers", "peft", "accelerate", "safetensors", "numpy")
_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxruntime-genai")


def publish(
    store: ObjectStore,
    folder: Path,
    order: RunOrder,
    details: dict[str, Any],
    result: RunEnd,
    fence: Callable[[], None],
    copied: Mapping[str, dict[str, Any]] | None = None,
) -> ArtifactRef:
    """Upload every file below `folder`, then the manifest that makes it an artifact.

    `copied`: files that are there already, each with its sha256 and bytes. A half-published
    artifact has no manifest, and the next pod publishes it anew.
    """
    # Not what a link leads to: code of the user's can make one to whatever the pod can read.
    files = sorted(it for it in folder.rglob("*") if it.is_file() and not it.is_symlink())
    keys = {path: path.relative_to(folder).as_posix() for path in files}
    fence()
    run_all(partial(store.upload, key, path) for path, key in keys.items())
    manifest = {
        "apiVersion": order.api_version,
        # Without its uid, by which the cluster knows the resource: artifacts are shared.
        "run": {name: value for name, value in order.run.to_json().items() if name != "uid"},
        "shapeHash": order.shape_hash,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "spec": own_part(order).to_json(),
        **redacted_values(details),
        "image": os.environ.get("LUTHIER_IMAGE"),
        "versions": versions(onnx=not isinstance(order, RunSpec)),
        "files": {**(copied or {}), **{key: describe(path) for path, key in keys.items()}},
        "result": redacted_values(result.to_json()),
    }
    data = json.dumps(manifest, indent=2).encode()
    fence()
    store.write(MANIFEST, data)
    return _reference(store, data)


def read_published(store: ObjectStore) -> tuple[dict[str, Any], ArtifactRef] | None:
    """The manifest of a finished output and its reference, or None."""
    data = store.read(MANIFEST)
    if not data:
        return None
    try:
        manifest = documents.parse(data)
        if not isinstance(manifest["shapeHash"], str) or not isinstance(manifest["result"], dict):
            raise documents.DocumentError("it has no result")
    except (documents.DocumentError, KeyError) as error:
        raise output_unusable(store.uri, MANIFEST, error) from error
    return manifest, _reference(store, data)


def own_part(order: RunOrder) -> Model:
    """What an order says of the thing that it makes."""
    match order:
        case RunSpec():
            return order.fine_tuning
        case OptimizeOrder():
            return order.optimizing
        case BundleOrder():
            return order.bundling
    raise TypeError(f"no order that is known: {type(order).__name__}")


def _reference(store: ObjectStore, manifest: bytes) -> ArtifactRef:
    return ArtifactRef(uri=store.uri, manifest_sha256=hashlib.sha256(manifest).hexdigest())


def describe(path: Path) -> dict[str, Any]:
    """A file, as a manifest tells of it."""
    return {"sha256": sha256_of(path), "bytes": path.stat().st_size}


def versions(*, onnx: bool) -> dict[str, str]:
    """Of Python and of the packages that shape a result; `onnx`: those of ONNX too."""
    packages = (*_PACKAGES, *(_ONNX_PACKAGES if onnx else ()))
    return {"python": platform.python_version(), **installed(packages)}
