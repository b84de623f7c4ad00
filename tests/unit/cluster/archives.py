"""What lies in a docker-archive."""

import io
import json
import tarfile
from typing import Any


def opened(archive: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(archive))


def member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    assert stream is not None
    return stream.read()


def manifest(tar: tarfile.TarFile) -> Any:
    """Of the one image."""
    [found] = json.loads(member(tar, "manifest.json"))
    return found
