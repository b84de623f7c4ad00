"""The parts of a URI, and a URI of parts. What a URI can't hold (a blank, #, ?, @) stands in it
percent-encoded, whatever the scheme; all else may stand as it is."""

from urllib.parse import quote, unquote

# All that a path may hold as it is, by RFC 3986.
_PLAIN = "/!$&'()*+,;=:@~-._"
_IN_PATH = _PLAIN.replace("@", "").replace("'", "")


def split(uri: str) -> tuple[str, str, str]:
    """(scheme, host or bucket, path as it is meant). Never fails."""
    scheme, _, rest = uri.partition("://")
    place, slash, path = rest.partition("/")
    return scheme, place, unquote(slash + path, errors="surrogateescape")


def hub_parts(uri: str, kind: str) -> list[str]:
    """OWNER, NAME and the parts of PATH of hf://[KIND/]OWNER/NAME[/PATH]. Never fails."""
    parts = unquote(uri.removeprefix("hf://"), errors="surrogateescape").split("/")
    return parts[1:] if parts[0] == kind and len(parts) > 2 else parts


def last_part(uri: str) -> tuple[str, str]:
    """(the URI of the folder, the name in it as it is meant)."""
    base, _, name = uri.rstrip("/").rpartition("/")
    return base, unquote(name, errors="surrogateescape")


def encoded(path: str) -> str:
    """A path as it stands in a URI."""
    return quote(path, safe=_IN_PATH, errors="surrogateescape")


def url_encoded(url: str) -> str:
    """A URL as HTTP takes it; what is encoded already stays."""
    return quote(url, safe=f"%?#[]{_PLAIN}", errors="surrogateescape")


def shown(url: str) -> str:
    """A URL without what may be a secret: its user info, its query."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    path = path.partition("?")[0].partition("#")[0]
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"
