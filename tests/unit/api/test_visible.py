"""Text of others, as it may stand on a terminal."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier_api.visible import in_json, one_line, visible, visible_in

ANY = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", r"\x1b]8;;http://x\x07link\x1b]8;;\x07"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\x7f\x00\r", r"\x7f\x00\r"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("a\u200bb\ufeff\u2060", r"a\u200bb\ufeff\u2060"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
        ("größe 日本\u00a0語 😀 e\u0301\tx", "größe 日本\u00a0語 😀 e\u0301\tx"),
        ("[/a] :smile:", "[/a] :smile:"),
    ],
)
def test_what_acts_is_shown(text: str, shown: str) -> None:
    assert visible(text) == one_line(text) == shown


def test_lines_stay_where_lines_may_be() -> None:
    assert visible("a\nb") == "a\nb"
    assert one_line("a\nb\rc") == r"a\nb\rc"


@given(ANY)
def test_nothing_acts_any_more(text: str) -> None:
    kept = {unicodedata.category(it) for it in one_line(text).replace("\t", "")}
    assert kept.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert one_line(one_line(text)) == one_line(text)


@given(st.recursive(ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner), max_leaves=9))
def test_json_means_the_same(document: object) -> None:
    written = in_json(json.dumps(document, ensure_ascii=False))
    assert json.loads(written) == json.loads(json.dumps(document))
    assert one_line(written) == written


def test_documents_are_gone_through_to_their_leaves() -> None:
    document = {"a\x1b": [{"b": ("\x9b", 1, None, True)}]}
    assert visible_in(document) == {r"a\x1b": [{"b": [r"\x9b", 1, None, True]}]}
