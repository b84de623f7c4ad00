"""Names that others gave: keys of a listing, of a manifest, of an index file.

The one way from such a name to a path on this machine.
"""

from pathlib import Path

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError

_LONGEST = 1024  # as of a key in S3
_LONGEST_PART = 255  # as of a name on Linux


def problem(key: str) -> str | None:
    """Why a key can't become a path; None: it can."""
    try:
        data = key.encode()
    except UnicodeEncodeError:
        return "it isn't valid text"
    parts = key.split("/")
    if any(ord(character) < 32 or ord(character) == 127 for character in key):
        return "it has a control character"
    if "\\" in key:
        return "it has a backslash"
    if "" in parts:
        return "it has an empty part: a / at its begin or end, or two in a row"
    if "." in parts or ".." in parts:
        return "it has a part . or .."
    if len(data) > _LONGEST or any(len(part.encode()) > _LONGEST_PART for part in parts):
        return "it is too long"
    return None


def require(key: object) -> str:
    """The key. Raises ValueError unless it can become a path."""
    found = problem(key) if isinstance(key, str) else "it is no text"
    if found:
        raise ValueError(f"the key {str(key)[:100]!r} can't be used: {found}")
    return str(key)


def below(folder: Path, key: str, param: str | None = None) -> Path:
    """The path of a key in a folder. Raises TrainerError (UnsafeKey)."""
    if found := problem(key):
        raise TrainerError(
            ExitCode.DATA,
            "UnsafeKey",
            f"the name {key[:200]!r} can't become a file's: {found}; rename it where it lies",
            param,
        )
    return folder / key
