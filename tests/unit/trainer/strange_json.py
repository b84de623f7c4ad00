"""JSON as others may write it: any, broken, and valid documents with something strange in them."""

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

FEW = settings(max_examples=80, deadline=None, database=None)

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 2**64, 10**4000 // 7])
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "\0", "../x", "/", "", "x" * 5000, "Infinity", "s3://[", "🦫"])
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
_BROKEN = [
    b"",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"a": 1, "a": 2}',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 10_000 + b"}",
    b"\xff\xfe{}",
    "{}".encode("utf-16"),
    b'{"a": "\xed\xa0\x80"}',
    b"null",
    b"\xef\xbb\xbf{}",
    b"{" + b'"k": 0, ' * 10,
]


def _dump(document: Any) -> bytes:
    """As Python writes it: NaN, half characters and all."""
    return json.dumps(document).encode()


@st.composite
def _changed(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """A valid document in which one to three values are others, or gone."""
    document = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = document
        while True:
            places = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not places:
                break
            place = draw(st.sampled_from(places))
            below = node[place]
            if isinstance(below, dict | list) and below and draw(st.booleans()):
                node = below
                continue
            if isinstance(node, dict) and draw(st.integers(0, 4)) == 0:
                del node[place]
            else:
                node[place] = draw(VALUES)
            break
    return _dump(document)


def documents(valid: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Bytes that stand where `valid` should."""
    return _changed(valid) | st.sampled_from(_BROKEN) | VALUES.map(_dump) | st.binary(max_size=50)
