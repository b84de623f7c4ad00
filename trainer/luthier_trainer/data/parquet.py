"""Rows of .parquet files. The only module that knows pyarrow."""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from luthier_trainer.data.jsonarray import DoubledKeyError, as_object
from luthier_trainer.data.row import (
    MAX_ROW_BYTES,
    ROW_BYTES,
    LocalFile,
    Row,
    doubled_key,
    malformed,
    most_unpacked,
    row_of,
    row_too_large,
    shown,
    too_large,
)
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log

_BATCH = 1024
# Of a batch, where the pages hardly say how large their values are: one value, many times.
_BATCH_BYTES = 64 << 20
_DENSE, _FEWEST = 20, 8
_NUMBER_BYTES = 8


def read_parquet(file: LocalFile, columns: Collection[str] | None) -> Iterator[Row]:
    """Rows, of the given columns (all when one of them isn't there, so that an error can name
    those that are). Numbers of classes become their names where the file knows them. Raises
    TrainerError (MalformedRow, RowTooLarge, DatasetTooLarge)."""
    with _opened(file) as table:
        schema = table.schema_arrow
        names = _class_names(schema.metadata or {})
        wanted = [name for name in schema.names if columns is None or name in columns]
        chosen = wanted if columns is None or set(columns) <= set(wanted) else schema.names
        convert = {
            name: _converter(schema.field(name).type, name in wanted)
            for name in chosen
            if not _is_plain(schema.field(name).type)
        }
        number, size, most = 0, 0, most_unpacked(file.path.stat().st_size)
        for batch in _batches(file, table, chosen):
            size += batch.nbytes
            if size > most:
                raise too_large(file.name)
            if batch.nbytes > MAX_ROW_BYTES:
                _check_rows(file.name, batch, number)
            for values in _values(file, batch, number):
                number += 1
                yield _row(values, f"{file.name}#{number}", convert, names)


def columns_of(file: LocalFile) -> set[str]:
    """Raises TrainerError."""
    with _opened(file) as table:
        return set(table.schema_arrow.names)


def decoded_bytes(file: LocalFile, enough: int) -> int:
    """Of all values and rows in memory; where they are more than `enough`, that they are more."""
    with _opened(file) as table:
        rows: int = ROW_BYTES * table.metadata.num_rows
        size = rows + _declared(table.metadata)
        if size <= enough:
            size = rows
            for batch in _batches(file, table, table.schema_arrow.names):
                size += batch.nbytes
                if size > enough:
                    break
        return size


