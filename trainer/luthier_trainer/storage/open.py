"""The choice between S3 and a folder."""

from pathlib import Path

from luthier_api.result import ExitCode
from luthier_api.runspec import S3Access
from luthier_trainer.errors import TrainerError
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.s3 import S3Store
from luthier_trainer.storage.uri import split


def open_store(
    uri: str, access: S3Access, param: str, file_roots: list[str] | None = None
) -> ObjectStore:
    """The store below `uri` (s3://bucket/prefix or file:///folder).

    `param` is the field of the spec that errors name. With `file_roots` a file:// URI
    must lie below one of them.
    """
    scheme, _, path = split(uri)
    if scheme == "s3":
        return S3Store(uri, access, param)
    if scheme == "file":
        return _folder(path, file_roots, param)
    raise TrainerError(
        ExitCode.INVALID_RUN_SPEC, "UnsupportedUri", f"{uri}: use s3:// or file://", param
    )


def _folder(path: str, roots: list[str] | None, param: str) -> FileStore:
    """Links in it may lead to all that may be read, and of the run's own anywhere."""
    try:
        resolved = Path(path).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, links in a circle
        raise TrainerError(
            ExitCode.NOT_FOUND,
            "FolderNotFound",
            f"{path[:200]!r} can't be followed to a folder; correct the URI",
            param,
        ) from error
    if roots is None:
        return FileStore(resolved, None, param)
    allowed = [Path(root).resolve() for root in roots]
    if any(resolved.is_relative_to(root) for root in allowed):
        return FileStore(resolved, allowed, param)
    raise TrainerError(
        ExitCode.DENIED,
        "FileNotAllowed",
        f"{path}: this pool lets runs read files below {', '.join(roots) or 'no folder'}; "
        "copy the data to S3, or ask the platform team for fileRoots",
        param,
    )
