"""Rows of .parquet files. The only module that knows pyarrow."""

import json
import math
from collections.abc import Collection, Iterator
from typing import Any

from luthier_trainer.data.rows import LocalFile, Row, malformed

_BATCH = 1024


def read_parquet(file: LocalFile, columns: Collection[str] | None) -> Iterator[Row]:
    """Rows, of the given columns (all when none of them is there, so that an error can name
    them). Numbers of classes become their names where the file knows them."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        table = pq.ParquetFile(file.path)
    except (pa.ArrowException, OSError) as error:
        raise malformed(f"{file.name}:1", f"not Parquet: {error}") from error
    with table:
        schema = table.schema_arrow
        names = _class_names(schema.metadata or {})
        wanted = [name for name in schema.names if columns is None or name in columns]
        whole = columns is None or set(columns) <= set(wanted)
        number = 0
        try:
            for batch in table.iter_batches(_BATCH, columns=wanted if whole else None):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(
                        {
                            key: _named(value, names[key]) if key in names else value
                            for key, value in _plain(values).items()
                            if value is not None
                        },
                        f"{file.name}#{number}",
                    )
        except (pa.ArrowException, ValueError) as error:  # ValueError: text that isn't UTF-8
            raise malformed(f"{file.name}#{number + 1}", f"not read: {error}") from error


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Column → names of its classes, as the package datasets writes them into the schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError):
        return {}
    found = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            found[column] = inner["names"]
    return found


def _plain(value: Any) -> Any:
    """As JSON has it: dates, decimals and the like as text, NaN as null."""
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return None if math.isnan(value) else value
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return str(value)


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
