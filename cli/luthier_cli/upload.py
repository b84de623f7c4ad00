"""`luthier upload`: local files to where a manifest's URIs mean them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from luthier_cli import s3
from luthier_cli.errors import CliError
from luthier_cli.transfer import Show

# Ours beside an object: what it is, whatever the store's ETag says of it.
_DIGEST = "luthier-sha256"


@dataclass(frozen=True)
class Place:
    """A bucket, and what its keys begin with."""

    bucket: str
    prefix: str

    def uri(self, name: str) -> str:
        """Of what is uploaded as `name`, as a manifest has it."""
        return f"s3://{self.bucket}/{quote(self.key(name))}"

    def key(self, name: str) -> str:
        """The object's."""
        return f"{self.prefix}/{name}" if self.prefix else name


def place_of(uri: str) -> Place:
    """The place that an s3:// URI names. Raises CliError."""
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc:
        raise CliError(f"{uri} is no place for files", "name s3://BUCKET/PREFIX")
    return Place(parts.netloc, unquote(parts.path).strip("/"))


def files_below(path: Path) -> list[tuple[Path, str]]:
    """(file, name below the place) of a file, or of all in a folder but hidden ones, sorted.
    Raises CliError where there are none."""
    if path.is_file():
        return [(path, path.name)]
    found = [
        (it, f"{path.resolve().name}/{it.relative_to(path).as_posix()}")
        for it in sorted(path.rglob("*"))
        if it.is_file() and not any(part.startswith(".") for part in it.relative_to(path).parts)
    ]
    if not found:
        what = "is empty" if path.is_dir() else "isn't there"
        raise CliError(f"{path} {what}", "name a file, or a folder with files")
    return found


def upload(path: Path, name: str, place: Place, endpoint: str | None, show: Show) -> bool:
    """Bring a file there, unless it is; returns whether it wasn't. Raises CliError."""
    client, key, size = s3.client(endpoint), place.key(name), path.stat().st_size
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with s3.told(f"write s3://{place.bucket}/{key}"):
        if _digest_there(client, place.bucket, key) == digest:
            show(name, size)
            return False
        client.upload_file(
            str(path), place.bucket, key,
            ExtraArgs={"Metadata": {_DIGEST: digest}},
            Callback=lambda count: show(name, count),
        )  # fmt: skip
    return True


def _digest_there(client: object, bucket: str, key: str) -> str | None:
    """What an earlier upload wrote beside the object; None where there is none of ours."""
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)  # type: ignore[attr-defined]
    except ClientError as error:
        # Who may write but not read is told 403.
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (403, 404):
            return None
        raise
    found: str | None = head.get("Metadata", {}).get(_DIGEST)
    return found