def _opened(file: LocalFile) -> Any:
    """Raises TrainerError: no Parquet, a column twice, unpacked too large."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    place = f"{file.name}:1"
    try:
        table = pq.ParquetFile(file.path)
        names = table.schema_arrow.names
    except (pa.ArrowException, OSError, ValueError) as error:
        log(f"data: {file.name}: {error}")
        raise malformed(place, "not Parquet, or cut short", "upload the file again") from error
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        table.close()
        raise malformed(
            place, f"the schema has the column {shown(doubled[0])} twice", "rename or remove one"
        )
    if _declared(table.metadata) > most_unpacked(file.path.stat().st_size):
        table.close()
        raise too_large(file.name)
    return table


def _chunks(metadata: Any, group: int) -> list[Any]:
    found = metadata.row_group(group)
    return [found.column(column) for column in range(found.num_columns)]


def _declared(metadata: Any) -> int:
    """Bytes of all values, as far as the file says: of equal ones it may hold but one."""
    groups = range(metadata.num_row_groups)
    return sum(
        max(chunk.total_uncompressed_size, _NUMBER_BYTES * chunk.num_values)
        for group in groups
        for chunk in _chunks(metadata, group)
    )


def _batch_rows(metadata: Any, group: int) -> int:
    """Rows that are decoded at once, few where a value may be large and stand in all of them."""
    rows, largest = metadata.row_group(group).num_rows, 1
    for chunk in _chunks(metadata, group):
        size = chunk.total_uncompressed_size
        if chunk.num_values > rows:  # lists, of which one may have nearly all values
            size = max(size, _NUMBER_BYTES * chunk.num_values)
        if size > _DENSE * chunk.total_compressed_size:
            largest = max(largest, size)
    return min(max(_BATCH_BYTES // largest, _FEWEST), _BATCH)


def _batches(file: LocalFile, table: Any, columns: Collection[str]) -> Iterator[Any]:
    import pyarrow as pa

    number = 0
    for group in range(table.metadata.num_row_groups):
        rows = _batch_rows(table.metadata, group)
        try:
            for batch in table.iter_batches(rows, row_groups=[group], columns=list(columns)):
                yield _without_nanoseconds(batch)
                number += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise _unread(file, number, error) from error


def _values(file: LocalFile, batch: Any, number: int) -> list[dict[str, Any]]:
    import pyarrow as pa

    try:
        values: list[dict[str, Any]] = batch.to_pylist()
    # Text that isn't UTF-8, a year that Python has not, a time zone that nobody knows.
    except (pa.ArrowException, ValueError, OverflowError, KeyError) as error:
        if batch.num_rows == 1:
            raise _unread(file, number, error) from error
        rows = (batch.slice(row, 1) for row in range(batch.num_rows))
        return [_values(file, row, number + at)[0] for at, row in enumerate(rows)]
    return values


def _unread(file: LocalFile, number: int, error: Exception) -> TrainerError:
    place = f"{file.name}#{number + 1}"
    log(f"data: {place}: {error}")
    what = "text that is not utf-8" if isinstance(error, UnicodeDecodeError) else "a value"
    return malformed(
        place, f"not read: {what} (the pod's log has more)", "write such values as UTF-8 text"
    )


def _check_rows(name: str, batch: Any, number: int) -> None:
    for row in range(batch.num_rows):
        if batch.slice(row, 1).nbytes > MAX_ROW_BYTES:
            raise row_too_large(f"{name}#{number + row + 1}")


def _without_nanoseconds(batch: Any) -> Any:
    """Times of a kind that Python has, or as text where it hasn't."""
    import pyarrow as pa

    columns = [_coarse(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _coarse(column: Any) -> Any:
    import pyarrow as pa

    kind = column.type
    if not pa.types.is_temporal(kind) or getattr(kind, "unit", "") != "ns":
        return column
    if pa.types.is_timestamp(kind):
        wanted = pa.timestamp("us", kind.tz)
    else:
        wanted = pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid:  # it has nanoseconds
        return column.cast(pa.string())


def _row(
    values: dict[str, Any],
    place: str,
    convert: Mapping[str, Callable[[Any], Any]],
    names: Mapping[str, list[str]],
) -> Row:
    for key, make in convert.items():
        if values[key] is not None:
            try:
                values[key] = make(values[key])
            except UnicodeDecodeError as error:
                raise malformed(
                    place, f"{shown(key)} holds bytes that are no text", "write it as UTF-8 text"
                ) from error
            except DoubledKeyError as error:
                raise doubled_key(f"{place}: {shown(key)}", error.key) from None
    for key in names.keys() & values.keys():
        values[key] = _named(values[key], names[key])
    return row_of(values, place)


def _is_plain(kind: Any) -> bool:
    """Whether its values are JSON's."""
    import pyarrow as pa

    is_ = pa.types
    text = is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind)
    return bool(text or is_.is_integer(kind) or is_.is_boolean(kind))


def _converter(kind: Any, strict: bool) -> Callable[[Any], Any]:
    """Values of an Arrow type → as JSON has them: dates, decimals and the like as text, floats
    of fewer bits as they are written, NaN as null. `strict`: bytes that are no text, and maps with
    a key twice, are refused."""
    import numpy as np
    import pyarrow as pa

    is_ = pa.types
    if is_.is_dictionary(kind):
        return _converter(kind.value_type, strict)
    if isinstance(kind, pa.BaseExtensionType):
        return _converter(kind.storage_type, strict)
    if is_.is_floating(kind):
        narrow = {16: np.float16, 32: np.float32}.get(kind.bit_width)
        return lambda value: _number(float(str(narrow(value))) if narrow else value)
    if is_.is_decimal(kind):
        return lambda value: f"{value:f}"
    if is_.is_map(kind):
        entry = _converter(kind.item_type, strict)
        make: Callable[[list[tuple[str, Any]]], Any] = as_object if strict else dict
        return lambda value: make(
            [(_key(name), None if item is None else entry(item)) for name, item in value]
        )
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        item = _converter(kind.value_type, strict)
        return lambda value: [None if one is None else item(one) for one in value]
    if is_.is_struct(kind):
        fields = {field.name: _converter(field.type, strict) for field in kind}
        return lambda value: {
            name: None if one is None else fields[name](one) for name, one in value.items()
        }
    return lambda value: _plain(value, strict)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _key(name: Any) -> str:
    return name if isinstance(name, str) else str(name)


def _plain(value: Any, strict: bool) -> Any:
    """Bytes may be text that its writer didn't mark as such."""
    match value:
        case str() | bool() | int():
            return value
        case bytes():
            return value.decode("utf-8", "strict" if strict else "backslashreplace")
        case _:
            return str(value)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Column → names of its classes, as the package datasets writes them into the schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        columns = list(features.items())
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    found = {}
    for column, feature in columns:
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and names and inner.get("_type") == "ClassLabel":
            found[column] = names
    return found


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
