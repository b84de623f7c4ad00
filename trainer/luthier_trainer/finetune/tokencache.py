"""Rows as tokens, made once: in the pool's cache for the next pod and the next run, or in scratch.

An entry is named by all that shapes what is in it, appears by one rename, and is never changed
after; one that is damaged is made anew. What has been used least recently makes room for others.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier_api.runspec import RunSpec
from luthier_trainer.data.examples import Example, Examples
from luthier_trainer.digests import sha256_of
from luthier_trainer.log import log
from luthier_trainer.machine.cachefolder import locked, remove, unless_locked
from luthier_trainer.objectives.items import count, few, in_batches
from luthier_trainer.objectives.objective import Item, ShownObjective
from luthier_trainer.objectives.tokenstore import FORMAT, MANIFEST, DamagedError, StoredItems, write
from luthier_trainer.versions import installed

# Of what others left, so much stays when an entry is added.
_MOST_BYTES = 10 * 10**9
_LOCK = ".lock"
# What a tokenizer is loaded from; weights are far larger, and no part of it.
_TOKENIZER = (".json", ".jinja", ".model", ".txt")
_PACKAGES = ("luthier", "tokenizers", "transformers")

# Told how many rows are done.
OnRows = Callable[[int], None]


@dataclass(frozen=True)
class TokenCache:
    """`folder`: below the pool's cache; `scratch`: this pod's own. `shape`: of what becomes of a
    row, see `shape_of`."""

    folder: Path
    scratch: Path
    shape: dict[str, Any]

    def items(
        self, part: str, objective: ShownObjective, examples: Sequence[Example], on_rows: OnRows
    ) -> Sequence[Item]:
        """The encoded examples: in memory where they are few. `part`: which of the data's they
        are. Raises what encoding them does."""
        if few(examples):
            return objective.encode(examples)
        name = digest_of({**self.shape, "part": part})
        encoding = _Encoding(objective, examples, on_rows)
        try:
            return _cached(self.folder, name, encoding)
        except OSError as error:  # full, read-only, without locks: or the rows can't be read
            log(f"warning: the rows as tokens can't be kept in the cache: {error}")
            folder = self.scratch / "tokens" / name
            remove(folder)
            folder.mkdir(parents=True)
            return encoding.into(folder)


@dataclass(frozen=True)
class _Encoding:
    objective: ShownObjective
    examples: Sequence[Example]
    on_rows: OnRows

    def into(self, folder: Path) -> StoredItems:
        """Written to an empty folder."""
        started = time.monotonic()
        write(folder, self._batches(), count)
        items = StoredItems(folder, self.objective.item.of_numbers, verify=False)
        log(
            f"data: {len(self.examples):,} rows are {sum(items.lengths):,} tokens, encoded in "
            f"{time.monotonic() - started:.1f} s"
        )
        return items

    def _batches(self) -> Iterator[Sequence[Any]]:
        for items in in_batches(self.examples, self.objective.encode):
            yield items
            self.on_rows(sum(not getattr(item, "continues", False) for item in items))


def shape_of(
    spec: RunSpec,
    examples: Examples,
    objective: ShownObjective,
    tokenizer: Any,
    model_folder: Path,
    began: datetime | None,
) -> dict[str, Any]:
    """All that shapes a row's tokens, JSON-ready: data, form, tokenizer, length, labels, versions,
    and the moment where a chat template writes it."""
    tuning, dataset = spec.fine_tuning, spec.fine_tuning.dataset
    dated = getattr(getattr(objective, "encoder", None), "dated", False)
    return {
        "format": FORMAT,
        "versions": installed(_PACKAGES),
        "digest": examples.digest,
        "dataset": dataset.to_json(),
        "seed": tuning.training.seed if dataset.eval_fraction or dataset.mix else None,
        "task": tuning.task,
        "objective": type(objective).__name__,
        "maxLength": objective.max_length,
        "ownLoss": tuning.training.loss is not None,
        "similarity": tuning.training.similarity and tuning.training.similarity.to_json(),
        "labels": examples.labels,
        "head": objective.head.labels,
        "completions": examples.completions,
        "tokenizer": _tokenizer_files(model_folder),
        "chatTemplate": str(tokenizer.chat_template),
        "moment": began.isoformat() if dated and began else None,
    }


def _tokenizer_files(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.suffix in _TOKENIZER)
    return {path.name: sha256_of(path) for path in files if path.is_file()}


def digest_of(document: dict[str, Any]) -> str:
    """Of a shape."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def _cached(folder: Path, name: str, encoding: _Encoding) -> StoredItems:
    """Raises OSError, and what encoding does."""
    target = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if found := _opened(target, encoding):
        return found
    with locked(folder / f"{name}{_LOCK}", "encoding the same rows"):
        if found := _opened(target, encoding):
            return found
        for leftover in [*folder.glob(f".{name}-*"), target]:
            remove(leftover)
        _make_room(folder)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
        try:
            # Opened before anybody else sees it, and could delete it.
            items = encoding.into(partial)
            partial.chmod(0o755)
            partial.rename(target)
        except BaseException:  # also a stop: half a store is of no use
            shutil.rmtree(partial, ignore_errors=True)
            raise
        items.folder = target
        return items


def _opened(target: Path, encoding: _Encoding) -> StoredItems | None:
    if not target.exists():
        return None
    started = time.monotonic()
    try:
        items = StoredItems(target, encoding.objective.item.of_numbers)
    except DamagedError as error:
        log(f"warning: rows as tokens in the cache are made anew: {error}")
        return None
    _touch(target / MANIFEST)
    log(
        f"data: {len(encoding.examples):,} rows as {sum(items.lengths):,} tokens from the cache, "
        f"in {time.monotonic() - started:.1f} s"
    )
    return items


def _touch(manifest: Path) -> None:
    """Used now; where that can't be noted it goes sooner, and no more."""
    with suppress(OSError):
        os.utime(manifest)


def _make_room(folder: Path) -> None:
    """Delete what nobody uses: what killed pods left, and of the entries those that were used
    least recently, above a limit."""
    for path in folder.glob(".*-*"):
        with unless_locked(folder / f"{path.name[1:].partition('-')[0]}{_LOCK}") as free:
            if free:
                remove(path)
    entries = {path: _used(path) for path in folder.iterdir() if path.is_dir()}
    kept = 0
    for path in sorted(entries, key=entries.__getitem__, reverse=True):
        with suppress(FileNotFoundError):  # another pod makes room too
            kept += _size(path)
            if kept > _MOST_BYTES:
                _delete(path)


def _used(entry: Path) -> float:
    try:
        return (entry / MANIFEST).lstat().st_mtime
    except OSError:
        return 0.0


def _size(entry: Path) -> int:
    return sum(path.lstat().st_size for path in entry.iterdir())


def _delete(entry: Path) -> None:
    """Unless a pod reads it."""
    with unless_locked(entry / MANIFEST) as free:
        if free:
            remove(entry)
            log(f"data: rows as tokens of another run ({entry.name}) made room in the cache")
