"""Names that read alike: labels, and columns. And what of labels a message may show."""

from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import Prepare, bare_preparer, jsonl, lines, parquet

from luthier_trainer.data.labels import are_classes, reads_as, twins
from luthier_trainer.errors import TrainerError

# pyarrow looks for pandas when it writes.
pytestmark = pytest.mark.usefixtures("nothing_hidden")


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return bare_preparer(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Positive", "positive "),
        ("caf\u00e9", "cafe\u0301"),
        ("positive", "роsitive"),  # two Cyrillic letters
        ("spam", "ｓｐａｍ"),
        ("not spam", "not_spam"),
        ("not-spam", "not  spam"),
        ("spam", "sp\u200bam"),
        ("spam", "\ufeffspam."),
        ("1", "1.0"),
        ("1", "01"),
        ("true", "1"),
        ("False", "0.0"),
        ("straße", "STRASSE"),
        ("a–b", "a-b"),
    ],
)
def test_texts_that_read_alike(one: str, other: str) -> None:
    assert one != other
    assert twins([other, one, "another"]) == [sorted([one, other])]


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "-1"), ("C", "C++"), ("10", "1"), ("a", "b"), ("yes", "no"), ("?", "!"), ("+", "-")],
)
def test_texts_that_differ(one: str, other: str) -> None:
    assert reads_as(one) != reads_as(other)


@pytest.mark.parametrize("in_memory_bytes", [0, 10**6])
def test_labels_that_read_alike_are_told(prepare: Prepare, in_memory_bytes: int) -> None:
    labels: list[Any] = [1, 1.0, True, "positive ", "Positive", "neutral"] * 2
    rows = jsonl(*({"text": f"{i}", "label": label} for i, label in enumerate(labels)))
    examples = prepare({"a.jsonl": rows}, in_memory_bytes=in_memory_bytes)
    assert len(examples.labels) == 6
    (warning,) = examples.warnings
    assert warning.startswith("labels that read alike: ")
    for label in ("'1' and '1.0' and 'true'", "'Positive' and 'positive '"):
        assert label in warning
    assert "neutral" not in warning


@pytest.mark.parametrize("columns", [{}, {"columns": {"text": "text", "label": "label"}}])
def test_a_number_beside_its_text_is_told(prepare: Prepare, columns: dict[str, Any]) -> None:
    rows = [{"text": f"{i}", "label": label} for i, label in enumerate([1, 2, "1", "2"])]
    (warning,) = prepare({"a.jsonl": jsonl(*rows)}, **columns).warnings
    assert (
        warning
        == "the label '1' is a number and a text (first: a.jsonl:3): they count as one class"
    )


def test_kinds_of_entities_that_read_alike_are_told(prepare: Prepare) -> None:
    rows = jsonl({"t": ["a"], "g": ["B-PER"]}, {"t": ["b"], "g": ["B-Per"]})
    columns = {"tokens": "t", "tags": "g"}
    examples = prepare({"a.jsonl": rows}, task="extraction", columns=columns)
    assert examples.warnings[0].startswith("labels that read alike: 'PER' and 'Per'")


def test_a_label_of_test_that_reads_like_one_of_train(prepare: Prepare) -> None:
    files = {
        "train.jsonl": lines(("x", "red"), ("y", "green")),
        "test.jsonl": lines(("z", "Red ")),
    }
    with pytest.raises(TrainerError, match=r"test\.jsonl:1: the label 'Red ' .*like 'red'"):
        prepare(files, test="test")


def test_labels_that_are_texts_are_not_shown(
    prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    """A template with the text last: its rows' texts must not get into a status."""
    texts = [f"Patient {i} Doe, born on 3 March 19{i:02}, has a rare illness" for i in range(9)]
    train = jsonl(*({"label": "ill", "text": text} for text in texts[:8]))
    test = jsonl({"label": "ill", "text": texts[8]})
    options: dict[str, Any] = {"template": "{label}: {text}", "test": "test"}
    with pytest.raises(TrainerError) as caught:
        prepare({"train.jsonl": train, "test.jsonl": test}, **options)
    message = caught.value.error.message
    assert caught.value.error.code == "LabelWithoutExamples"
    assert message.startswith("test.jsonl:1: its label (the pod's log has it)")
    assert "Patient" not in message
    assert "8 labels" in message
    assert "Patient 8" in capsys.readouterr().err
    same = jsonl(*({"label": "ill", "text": texts[0]} for _ in range(2)))
    with pytest.raises(TrainerError, match="the same text") as caught:
        prepare({"a.jsonl": same}, template="{label}: {text}")
    assert "Patient" not in caught.value.error.message
    twice = [
        *({"text": f"{i}", "label": text} for i, text in enumerate(texts)),
        *({"text": f"{i}", "label": text.upper()} for i, text in enumerate(texts)),
    ]
    (warning,) = prepare({"a.jsonl": jsonl(*twice)}).warnings
    assert "(9 such groups)" in warning
    assert "atient" not in warning.lower()


def test_what_classes_are() -> None:
    assert are_classes(["red", "deep blue"], 2)
    assert are_classes([f"code {i}" for i in range(100)], 200)
    assert not are_classes([f"code {i}" for i in range(100)], 150)
    assert not are_classes(["red", "x" * 41], 100)
    assert not are_classes(["red", "two\nlines"], 100)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_columns_that_read_alike(prepare: Prepare, name: str) -> None:
    rows = [{"text": f"{i}", "Text": "no", "label": "ab"[i % 2]} for i in range(4)]
    content = {
        "a.jsonl": lambda: jsonl(*rows),
        "a.csv": lambda: b"text,Text,label\n0,no,a\n1,no,b\n",
        "a.parquet": lambda: parquet(rows),
    }[name]()
    (warning,) = prepare({name: content}).warnings
    assert warning == "beside the column 'text' there is 'Text', which isn't read"
    with pytest.raises(TrainerError) as caught:
        prepare({name: content}, template="{TEXT} {label}")
    assert caught.value.error.code == "UnknownTemplateField"
    assert "did you mean 'text'?" in caught.value.error.message


def test_many_columns_are_cut(prepare: Prepare) -> None:
    row = {f"{i} {'x' * 20 * (1 + 4 * (i == 1))}": 1 for i in range(100)}
    with pytest.raises(TrainerError) as caught:
        prepare({"a.jsonl": jsonl(row)})
    assert caught.value.error.message.endswith("x and 70 more")
    assert f"1 {'x' * 58}…, 2 x" in caught.value.error.message
