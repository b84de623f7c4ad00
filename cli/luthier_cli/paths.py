"""Files of this machine, as options name them, and their URIs. What is a URI already stays one."""

import os
import re
from pathlib import Path
from urllib.parse import quote

_SCHEME = re.compile(r"[a-z0-9]+://")
_OF_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# The page of a model or dataset, as a browser shows it.
_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface|hf)\.co/(?:datasets/)?"
    rf"({_OF_HUB.pattern})(?:/tree/[^/?#]+)?/?(?:[?#].*)?"
)


def is_uri(text: str) -> bool:
    """Whether it begins with a scheme."""
    return _SCHEME.match(text) is not None


def looks_like_hub(text: str) -> bool:
    """Whether it may be OWNER/NAME, as a hub calls models and datasets."""
    return _OF_HUB.fullmatch(text) is not None


def named_by_page(text: str) -> str | None:
    """OWNER/NAME of the model or dataset whose page on the hub a text is the address of."""
    page = _PAGE.fullmatch(text)
    return page[1] if page else None


def path_of(text: str) -> Path:
    """The path, with ~ for the home: a shell leaves it in --option=~/x."""
    path = Path(text)
    if text.startswith("~") and not path.exists():
        try:
            return path.expanduser()
        except RuntimeError:  # nobody of that name
            return path
    return path


def file_uri(path: Path) -> str:
    """file:// of a path: absolute, without . and .., and percent-encoded, whatever its name holds
    (blanks, umlauts, +, %, #, and what is no UTF-8)."""
    whole = path.resolve() if ".." in path.parts else path.absolute()
    # A path may begin with two slashes, which are one.
    return "file:///" + quote(os.fsencode(whole).lstrip(b"/"))


def pattern_uri(path: Path) -> str:
    """file:// of the files of a folder whose names are like the last part: a star in it is any
    letters."""
    return f"{file_uri(path.parent).rstrip('/')}/{quote(os.fsencode(path.name), safe='*')}"
