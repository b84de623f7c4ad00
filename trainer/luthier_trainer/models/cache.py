"""The base model as a local folder: as it is for file:// and pvc://, else through a cache.

A cached folder is named by its content's identity, appears by one rename, and is never
changed after: pods may share it and may be killed at any moment.
"""

import hashlib
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

from luthier_api.result import ExitCode
from luthier_api.runspec import RunOrder, RunSpec
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.log import log
from luthier_trainer.machine.cachefolder import locked, remove
from luthier_trainer.parallel import run_all
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.hub import HubStore
from luthier_trainer.storage.keys import below
from luthier_trainer.storage.objectstore import Entry, ReadableStore
from luthier_trainer.storage.source import open_source
from luthier_trainer.storage.uri import split

_SUFFIXES = {".safetensors", ".json", ".jinja", ".txt", ".model"}
_ADAPTER = "adapter_config.json"
_COMMIT = "commit:"


@dataclass(frozen=True)
class BaseModel:
    """What a run starts from, found but not yet downloaded.

    Of a hub: `commit` that the revision came to, and the licence that its card states.
    """

    store: ReadableStore
    entries: list[Entry]
    commit: str | None = None
    licence: str | None = None


def find(spec: RunSpec, commit: str | None = None) -> BaseModel:
    """The base of a run that fine-tunes; of a hub at `commit`, where it is given. Raises
    TrainerError."""
    model = spec.fine_tuning.model
    return find_model(model.uri, commit or model.revision, spec, "model.uri")


def identity(model: BaseModel) -> str:
    """What a base is, told before it is downloaded: the commit of a hub, the ETags of S3, and
    of files their contents: a copy has other times."""
    if model.commit:
        return f"{_COMMIT}{model.commit}"
    if isinstance(model.store, FileStore):
        return digest(model.store.local(""), model)
    return "etags:" + hashlib.sha256(_listed(model).encode()).hexdigest()


def commit_of(identity: str) -> str | None:
    """The commit that an identity tells, where the base is of a hub."""
    return identity.removeprefix(_COMMIT) if identity.startswith(_COMMIT) else None


def find_model(uri: str, revision: str | None, order: RunOrder, param: str) -> BaseModel:
    """List a model's files: cheap, and tells what is missing. `param`: the field of the spec
    that errors name. Raises TrainerError."""
    store = open_source(uri, "models", order, param, revision)
    entries = _needed(store.entries())
    for entry in entries:
        below(Path(), entry.key, param)
    keys = {entry.key for entry in entries}
    if "config.json" not in keys:
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "ModelNotFound",
            f"{uri}: no config.json there; upload the model's folder (config.json, "
            "*.safetensors, tokenizer.json), or correct the URI",
            param,
        )
    if not any(key.endswith(".safetensors") for key in keys):
        raise unsupported(
            "ModelNotSafetensors",
            f"{uri}: no *.safetensors there, and pickled weights are never loaded; convert them "
            "with save_pretrained()",
            param,
        )
    if _ADAPTER in keys:
        # transformers puts it on by itself: unchecked, and then nothing tells what the base lacks.
        raise unsupported(
            "ModelUnusable",
            f"{uri}: an adapter lies in the model's folder ({_ADAPTER}); merge it into the model "
            "(merge_and_unload() of peft), or name a folder that holds the base alone",
            param,
        )
    if isinstance(store, HubStore):
        log(f"model: {uri} at {store.commit}, licence {store.licence or 'not stated'}")
        return BaseModel(store, entries, store.commit, store.licence)
    return BaseModel(store, entries)


def _listed(model: BaseModel) -> str:
    return "\n".join(f"{entry.key} {entry.size} {entry.etag}" for entry in model.entries)


def _needed(entries: list[Entry]) -> list[Entry]:
    """Files that transformers loads: of weights kept twice, as some hubs do, the usual ones."""
    found = [
        entry
        for entry in entries
        if "/" not in entry.key and PurePosixPath(entry.key).suffix in _SUFFIXES
    ]
    weights = [entry.key for entry in found if entry.key.endswith(".safetensors")]
    if not any(key.startswith("model") for key in weights):
        return found
    twice = {key for key in weights if key.startswith("consolidated")}
    return [entry for entry in found if entry.key not in twice]


def local_folder(model: BaseModel, order: RunOrder) -> Path:
    """The folder to load from; downloaded first unless it is here already."""
    if isinstance(model.store, FileStore):
        return model.store.local("")
    _, bucket, path = split(model.store.uri)
    place = f"{order.storage.endpoint} {bucket}"
    if isinstance(model.store, HubStore):
        place = model.store.identity
    name = hashlib.sha256(f"{place}\n{_listed(model)}".encode())
    models = Path(order.cache_dir, "models")
    target = models / name.hexdigest()[:32]
    models.mkdir(parents=True, exist_ok=True)
    with locked(models / f"{target.name}.lock", "downloading the model"):
        if _is_whole(target, model):
            log(f"model: {path.strip('/') or bucket} is in the cache")
            return target
        for leftover in [*models.glob(f".{target.name}-*"), target]:
            remove(leftover)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=models))
        try:
            _download(model, partial)
            partial.chmod(0o755)
        except BaseException:  # a full volume stays full by what can't be used
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(target)
    return target


def _is_whole(folder: Path, model: BaseModel) -> bool:
    """Whether a cached folder holds the model's files, as files, and nothing beside them: all
    pods of a claim can write there, and libraries read what they find."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = {path.name: path.lstat() for path in folder.iterdir()}
    same = {entry.key: entry.size for entry in model.entries} == {
        name: each.st_size for name, each in found.items()
    }
    return same and all(stat.S_ISREG(each.st_mode) for each in found.values())


def _download(model: BaseModel, folder: Path) -> None:
    started = time.monotonic()
    paths = {entry.key: below(folder, entry.key, "model.uri") for entry in model.entries}
    run_all(partial(model.store.download, key, path) for key, path in paths.items())
    for entry in model.entries:
        if paths[entry.key].stat().st_size != entry.size:
            raise OSError(f"{entry.key}: not {entry.size} bytes after the download")
    size = sum(entry.size for entry in model.entries)
    seconds = time.monotonic() - started
    log(f"model: downloaded {size / 1e6:.0f} MB in {seconds:.1f} s")


def digest(folder: Path, model: BaseModel) -> str:
    """sha256 over the names and digests of the model's files, which are read once."""
    return _digest(folder, tuple(model.entries))


@lru_cache(maxsize=8)
def _digest(folder: Path, entries: tuple[Entry, ...]) -> str:
    total = hashlib.sha256()
    for entry in entries:
        total.update(f"{entry.key} {sha256_of(folder / entry.key)}\n".encode())
    return "sha256:" + total.hexdigest()
