"""Files that are packed (.gz, .zst), unpacked to scratch: as much as their size makes likely."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from luthier_trainer.data.content import not_packed
from luthier_trainer.data.row import PACKED, LocalFile, malformed, most_unpacked, too_large
from luthier_trainer.errors import is_disk_full
from luthier_trainer.log import log
from luthier_trainer.storage.keys import below

_CHUNK = 1 << 20
# What is unpacked of so much at once is bounded: 128 KiB of 4 bytes.
_PIECE = 512


def unpacked(file: LocalFile, folder: Path) -> LocalFile:
    """The file itself where it is plain, else a copy in `folder`. Raises TrainerError
    (MalformedRow, DatasetTooLarge)."""
    ending = PurePosixPath(file.name.lower()).suffix
    if ending not in PACKED:
        return file
    if failure := not_packed(file):
        raise failure
    path = below(folder, f"{file.name}.plain", "dataset.uri")
    path.parent.mkdir(parents=True, exist_ok=True)
    most, size = most_unpacked(file.path.stat().st_size), 0
    read = _gzip if ending == ".gz" else _zstandard
    try:
        with file.path.open("rb") as packed, path.open("wb") as plain:
            for chunk in read(packed):
                size += plain.write(chunk)
                if size > most:
                    break
    except (OSError, EOFError, zlib.error, ValueError) as error:
        if is_disk_full(error):
            raise
        log(f"data: {file.name}: {error}")
        raise malformed(
            f"{file.name}:1", f"not {ending[1:]}, or cut short", "upload the file again"
        ) from error
    if size > most:
        path.unlink()
        raise too_large(file.name)
    return LocalFile(file.name, path)


def _gzip(packed: IO[bytes]) -> Iterator[bytes]:
    """Raises OSError, EOFError, zlib.error."""
    with gzip.GzipFile(fileobj=packed) as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _zstandard(packed: IO[bytes]) -> Iterator[bytes]:
    """Frame after frame. Raises ValueError, also where the last one is cut short: zstandard's own
    reader takes that for the end."""
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    frame = decompressor.decompressobj()
    try:
        while piece := packed.read(_PIECE):
            while piece:
                if frame.eof:
                    frame = decompressor.decompressobj()
                yield frame.decompress(piece)
                piece = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if not frame.eof:
        raise ValueError("the last frame is cut short")
