"""A row of a dataset, the file that it is in, and what a mistake in either is told."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.log import log

# A text each.
WHOLE_TEXTS = (".txt", ".md")
# What may be packed, and what packs itself.
TEXT_FORMATS = (".jsonl", ".json", ".csv", ".tsv", *WHOLE_TEXTS)
FORMATS = (*TEXT_FORMATS, ".parquet")
PACKED = (".gz", ".zst")
# No example is longer: what is, is a file without line ends, a quote that never closes, or meant
# to fill the memory.
MAX_ROW_BYTES = 16 << 20
# What is packed may be this much larger unpacked, or so large that it fits in memory anyway.
MAX_RATIO = 200
UNPACKED_BYTES = 64 * 10**6
# What a row takes in memory beside its text, in the measure of IN_MEMORY_BYTES.
ROW_BYTES = 100

_SHOWN = 60


class Row(NamedTuple):
    """A row's values, without nulls and NaN, and where it stands, e.g. "train.jsonl:17". `nulls`:
    the columns that it has without a value."""

    values: dict[str, Any]
    place: str
    nulls: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LocalFile:
    """A file of a dataset on this disk, plain: `name` is what the user calls it."""

    name: str
    path: Path

    @property
    def suffix(self) -> str:
        return data_suffix(self.name)


def data_suffix(name: str) -> str:
    """The format's suffix, e.g. ".csv" of x.csv.gz; "" for what isn't read."""
    path = PurePosixPath(name.lower())
    if path.suffix in PACKED:
        path = path.with_suffix("")
        return path.suffix if path.suffix in TEXT_FORMATS else ""
    return path.suffix if path.suffix in FORMATS else ""


def row_of(value: Any, place: str) -> Row:
    """The row that a JSON value is. Raises TrainerError."""
    if not isinstance(value, dict):
        raise malformed(place, f"an object was expected, found {type(value).__name__}")
    if _is_table(value):
        raise malformed(
            place,
            "all rows in one object, by column, as pandas' to_json writes them",
            "write them with to_json(…, orient='records', lines=True)",
        )
    if None not in value.values():
        return Row(value, place)
    nulls = frozenset(key for key, item in value.items() if item is None)
    return Row({key: item for key, item in value.items() if item is not None}, place, nulls)


def _is_table(value: dict[str, Any]) -> bool:
    """Whether it has columns: objects with the numbers of rows as keys, all the same."""
    first = next(iter(value.values()), None)
    if not isinstance(first, dict) or not first:
        return False
    return all(map(str.isdecimal, first)) and all(
        isinstance(column, dict) and column.keys() == first.keys() for column in value.values()
    )


def malformed(place: str, problem: str, remedy: str = "correct or remove the row") -> TrainerError:
    return data_error("MalformedRow", f"{place}: {problem}; {remedy}")


def doubled_key(place: str, key: str) -> TrainerError:
    return malformed(place, f"an object has the key {shown(key)} twice", "keep one")


def row_too_large(place: str) -> TrainerError:
    return data_error(
        "RowTooLarge",
        f"{place}: the row is larger than {MAX_ROW_BYTES >> 20} MiB, which no example is: see "
        "that each row ends with a line end and each quote closes, or split the row",
    )


def too_large(name: str) -> TrainerError:
    """Of a packed file."""
    return data_error(
        "DatasetTooLarge",
        f"{name}: unpacked it is larger than {UNPACKED_BYTES // 10**6} MB and {MAX_RATIO} times "
        "the file, as no text is; upload it unpacked, as .jsonl",
    )


def most_unpacked(packed: int) -> int:
    """Bytes that a packed file of so many may have unpacked."""
    return max(UNPACKED_BYTES, MAX_RATIO * packed)


def shown(name: str) -> str:
    """A name that a file gives, as a message shows it: one line, cut."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")


def hidden(place: str, value: Any) -> str:
    """What a row's value is, for a message, which ends in a status: the log alone has the value."""
    log(f"data: {place}: {shown(str(value))}")
    return f"{_kind(value)} (the pod's log has it)"


def _kind(value: Any) -> str:
    match value:
        case str():
            return f"a text of {len(value):,} characters"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list():
            return f"a list of {len(value):,}"
        case _:
            return "an object"
