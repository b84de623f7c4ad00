"""What a file holds by its first bytes, where that isn't what its name says."""

from pathlib import PurePosixPath

from luthier_trainer.data.row import TEXT_FORMATS, WHOLE_TEXTS, LocalFile, malformed
from luthier_trainer.errors import TrainerError

_HEAD = 4096
_TAR = slice(257, 262)
_FEW_NULS = 8
_AS_CSV = "save it as CSV UTF-8"
_AS_PARQUET = "write it as .parquet"
_UNPACK = "unpack it, and upload the data file"
_TO_UTF8 = "save the file as UTF-8 (iconv -f {} -t UTF-8)"

# First bytes → what has them, and what to do. {stem}: the name without its suffixes.
_MAGIC = (
    (b"\x1f\x8b", "gzip", "rename the file to {packed}.gz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "rename the file to {packed}.zst"),
    (b"PAR1", "Parquet", "rename the file to {stem}.parquet"),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)", _AS_CSV),
    (b"ARROW1", "Arrow (Feather)", _AS_PARQUET),
    (b"FEA1", "Feather", _AS_PARQUET),
    (b"\xff\xff\xff\xff", "an Arrow stream", _AS_PARQUET),
    (b"ORC", "ORC", _AS_PARQUET),
    (b"Obj\x01", "Avro", _AS_PARQUET),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"BZh", "bzip2", _UNPACK),
    (b"\xfd7zXZ", "xz", _UNPACK),
    (b"7z\xbc\xaf", "a 7z archive", _UNPACK),
    (b"\x93NUMPY", "a numpy array", "write it as .jsonl"),
    (b"\x80\x04", "a pickle", "write it as .jsonl"),
    (b"\x80\x05", "a pickle", "write it as .jsonl"),
    (b"%PDF", "a PDF", "write its text as .jsonl"),
    (b"\xff\xfe\0\0", "UTF-32 text", _TO_UTF8.format("UTF-32")),
    (b"\0\0\xfe\xff", "UTF-32 text", _TO_UTF8.format("UTF-32")),
    (b"\xff\xfe", "UTF-16 text", _TO_UTF8.format("UTF-16")),
    (b"\xfe\xff", "UTF-16 text", _TO_UTF8.format("UTF-16")),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file",
        "fetch the file (git lfs pull), and upload that",
    ),
)
_PAGE = "see what the address answers in a browser, and upload the data file itself"
_MARKUP = (
    (b"<!doctype html", "an HTML page", _PAGE),
    (b"<html", "an HTML page", _PAGE),
    (b"<?xml", "XML", _PAGE),
)
_CALLED = {
    ".jsonl": "JSON lines",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".txt": "plain text",
    ".md": "Markdown",
}
# First bytes that no text begins with, letters or not.
_NO_TEXT = (b"%PDF-", b"version https://git-lfs")


def check_content(file: LocalFile) -> None:
    """Raises TrainerError (MalformedRow) with the remedy that fits what the file holds."""
    with file.path.open("rb") as stream:
        head = stream.read(_HEAD)
    suffix = file.suffix
    if found := _binary(head, suffix) or (suffix not in WHOLE_TEXTS and _text(head, suffix)):
        what, remedy = found
        raise malformed(f"{file.name}:1", f"not {_CALLED[suffix]}, but {what}", _for(file, remedy))


def not_packed(file: LocalFile) -> TrainerError | None:
    """What a file is told whose name ends with .gz or .zst, and that isn't packed so."""
    with file.path.open("rb") as stream:
        head = stream.read(8)
    ending = PurePosixPath(file.name.lower()).suffix
    magic = next(magic for magic, _, remedy in _MAGIC if remedy.endswith(ending))
    if head.startswith(magic):
        return None
    name = PurePosixPath(file.name).name[: -len(ending)]
    other = next((one for one in _MAGIC[:2] if head.startswith(one[0])), None)
    remedy = _for(file, other[2]) if other else f"rename the file to {name} if it is plain"
    return malformed(f"{file.name}:1", f"not {ending[1:]}", remedy)


def _binary(head: bytes, suffix: str) -> tuple[str, str] | None:
    if suffix == ".parquet" and head.startswith(b"PAR1"):
        return None
    if head[_TAR] == b"ustar":
        return "a tar archive", _UNPACK
    if head.startswith(b"PK\x03\x04") and (b"xl/" in head or b"[Content_Types]" in head):
        return "an Excel workbook (.xlsx)", _AS_CSV
    any_text = suffix in WHOLE_TEXTS  # which may begin with ORC or BZh
    found = next(
        (
            (what, do)
            for magic, what, do in _MAGIC
            if head.startswith(magic) and not (any_text and _is_text(magic, head))
        ),
        None,
    )
    if found:
        return found
    if suffix in TEXT_FORMATS:
        # What UTF-16 without a mark looks like, of Latin letters at least.
        half = max(head[::2].count(0), head[1::2].count(0))
        if half > len(head) / 4:
            return "UTF-16 text", _TO_UTF8.format("UTF-16LE")
        if head.count(0) > max(_FEW_NULS, len(head) / 50):  # a stray one is told with its line
            return "binary", "export it as .jsonl or CSV"
    return None


def _is_text(magic: bytes, head: bytes) -> bool:
    letters = all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in magic)
    return letters and not head.startswith(_NO_TEXT)


def _text(head: bytes, suffix: str) -> tuple[str, str] | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, what, remedy in _MARKUP:
        if start[: len(mark)].lower() == mark:
            return what, remedy
    line = start.split(b"\n", 1)[0].split(b"\r", 1)[0]
    if head.startswith(b"PAR1"):
        return None
    if suffix in (".csv", ".tsv", ".parquet"):
        if start.startswith(b"[") and start[1:].lstrip().startswith(b"{"):
            return "a JSON array", "rename the file to {stem}.json"
        if start.startswith(b'{"') and b":" in line:
            return "JSON", "rename the file to {stem}.jsonl, or {stem}.json if rows take lines"
    elif start[:1] not in b'{["' and b":" not in line:
        for separator, called in ((b"\t", "tsv"), (b",", "csv"), (b";", "csv")):
            if separator in line:
                return "a table", f"rename the file to {{stem}}.{called} if it is {called.upper()}"
    return None


def _for(file: LocalFile, remedy: str) -> str:
    name = PurePosixPath(file.name).name
    stem = name[: name.lower().rindex(file.suffix)]
    packed = name if file.suffix in TEXT_FORMATS else f"{stem}.jsonl"
    if packed.lower().endswith((".gz", ".zst")):  # packed twice
        return _UNPACK
    return remedy.format(stem=stem, packed=packed)
