"""What a training goes on from: found before anything is claimed, fetched once it is needed."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from luthier_api.finetuning import FineTuning
from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError, blaming, unsupported
from luthier_trainer.log import log
from luthier_trainer.pod.claim import Start
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.published import adapterfit
from luthier_trainer.published.artifact import open_artifact
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store

if TYPE_CHECKING:
    from luthier_trainer.models.heads import Head

_PARAM = "model.adapter"
_FILES = ("adapter_config.json", "adapter_model.safetensors")
# What an adapter of peft says of itself -> the methods that go on with it.
_LIKE = {"lora": ("lora", "qlora")}


def find_start(order: RunSpec) -> Start | None:
    """What the order says, or its spec by a URI; None: the training begins with new weights.

    Raises TrainerError (AdapterNotFound, InvalidRunSpec).
    """
    if order.start_from is not None:
        return Start(**dict(order.start_from))
    adapter = order.fine_tuning.model.adapter
    if adapter is None:
        return None
    if adapter.uri is None:
        raise TrainerError(
            ExitCode.INVALID_RUN_SPEC,
            "InvalidRunSpec",
            "the order doesn't say which result of the FineTuneJob the training goes on from: "
            "give the operator the trainer's release",
            f"{_PARAM}.fineTuneJobRef",
        )
    store = _store(adapter.uri, order)
    if manifest := store.read(MANIFEST):
        digest = hashlib.sha256(manifest).hexdigest()
        return Start(uri=adapter.uri, manifest_sha256=digest)
    total = hashlib.sha256()
    for name in _FILES:
        data = store.read(name)
        if data is None:
            raise TrainerError(
                ExitCode.NOT_FOUND,
                "AdapterNotFound",
                f"{join(adapter.uri, name)}: not there, nor a {MANIFEST}; name the folder that "
                "save_pretrained() wrote, or that of a FineTuneJob's result",
                f"{_PARAM}.uri",
            )
        total.update(hashlib.sha256(data).digest())
    return Start(uri=adapter.uri, digest=f"sha256:{total.hexdigest()}")


def fetch_start(start: Start, order: RunSpec, head: "Head", base_digest: str, folder: Path) -> Path:
    """The folder of its weights: an adapter's, or a model's where the method is full.

    Raises TrainerError: AdapterOfAnotherMethod, AdapterOfAnotherBase, AdapterOfOtherLabels,
    SourceNotFound, SourceDamaged.
    """
    tuning = order.fine_tuning
    log(f"going on from {start.uri}")
    if start.manifest_sha256 is None:
        store = _store(start.uri, order)
        for name in _FILES:
            store.download(name, folder / name)
        try:
            found = adapterfit.method_of(folder, start.uri)
        except TrainerError as error:
            raise blaming(error, _PARAM) from error
        _check_method(start, found, tuning)
        return folder
    source = SourceRef(uri=start.uri, manifest_sha256=start.manifest_sha256)
    artifact = open_artifact(source, order, _PARAM)
    _check_method(start, artifact.tuning.method.type, tuning)
    trained = artifact.manifest["baseModel"]["digest"]
    if trained != base_digest:
        raise TrainerError(
            ExitCode.DATA,
            "AdapterOfAnotherBase",
            f"{start.uri} was trained on the base {trained} ({artifact.tuning.model.uri}), and "
            f"{tuning.model.uri} is {base_digest}: name that base, or train from new weights",
            "model.uri",
        )
    labels = artifact.manifest.get("labels") or []
    if labels and labels != list(head.labels):
        raise TrainerError(
            ExitCode.DATA,
            "AdapterOfOtherLabels",
            f"{start.uri} ends in a head for {', '.join(labels[:8])}, and the data has "
            f"{', '.join(head.labels[:8])}: train on rows with the same classes, or from new "
            "weights",
            _PARAM,
        )
    part = "model" if tuning.method.type == "full" else "adapter"
    count = artifact.download(folder, {part})
    log(f"{part} of {start.revision or start.uri}: {count} files verified")
    return folder / part


def _check_method(start: Start, found: str, tuning: FineTuning) -> None:
    wanted = tuning.method.type
    if wanted == found or wanted in _LIKE.get(found, ()):
        return
    raise unsupported(
        "AdapterOfAnotherMethod",
        f"{start.uri} is of the method {found}, and can't be gone on with as {wanted}: set "
        f"method.type to {found}, with the settings that it was trained with",
        "method.type",
    )


def _store(uri: str, order: RunSpec) -> ObjectStore:
    return open_store(uri, order.storage, f"{_PARAM}.uri", order.file_roots)
