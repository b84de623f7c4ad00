"""What the page of a run shows of its classes."""

import re
from typing import Any

from unit.trainer.test_report import Checked

from luthier_trainer.evaluation import classes
from luthier_trainer.pages.classtables import class_sections

GOLD = ["rose <b>", *["violet"] * 6, *["ash"] * 3]
BASE = ["violet"] * 10
TUNED = ["violet", *["violet"] * 6, "ash", "rose <b>", "violet"]


def document(gold: list[str], base: list[str], tuned: list[str]) -> dict[str, Any]:
    labels = sorted({*gold, *base, *tuned})
    sides = {"base": base, "tuned": tuned}
    return {
        "classes": {name: classes.table(gold, answers) for name, answers in sides.items()},
        "confusion": {
            "labels": labels,
            **{name: classes.confusion(gold, each, labels) for name, each in sides.items()},
        },
    }


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]


def checked(html: str) -> str:
    parser = Checked()
    parser.feed(html)
    assert parser.open == []
    return html


def test_each_class_and_what_it_is_taken_for() -> None:
    html = checked(class_sections(document(GOLD, BASE, TUNED)))
    table = cells(html)
    assert table[0] == ["class", "rows", "precision", "recall", "f1", "base f1"]
    # The commonest first; ash: one of its three rows is found, and nothing else is taken for it.
    assert table[1][:2] == ["violet", "6"]
    assert table[2] == ["ash", "3", "1.000", "0.333", "0.500", "0.000"]
    assert table[3][0] == "rose &lt;b&gt;"
    assert table[4] == ["", "ash", "rose &lt;b&gt;", "violet"]
    assert table[5] == ["ash", "1", "1", "1"]
    assert "ash is taken for rose &lt;b&gt; in 1 rows" in html
    assert 'class="n shade8">6<' in html  # all of violet
    assert "<b>" not in html


def test_many_classes_have_no_matrix_but_their_mistakes() -> None:
    names = [f"class {number:03}" for number in range(120)]
    html = checked(class_sections(document(names, names, [*names[1:], names[0]])))
    assert "20 more classes are in evaluation.json" in html
    assert "Columns: the answer" not in html
    assert html.count("<li>") == 10


def test_nothing_mistaken_and_nothing_known() -> None:
    assert "No row is mistaken." in checked(class_sections(document(GOLD, BASE, GOLD)))
    assert class_sections({}) == ""


def test_how_logits_are_read() -> None:
    both = {"before": 0.2, "after": 0.05}
    html = checked(
        class_sections(
            {
                "reading": {
                    "split": "eval",
                    "rows": 1200,
                    "temperature": 1.734,
                    "ece": both,
                    "loss": both,
                    "thresholds": {"rose <b>": 0.25},
                }
            }
        )
    )
    assert "logits / 1.734" in html
    assert "1,200 rows of eval" in html
    assert ["rose &lt;b&gt;", "0.250"] in cells(html)
