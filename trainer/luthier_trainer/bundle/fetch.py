"""An adapter's files, from the artifact of a FineTuneJob or from a folder, with their digests
verified where a manifest tells them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_api.runspec import AdapterOrder, RunOrder
from luthier_trainer import documents
from luthier_trainer.digests import sha256_of
from luthier_trainer.errors import TrainerError
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.pod.publish import MANIFEST
from luthier_trainer.pod.usercode import made_with_code
from luthier_trainer.published.ask import ASK, MOST_BYTES, Ask, parse
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)
_IN_ARTIFACT = "adapter/"
_MOST_TEMPLATE = 1 << 20


@dataclass(frozen=True)
class Located:
    """Where an adapter lies.

    `manifest`: of the run that trained it, where it is known; `digests`: sha256 of its files, by
    that manifest.
    """

    name: str
    source: SourceRef
    store: ObjectStore
    prefix: str
    manifest: Mapping[str, Any] | None = None
    digests: Mapping[str, str] | None = None

    @property
    def base_digest(self) -> str | None:
        base = (self.manifest or {}).get("baseModel") or {}
        return base.get("digest")

    @property
    def custom_code(self) -> bool:
        return made_with_code(self.manifest or {})


def locate(adapter: AdapterOrder, order: RunOrder, param: str) -> Located:
    """Raises UnfitError, or TrainerError where storage itself denies access or is down."""
    source = adapter.source
    store = open_store(source.uri, order.storage, param, order.file_roots)
    try:
        return _located(adapter, store, order, param)
    except TrainerError as failure:
        if failure.exit_code != ExitCode.NOT_FOUND:
            raise
        raise UnfitError("AdapterNotFound", failure.error.message, "correct the URI") from failure


def _located(adapter: AdapterOrder, store: ObjectStore, order: RunOrder, param: str) -> Located:
    source = adapter.source
    data = store.read(MANIFEST)
    if source.manifest_sha256:
        if data is None:
            raise UnfitError(
                "AdapterNotFound", f"{source.uri} has no {MANIFEST}", "run its FineTuneJob again"
            )
        if hashlib.sha256(data).hexdigest() != source.manifest_sha256:
            raise UnfitError(
                "DigestMismatch",
                f"{source.uri}/{MANIFEST} is not the one that the FineTuneJob published",
                "something else wrote there: run the FineTuneJob again",
            )
    prefix = ""
    if data is not None:
        prefix = _IN_ARTIFACT
    elif source.uri.rstrip("/").endswith("/" + _IN_ARTIFACT.strip("/")):
        # The adapter's folder in an artifact: the manifest lies above it.
        above = source.uri.rstrip("/").removesuffix("/" + _IN_ARTIFACT.strip("/"))
        data = open_store(above, order.storage, param, order.file_roots).read(MANIFEST)
    if data is None:
        return Located(adapter.name, source, store, prefix)
    manifest = _parsed(data, source.uri)
    digests = _digests(manifest)
    if digests is None:
        method = ((manifest.get("spec") or {}).get("method") or {}).get("type", "another one")
        raise UnfitError(
            "NotLora",
            f"{source.uri} holds no adapter of LoRA (its method is {method})",
            "train it with the method lora",
        )
    return Located(adapter.name, source, store, prefix, manifest, digests)


def _parsed(data: bytes, uri: str) -> dict[str, Any]:
    try:
        manifest = documents.parse(data)
        for part in ("files", "spec", "baseModel"):
            dict(manifest.get(part) or {})
        for file in manifest["files"].values():
            file.get("sha256")
        dict((manifest.get("spec") or {}).get("method") or {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnfitError(
            "BrokenManifest", f"{uri}/{MANIFEST} is no manifest of an artifact", "correct the URI"
        ) from error
    return manifest


def _digests(manifest: Mapping[str, Any]) -> dict[str, str] | None:
    files = manifest["files"]
    found = {name: (files.get(_IN_ARTIFACT + name) or {}).get("sha256") for name in FILES}
    known = {name: digest for name, digest in found.items() if isinstance(digest, str)}
    return known if len(known) == len(FILES) else None


def fetch(located: Located, folder: Path) -> dict[str, str]:
    """Write the adapter's files to `folder`; their sha256. Raises UnfitError, TrainerError."""
    found = {}
    for name in FILES:
        path = folder / name
        try:
            located.store.download(located.prefix + name, path)
        except FileNotFoundError as error:
            raise UnfitError(
                "FileMissing",
                f"{located.source.uri} has no {located.prefix}{name}",
                "save the adapter there with peft's save_pretrained (safetensors)",
            ) from error
        found[name] = sha256_of(path)
        wanted = (located.digests or {}).get(name)
        if wanted and found[name] != wanted:
            raise UnfitError(
                "DigestMismatch",
                f"{located.source.uri}/{located.prefix}{name} is not what its run published",
                "something else wrote there: run the FineTuneJob again",
            )
    return found


def has_own_template(located: Located) -> bool:
    """Whether its run wrote conversations otherwise than the base does (dataset.chatTemplate)."""
    dataset = ((located.manifest or {}).get("spec") or {}).get("dataset")
    return isinstance(dataset, dict) and bool(dataset.get("chatTemplate"))


def fetch_template(located: Located) -> str | None:
    """The chat template that lies beside the adapter, as its run saved it with the tokenizer."""
    data = _small(located, "chat_template.jinja", _MOST_TEMPLATE)
    try:
        return data.decode() if data else None
    except UnicodeDecodeError:
        return None


def fetch_ask(located: Located) -> Ask | None:
    """How the adapter is asked, where a document of its run's lies beside it. It shapes no weight:
    one that can't be read is none."""
    found = parse(_small(located, ASK, MOST_BYTES))
    if found and found.row and has_own_template(located):
        # Whoever has the package writes messages by the base's template: the text is what it knows.
        return found.model_copy(update={"row": found.row.model_copy(update={"messages": None})})
    return found


def _small(located: Located, name: str, most: int) -> bytes | None:
    key = located.prefix + name
    sizes = {entry.key: entry.size for entry in located.store.entries(key)}
    return located.store.read(key) if 0 < sizes.get(key, 0) <= most else None
