"""Published artifacts: in a folder, or in S3 with the credentials of the environment.

What a reader does with a file is its own: its errors aren't told as those of the artifact.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from luthier_cli import s3
from luthier_cli.errors import CliError

MANIFEST = "manifest.json"
JOURNAL = "report/metrics.jsonl"
_MOST_BYTES = 64 * 2**20


def read(folder: str, name: str, endpoint: str | None = None) -> bytes:
    """A document of the artifact in `folder` (a URI, or a path). Raises CliError."""
    with opened(folder, name, endpoint) as stream:
        data: bytes = stream.read(_MOST_BYTES)
    return data


@contextmanager
def opened(folder: str, name: str, endpoint: str | None = None) -> Iterator[IO[bytes] | Any]:
    """A file of the artifact in `folder`, as a stream. Raises CliError."""
    parts = urlsplit(folder)
    if parts.scheme == "s3":
        prefix = unquote(parts.path).strip("/")
        bucket, key = parts.netloc, f"{prefix}/{name}" if prefix else name
        with s3.told(f"read s3://{bucket}/{key}"):
            yield s3.client(endpoint).get_object(Bucket=bucket, Key=key)["Body"]
        return
    if parts.scheme not in ("", "file"):
        raise CliError(f"{folder} can't be read from here", "name s3://BUCKET/PREFIX, or a folder")
    path = Path(unquote(parts.path) if parts.scheme == "file" else folder) / name
    try:
        stream = path.open("rb")
    except OSError as error:
        raise CliError(
            f"can't read {path}: {error.strerror}", "name an artifact's folder"
        ) from None
    with stream:
        yield stream
