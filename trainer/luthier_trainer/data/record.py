"""What a revision was made from, left beside its result: what a later look compares with.

data.json: the digest of the data, and what tells whether its files are the same (`validators`);
data-rows.u64: hashes of its rows; data-seen.json: what the last look found that had to read them.
"""

import json
from typing import TypeVar

import numpy as np
from pydantic import Field, ValidationError

from luthier_api.bounds import Count
from luthier_api.meta import Model
from luthier_api.retraining import RowChanges
from luthier_trainer.data.examples import Examples
from luthier_trainer.data.hashes import RowHashes
from luthier_trainer.documents import DocumentError, parse
from luthier_trainer.log import log
from luthier_trainer.storage.objectstore import ObjectStore

RECORD, ROWS, SEEN = "data.json", "data-rows.u64", "data-seen.json"
_HASH = np.dtype("<u8")


class DataRecord(Model):
    """Contents of data.json. Of more rows than are kept, `zeros` says which are (hashes.py)."""

    digest: str = Field(max_length=80)
    validators: dict[str, str] | None = None
    rows: Count = 0
    zeros: int = Field(default=0, ge=0, le=63)


class Seen(Model):
    """Contents of data-seen.json. `rows`: beside those of the revision."""

    digest: str = Field(max_length=80)
    validators: dict[str, str]
    rows: RowChanges | None = None


ModelT = TypeVar("ModelT", bound=Model)


def leave(output: ObjectStore, examples: Examples) -> None:
    """Once: every attempt is made from the same."""
    if output.entry(RECORD) is not None:
        return
    hashes = examples.hashes
    record = DataRecord(
        digest=examples.digest,
        validators=examples.validators,
        rows=hashes.total,
        zeros=hashes.zeros,
    )
    output.write(ROWS, hashes.kept.astype(_HASH).tobytes())
    output.write(RECORD, _written(record))


def left(output: ObjectStore) -> DataRecord | None:
    """What a revision left; None of one that left nothing that can be read."""
    return _read(output, RECORD, DataRecord)


def left_rows(output: ObjectStore, record: DataRecord) -> RowHashes | None:
    """Its rows' hashes."""
    data = output.read(ROWS)
    if data is None or len(data) % _HASH.itemsize:
        return None
    kept = np.sort(np.frombuffer(data, _HASH).astype(np.uint64))
    return RowHashes(record.rows, record.zeros, kept)


def remember(output: ObjectStore, seen: Seen) -> None:
    """So that the next look needn't read the same again."""
    output.write(SEEN, _written(seen))


def remembered(output: ObjectStore) -> Seen | None:
    """What the last look read."""
    return _read(output, SEEN, Seen)


def _written(document: Model) -> bytes:
    return json.dumps(document.to_json(), indent=2).encode()


def _read(output: ObjectStore, key: str, model: type[ModelT]) -> ModelT | None:
    """What can't be read is as good as not there: the rows are read instead."""
    data = output.read(key)
    if data is None:
        return None
    try:
        return model.read(parse(data))
    except (DocumentError, ValidationError):
        log(f"warning: {output.uri}/{key} can't be read: the rows are, instead")
        return None
