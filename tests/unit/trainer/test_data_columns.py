"""Columns of any name, in a template and by what they mean; the API and the trainer agree."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from unit.trainer.data_support import bare_preparer, jsonl, parquet

from luthier_api.dataset import Template
from luthier_trainer.data.template import parse_template
from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")

NAMES = {
    "My column": "{My column}",
    "größe": "{größe}",
    "文本": "{文本}",
    "a-b.c": "{a-b.c}",
    "Frage: 1. Teil": "{Frage: 1. Teil}",
    "price (€, net) / 100 %": "{price (€, net) / 100 %}",
    "C++#": "{C++#}",
    "0": r"{\0}",
    "2nd answer": r"{\2nd answer}",
    "why?!": r"{why?\!}",
    "it's": r"{it\'s}",
    'a "b"': r"{a \"b\"}",
    "a{b}": r"{a\{b\}}",
    "{x}": r"{\{x\}}",
    "a\\n": r"{a\\n}",
    " text ": r"{\ text\ }",
    "a[0] <= b|c": r"{a\[0\] \<\= b\|c}",
    "Ⅷ  two blanks": "{Ⅷ  two blanks}",
}
_TEMPLATE = TypeAdapter(Template)


@pytest.mark.parametrize("name", NAMES)
def test_a_column_of_any_name(tmp_path: Path, name: str) -> None:
    written = NAMES[name]
    _TEMPLATE.validate_python(f"{written}: {{label}}")
    rows = [{name: "a", "label": "red"}, {name: "b", "label": "green"}]
    files = {"a.jsonl": jsonl(*rows), "b.json": json.dumps(rows).encode()}
    if name == name.strip():
        cell = '"' + name.replace('"', '""') + '"'
        files["c.csv"] = f"{cell},label\na,red\nb,green\n".encode()
    files["d.parquet"] = parquet(rows)
    for file, content in files.items():
        prepare = bare_preparer(tmp_path)
        by_template = prepare({file: content}, template=f"{written}: {{label}}")
        assert [example.prompt for example in by_template.train] == ["a:", "b:"]
        by_columns = prepare({file: content}, columns={"text": name, "label": "label"})
        assert [example.text for example in by_columns.train] == ["a", "b"]


@pytest.mark.parametrize(
    ("template", "columns"),
    [
        ('{{"label": {label}}}', ("label",)),
        ("{{{a}}} {{x}} {b}", ("a", "b")),
        (r"\frac{a}{b}\n{c}", ("a", "b", "c")),
        ("{a}}}{b}", ("a", "b")),
    ],
)
def test_braces_stay_what_they_were(template: str, columns: tuple[str, ...]) -> None:
    _TEMPLATE.validate_python(template)
    assert parse_template(template).columns == columns


@pytest.mark.parametrize(
    "template",
    ["{ a}", "{a }", "{}", "{0}", "{a!r}", "{a:>9}", '{"a": {b}}', "{a", "a}", "{a\n}", "{a\\}"],
)
def test_both_refuse_the_same(template: str) -> None:
    with pytest.raises(ValidationError):
        _TEMPLATE.validate_python(template)
    with pytest.raises(TrainerError) as caught:
        parse_template(template)
    assert caught.value.error.code == "TemplateInvalid"
