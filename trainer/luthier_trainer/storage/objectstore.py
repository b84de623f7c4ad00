"""What every stage expects of storage, whatever is behind it."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from luthier_trainer.storage.uri import encoded


@dataclass(frozen=True)
class Entry:
    """An object below a store's base. `etag` changes when the content does."""

    key: str
    size: int
    etag: str


class ReadableStore(Protocol):
    """What can be listed and downloaded, whatever the URI's scheme."""

    uri: str

    def download(self, key: str, path: Path) -> None:
        """Raises FileNotFoundError if there is no such object."""
        ...

    def entries(self, prefix: str = "") -> list[Entry]:
        """All objects whose key starts with `prefix`, sorted by key."""
        ...

    def entry(self, key: str) -> Entry | None:
        """One object, without reading it; None where there is none, or nothing tells of it."""
        ...


class ObjectStore(ReadableStore, Protocol):
    """Objects below one base URI, by their key relative to it.

    All methods raise TrainerError for what can't heal (access denied, no such bucket) and,
    after the allowed time of retries, for what didn't (StorageUnavailable).
    """

    def read(self, key: str) -> bytes | None:
        """Content, or None if there is no such object."""
        ...

    def read_tagged(self, key: str) -> tuple[bytes, str] | None:
        """Content and etag, or None."""
        ...

    def write(self, key: str, data: bytes) -> None: ...

    def write_once(self, key: str, data: bytes) -> bool:
        """False, and nothing written, if the object exists with other content."""
        ...

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        """False, and nothing written, if the object is no longer the one with `etag`."""
        ...

    def upload(self, key: str, path: Path) -> None: ...

    def copy(self, key: str, source: str) -> None:
        """Copy the object at the URI `source`, in a store of the same kind, without its bytes
        passing through here. Raises FileNotFoundError if there is no such object."""
        ...

    def delete(self, keys: list[str]) -> None: ...

    def folders(self) -> list[str]:
        """Names of the folders directly below the base, sorted, without a list of what is in them.
        Some stores also name one that has been emptied."""
        ...

    def abort_uploads(self, prefix: str, older_than: timedelta) -> int:
        """End uploads in parts that nobody has finished, of keys that start with `prefix`: their
        parts are listed nowhere, and paid for. Returns how many there were."""
        ...


def join(uri: str, key: str) -> str:
    """URI of an object below a base URI."""
    return f"{uri.rstrip('/')}/{encoded(key)}" if key else uri
