"""Whether a URI lies below a prefix of luthier.yaml, as whoever reads it understands it. Pure."""

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import unquote

from pydantic import Field

from luthier_api.meta import Matches

ANYTHING = "*"
# What a prefix can be about; claims, ConfigMaps and folders of nodes have lists of their own.
SCHEMES = ("s3", "hf", "https")
HubKind = Literal["models", "datasets"]
_HUB_KINDS = ("models", "datasets")
# As often is a path decoded in search of `..`: a server behind a proxy may do it twice.
_DECODINGS = 3

_PLAIN = Matches(
    r"[^:/]//|^[a-z0-9]+:////|/[.][.]?(/|$)",
    "a prefix holds no empty segment, . or ..: write the plain path",
    unwanted=True,
)


def _below(schemes: str, message: str) -> Matches:
    return Matches(rf"^([*]|({schemes})://([^/\s@?#%\\]+(/[^\s@?#%\\]*)?)?)$", message)


Prefix = Annotated[
    str,
    Field(max_length=1024),
    _below(
        "s3|hf|https",
        "a prefix is s3://BUCKET/PATH, hf://OWNER/NAME or https://HOST/PATH, or begins one; * "
        "stands for everything",
    ),
    _PLAIN,
]
OutputPrefix = Annotated[
    str,
    Field(max_length=1024),
    _below("s3", "a prefix of outputs is s3://BUCKET/PATH, or begins one; * stands for everything"),
    _PLAIN,
]


@dataclass(frozen=True)
class _Place:
    scheme: str
    parts: tuple[str, ...]  # host, bucket or owner first
    hub_kind: str | None = None  # of what is on a hub, where it says so


def covers(prefix: str, uri: str, kind: HubKind = "models") -> bool:
    """Whether a URI is the prefix, or lies below it. `kind`: what is read where it is on a hub.

    What could be read in more than one way lies below nothing.
    """
    if prefix == ANYTHING:
        return True
    root, place = _place(prefix), _place(uri)
    if root is None or place is None or root.scheme != place.scheme:
        return False
    parts = place.parts
    # The trainer takes the kind for one where it is the right one, else for an owner.
    if place.hub_kind == kind and len(parts) > 1:
        place_kind: str = kind
    elif place.hub_kind is not None:
        parts, place_kind = (place.hub_kind, *parts), kind
    else:
        place_kind = kind
    if root.hub_kind not in (None, place_kind):
        return False
    return parts[: len(root.parts)] == root.parts


def _place(uri: str) -> _Place | None:
    scheme, _, rest = uri.partition("://")
    host, _, path = rest.partition("/")
    if scheme not in SCHEMES or any(character in host for character in "%@\\"):
        return None
    parts = _parts(path)
    if parts is None:
        return None
    if not host:
        return _Place(scheme, ()) if not parts else None
    if scheme == "https":
        host = host.lower().removesuffix(":443").removesuffix(":")
    if scheme == "hf" and host in _HUB_KINDS:
        return _Place(scheme, parts, host)
    return _Place(scheme, (host, *parts))


def _parts(path: str) -> tuple[str, ...] | None:
    """The path's segments, decoded once; None where it leads up, or to nobody knows where."""
    deepest = path
    for _ in range(_DECODINGS):
        deepest = unquote(deepest, errors="surrogateescape")
        if any(segment in (".", "..") for segment in deepest.replace("\\", "/").split("/")):
            return None
    decoded = unquote(path, errors="surrogateescape").removesuffix("/")
    parts = tuple(decoded.split("/")) if decoded else ()
    return parts if all(parts) else None
