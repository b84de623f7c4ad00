"""The choice between S3 and a folder."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.s3 import S3Store


def open_store(
    uri: str, access: S3Access, param: str, file_roots: list[str] | None = None
) -> ObjectStore:
    """The store below `uri` (s3://bucket/prefix or file:///folder).

    `param` is the field of the spec that errors name. With `file_roots` a file:// URI
    must lie below one of them.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return S3Store(uri, access, param)
    if parts.scheme == "file":
        return FileStore(_allowed_path(unquote(parts.path), file_roots, param))
    raise TrainerError(
        ExitCode.INVALID_RUN_SPEC, "UnsupportedUri", f"{uri}: use s3:// or file://", param
    )


def _allowed_path(path: str, roots: list[str] | None, param: str) -> Path:
    resolved = Path(path).resolve()
    if roots is None or any(resolved.is_relative_to(Path(root).resolve()) for root in roots):
        return resolved
    raise TrainerError(
        ExitCode.DENIED,
        "FileNotAllowed",
        f"{path}: this pool lets runs read files below {', '.join(roots) or 'no folder'}; "
        "copy the data to S3, or ask the platform team for fileRoots",
        param,
    )
