"""A blind comparison by people: one HTML page with base and tuned answers side by side, in an
order that it doesn't tell until the end. It loads nothing and sends nothing."""

import random
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.pages.frame import document

_PAGE = Path(__file__).with_name("sheet.template.html")
_SCRIPT = Path(__file__).with_name("sheet.js")

_CHOICES = (("A", "A is better"), ("B", "B is better"), ("equal", "equally good"))

_ROW = Template("""\
<section class="row" data-tuned="$tuned">
<h2>Row $number</h2>
<h3>Asked</h3>
<pre>$prompt</pre>
<details><summary>Expected answer</summary><pre>$expected</pre></details>
<div class="answers">
<div><h3>A</h3><pre>$a</pre></div>
<div><h3>B</h3><pre>$b</pre></div>
</div>
<fieldset><legend>Which one is better?</legend>
$choices
</fieldset>
</section>
""")


def sheet(title: str, rows: Sequence[Answered], seed: int) -> str:
    """The page. The same seed gives the same order: an even one, drawn per row."""
    sides = order(len(rows), seed)
    body = Template(_PAGE.read_text("utf-8")).substitute(
        title=escape(title),
        count=len(rows),
        rows="".join(
            _row(number, row, side)
            for number, (row, side) in enumerate(zip(rows, sides, strict=True), 1)
        ),
        key="".join(
            f"<tr><td>{number}</td><td>{'tuned' if side == 'A' else 'base'}</td>"
            f"<td>{'tuned' if side == 'B' else 'base'}</td></tr>"
            for number, side in enumerate(sides, 1)
        ),
    )
    return document(f"{title}: blind comparison", body, _SCRIPT.read_text("utf-8"))


def order(count: int, seed: int) -> list[str]:
    """On which side the tuned model's answer stands, as often on A as on B."""
    sides = [("A", "B")[number % 2] for number in range(count)]
    random.Random(seed).shuffle(sides)  # noqa: S311 - an order, not a secret
    return sides


def _row(number: int, row: Answered, tuned: str) -> str:
    a, b = (row.tuned, row.base) if tuned == "A" else (row.base, row.tuned)
    same = row.base == row.tuned  # there is nothing to choose
    return _ROW.substitute(
        number=number,
        tuned=tuned,
        prompt=_shown(row.prompt),
        expected=_shown(row.expected),
        a=_shown(a),
        b=_shown(b),
        choices="\n".join(
            f'<label><input type="radio" name="row-{number}" value="{value}"'
            f"{' checked' if same and value == 'equal' else ''}> {words}</label>"
            for value, words in _CHOICES
        ),
    )


def _shown(text: str) -> str:
    # HTML drops a line feed right after <pre>.
    return "\n" + escape(text) if text.strip() else '<span class="empty">(nothing)</span>'
