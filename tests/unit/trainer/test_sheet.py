"""The blind sheet: complete, escaped, self-contained, and blind."""

import base64
import hashlib
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.pages.sheet import order, sheet

ROWS = [Answered(f"question {n}", f"right {n}", f"base {n}", f"tuned {n}") for n in range(9)]
VOID = {"meta", "input", "link", "br", "img"}


class Page(HTMLParser):
    """A page's elements, whether they nest, and the text of each `pre`."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "pre":
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.texts[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.attributes if name == tag]


def test_each_row_shows_question_right_answer_and_both_answers() -> None:
    page = Page(sheet("tone", ROWS, seed=1))
    assert page.open == []
    assert len(page.texts) == 4 * len(ROWS)
    for number, (row, side) in enumerate(zip(ROWS, order(len(ROWS), 1), strict=True)):
        prompt, expected, a, b = (text.strip() for text in page.texts[4 * number :][:4])
        assert (prompt, expected) == (row.prompt, row.expected)
        assert (a, b) == ((row.tuned, row.base) if side == "A" else (row.base, row.tuned))
    assert len(page.all("input")) == 3 * len(ROWS)
    assert not any("checked" in attributes for attributes in page.all("input"))


def test_the_key_agrees_with_the_rows_and_is_closed() -> None:
    html = sheet("tone", ROWS, seed=1)
    page = Page(html)
    sides = [each["data-tuned"] for each in page.all("section")]
    assert sides == order(len(ROWS), 1)
    key = re.findall(r"<tr><td>(\d+)</td><td>(\w+)</td><td>(\w+)</td></tr>", html)
    assert [(int(number), a) for number, a, _ in key] == [
        (number, "tuned" if side == "A" else "base") for number, side in enumerate(sides, 1)
    ]
    (details,) = (each for each in page.all("details") if each.get("id") == "key")
    assert "open" not in details
    assert html.index('id="key"') > html.rindex('class="row"')


def test_before_the_key_nothing_tells_which_is_which() -> None:
    seen = sheet("tone", [Answered("q", "e", "one", "two")] * 40, seed=3).split('id="key"')[0]
    text = re.sub(r"<[^>]*>", " ", seen.split("<main>")[1])
    assert "tuned" not in text
    assert "base" not in text


@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_the_order_is_even_and_the_seeds(count: int) -> None:
    sides = order(count, seed=7)
    assert sides == order(count, seed=7)
    assert abs(sides.count("A") - sides.count("B")) <= 1
    if count == 40:
        assert sides != order(count, seed=8)
        assert sides != sorted(sides)


def test_answers_are_text_whatever_is_in_them() -> None:
    nasty = "</pre><script>alert(1)</script> & \"q\" '$title' ${rows} \n\tindented\n\nend"
    html = sheet(nasty, [Answered(nasty, nasty, nasty, nasty + "!")], seed=0)
    page = Page(html)
    assert page.open == []
    assert len(page.all("script")) == 1
    # The parser keeps the line feed that browsers drop after <pre>.
    assert page.texts[0] == "\n" + nasty
    assert {text.removesuffix("!") for text in page.texts} == {"\n" + nasty}


def test_equal_answers_need_no_choice() -> None:
    page = Page(sheet("t", [Answered("q", "e", "same", "same"), ROWS[0]], seed=0))
    checked = [each for each in page.all("input") if "checked" in each]
    assert [(each["name"], each["value"]) for each in checked] == [("row-1", "equal")]


def test_an_empty_answer_is_shown_as_such() -> None:
    assert sheet("t", [Answered("q", "e", "  ", "x")], seed=0).count("(nothing)") == 1


def test_the_page_loads_nothing() -> None:
    html = sheet("tone", ROWS, seed=1)
    page = Page(html)
    assert not page.all("link")
    assert not page.all("img")
    assert not any("src" in attributes for _, attributes in page.attributes)
    assert not re.search(r"https?://|@import|url\(", html)
    (policy,) = (
        unescape(each["content"] or "")
        for each in page.all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
