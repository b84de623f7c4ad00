"""The artifact of a FineTuneJob, as its manifest tells it: opened, verified, downloaded."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luthier_api.finetuning import FineTuning
from luthier_api.meta import first_error
from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_api.runspec import RunOrder
from luthier_trainer import documents
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError
from luthier_trainer.models import cache
from luthier_trainer.parallel import run_all
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.storage.keys import below
from luthier_trainer.storage.objectstore import ObjectStore, join
from luthier_trainer.storage.open import open_store


@dataclass(frozen=True)
class Artifact:
    """`tuning`: what was asked of the run that made it. `param`: the field that errors name."""

    store: ObjectStore
    manifest: dict[str, Any]
    tuning: FineTuning
    param: str

    @property
    def parts(self) -> set[str]:
        """The folders in it: adapter, model, report."""
        return {key.partition("/")[0] for key in self.manifest["files"]}

    def download(self, folder: Path, parts: Collection[str]) -> int:
        """The files of these parts, each verified; how many they are. Raises TrainerError
        (SourceDamaged)."""
        wanted = self.manifest["files"].items()
        files = {key: file for key, file in wanted if key.partition("/")[0] in parts}
        paths = {key: below(folder, key, self.param) for key in files}
        run_all(partial(self._download, key, paths[key], file) for key, file in files.items())
        return len(files)

    def _download(self, key: str, path: Path, file: dict[str, Any]) -> None:
        try:
            self.store.download(key, path)
        except FileNotFoundError:
            raise _damaged(self.store, key, "is missing", self.param) from None
        if sha256_of(path) != file["sha256"]:
            raise _damaged(self.store, key, "isn't what its manifest says", self.param)


def open_artifact(source: SourceRef, order: RunOrder, param: str) -> Artifact:
    """The artifact whose manifest has the digest of `source`. Raises TrainerError (SourceNotFound,
    SourceDamaged, SourceUnusable)."""
    store = open_store(source.uri, order.storage, param)
    manifest = _manifest(store, str(source.manifest_sha256), param)
    return Artifact(store, manifest, _tuning_of(manifest, source.uri, param), param)


def base_of(artifact: Artifact, order: RunOrder) -> Path:
    """The folder of the base that it was trained on. Raises TrainerError (BaseChanged), or what
    says that it is gone."""
    trained, model = artifact.manifest["baseModel"], artifact.tuning.model
    # Of a hub: the commit that it was.
    found = cache.find_model(
        model.uri, trained.get("revision") or model.revision, order, artifact.param
    )
    folder = cache.local_folder(found, order)
    digest = cache.digest(folder, found)
    if digest != trained["digest"]:
        raise TrainerError(
            ExitCode.DATA,
            "BaseChanged",
            f"{model.uri}: the model there is {digest} now, but the adapter was trained on "
            f"{trained['digest']}; put the old files back, or run the FineTuneJob again",
            artifact.param,
        )
    return folder


def _manifest(store: ObjectStore, digest: str, param: str) -> dict[str, Any]:
    data = store.read(MANIFEST)
    if data is None:
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "SourceNotFound",
            f"{join(store.uri, MANIFEST)}: not there: the FineTuneJob's result was deleted; run it "
            "again",
            param,
        )
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(store, MANIFEST, "isn't the one that the FineTuneJob reported", param)
    try:
        found = documents.parse(data)
        found["spec"]["method"], found["baseModel"]["digest"], found["datasetDigest"]
        for file in found["files"].values():
            file["sha256"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainerError(
            ExitCode.DATA,
            "SourceUnusable",
            f"{join(store.uri, MANIFEST)}: no manifest of a FineTuneJob "
            f"({error if isinstance(error, documents.DocumentError) else 'a field is missing'})",
            param,
        ) from error
    return found


def _tuning_of(manifest: dict[str, Any], uri: str, param: str) -> FineTuning:
    try:
        return FineTuning.read(manifest["spec"])
    except ValidationError as error:
        place, problem = first_error(error)
        raise TrainerError(
            ExitCode.UNSUPPORTED,
            "SourceUnusable",
            f"{uri}: its manifest is of another version ({place}: {problem}); run the "
            "FineTuneJob again",
            param,
        ) from error


def _damaged(store: ObjectStore, key: str, problem: str, param: str) -> TrainerError:
    return TrainerError(
        ExitCode.DATA,
        "SourceDamaged",
        f"{join(store.uri, key)}: {problem}: something else wrote there, or deleted from it; run "
        "the FineTuneJob again",
        param,
    )
