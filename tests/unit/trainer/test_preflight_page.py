"""The preflight page: complete, escaped, and nothing to load."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Examples, Findings
from luthier_trainer.pages.data import write_page


class Page(HTMLParser):
    """The tags and the text of a page, by Python's own parser."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.marked: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data
        if "mark" in self.open:
            self.marked.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open.remove(tag)


def test_the_page(tmp_path: Path) -> None:
    facts = DatasetFacts(
        train=1000,
        eval=10,
        labels=2,
        duplicates=3,
        leaked=1,
        tokens_median=50,
        tokens_p95=95,
        tokens_max=3000,
        truncated=1,
    )
    findings = Findings(
        columns=["text", "<b>label"],
        balance={"train": {"<script>": 700, "b": 300}, "eval": {"b": 10}},
        duplicates=["a.jsonl:7"],
        leaked=["b.jsonl:9"],
    )
    examples = Examples([], [], [], ["a", "b"], "sha256:x", facts, ["careful & so"], {}, findings)
    lengths = np.array([*range(1, 100), 3000])
    samples = [[("Text:", False), (" <img src=x>", True)]]
    needs = "1 GB of memory (there are 2 GB) & 3 min"
    write_page(
        tmp_path / "data.html",
        examples,
        facts,
        lengths,
        samples,
        max_length=256,
        expected=needs,
    )
    page = Page((tmp_path / "data.html").read_text())
    assert not {"script", "img", "link", "b"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    for words in ("1,000 train", "<script>", "700", "a.jsonl:7", "b.jsonl:9", "careful & so"):
        assert words in page.text
    assert needs in page.text
    assert "1.0% of the rows (1 of 100) are cut" in page.text
    assert "at most 95, the longest has 3,000" in page.text
    assert "maxLength 256" in page.text
    assert "line" in page.tags
    assert " <img src=x>" in page.marked
    assert "Text:" not in page.marked


@pytest.mark.parametrize(
    ("become", "words"),
    [
        ({"truncated": 2}, "66.7% of the rows (2 of 3) are cut: longer than maxLength 64"),
        ({"chunked": 2, "chunks": 7}, "(2 of 3) are learnt in 7 chunks: longer than maxLength 64"),
    ],
)
def test_what_becomes_of_long_rows(become: dict[str, int], words: str, tmp_path: Path) -> None:
    tokens = {"tokens_median": 64, "tokens_p95": 64, "tokens_max": 64}
    facts = DatasetFacts(train=3, eval=10, **tokens, **become)
    write_page(
        tmp_path / "data.html",
        Examples([], [], [], [], "sha256:x", facts),
        facts,
        np.array([1, 64, 64]),
        [],
        max_length=64,
        expected="1 GB",
    )
    page = Page((tmp_path / "data.html").read_text())
    assert words in page.text
    assert "64 to 65 tokens: 2 rows" in page.text
    assert page.text.count("None.") == 2
