"""Rows of several classes, and of numbers: how they are read, and what is refused with which
remedy."""

from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import bare_preparer, jsonl, outcome, parquet

from luthier_trainer.data.examples import Examples

TOPICS: dict[str, Any] = {
    "task": "classification",
    "columns": {"text": "text", "labels": "topics"},
    "template": None,
    "train": "train[:2]",
    "test": "train[2:]",
}
NUMBERS: dict[str, Any] = {
    **TOPICS,
    "task": "regression",
    "columns": {"text": "text", "label": "stars"},
}


def of(folder: Path, files: dict[str, bytes], **dataset: Any) -> Any:
    return outcome(lambda: bare_preparer(folder)(files, **dataset))


@pytest.mark.parametrize(
    ("files", "more"),
    [
        (
            {
                "a.jsonl": jsonl(
                    {"text": "a", "topics": ["b", "a"]},
                    {"text": "b", "topics": []},
                    {"text": "c", "topics": ["b", "b"]},
                )
            },
            {},
        ),
        ({"a.csv": b'text,topics\na,"[""b"", ""a""]"\nb,[]\nc,"[""b""]"\n'}, {}),
        ({"a.csv": b"text,topics\na,b; a\nb,\nc,b\n"}, {"label_separator": ";"}),
        (
            {
                "a.parquet": parquet(
                    [
                        {"text": "a", "topics": ["a", "b"]},
                        {"text": "b", "topics": []},
                        {"text": "c", "topics": ["b"]},
                    ]
                )
            },
            {},
        ),
    ],
    ids=["lists", "lists as JSON in .csv", "divided by a sign", "lists in .parquet"],
)
def test_classes_of_a_text(files: dict[str, bytes], more: dict[str, Any], tmp_path: Path) -> None:
    found: Examples = of(tmp_path, files, **TOPICS, **more)
    rows = [*found.train, *found.test]
    assert [each.labels for each in rows] == [("a", "b"), (), ("b",)]  # type: ignore[union-attr]
    assert found.labels == ["a", "b"]
    assert found.rows_of_labels == {"a": 1, "b": 1}
    assert found.facts.labels == 2


@pytest.mark.parametrize(
    ("row", "code", "told"),
    [
        ({"text": "a", "topics": "b"}, "InvalidList", "set dataset.labelSeparator"),
        ({"text": "a", "topics": "['b', 'c']"}, "InvalidList", "json.dumps"),
        ({"text": "a", "topics": 3}, "InvalidList", "no list of labels"),
        ({"text": "a", "topics": ["b", None]}, "InvalidLabel", "a text that isn't empty"),
        ({"text": "a", "topics": ["b", " "]}, "InvalidLabel", "correct or remove the row"),
        ({"text": "a", "topics": [["b"]]}, "InvalidLabel", "has a list of 1"),
        ({"text": " ", "topics": ["b"]}, "EmptyCompletion", "'text' is empty"),
        ({"text": "a", "topics": None}, "MissingColumn", "'topics' is null"),
        ({"text": "a"}, "MissingColumn", "no 'topics'"),
    ],
)
def test_a_row_without_a_list_of_labels_is_refused(
    row: dict[str, Any], code: str, told: str, tmp_path: Path
) -> None:
    good = {"text": "x", "topics": ["a"]}
    error = of(tmp_path, {"a.jsonl": jsonl(good, row, good)}, **TOPICS)
    assert error.code == code
    assert "a.jsonl:2" in error.message
    assert told in error.message


def test_empty_labels_between_signs_are_refused(tmp_path: Path) -> None:
    files = {"a.csv": b"text,topics\na,b;;a\nb,a\nc,b\n"}
    error = of(tmp_path, files, **TOPICS, label_separator=";")
    assert (error.code, "a.csv:2" in error.message) == ("InvalidLabel", True)


def test_a_label_of_test_alone_and_none_at_all_are_refused(tmp_path: Path) -> None:
    rows = [{"text": "a", "topics": ["a"]}, {"text": "b", "topics": []}]
    error = of(tmp_path, {"a.jsonl": jsonl(*rows, {"text": "c", "topics": ["z"]})}, **TOPICS)
    assert error.code == "LabelWithoutExamples"
    assert "the label 'z' of test" in error.message
    none = [{"text": name, "topics": []} for name in "abc"]
    error = of(tmp_path, {"a.jsonl": jsonl(*none)}, **TOPICS)
    assert (error.code, error.param) == ("NoLabels", "dataset.columns.labels")


def test_a_list_where_one_class_is_learnt_names_the_columns_for_several(tmp_path: Path) -> None:
    rows = jsonl(*({"text": name, "topics": ["a"]} for name in "abc"))
    columns = {"text": "text", "label": "topics"}
    error = of(tmp_path, {"a.jsonl": rows}, **{**TOPICS, "columns": columns})
    assert error.code == "SeveralLabels"
    assert "columns.text and columns.labels" in error.message


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_number_of_a_text(name: str, tmp_path: Path) -> None:
    content = {
        "a.jsonl": jsonl(
            *({"text": t, "stars": s} for t, s in zip("abc", [1, 4.0, -2.5], strict=True))
        ),
        "a.csv": b"text,stars\na,1\nb,4.0\nc,-2.5\n",
    }
    found: Examples = of(tmp_path, {name: content[name]}, **NUMBERS)
    assert [each.label for each in [*found.train, *found.test]] == [1.0, 4.0, -2.5]  # type: ignore[union-attr]
    assert found.scale == (2.5, 1.5)
    assert found.labels == []


@pytest.mark.parametrize("value", ["many", True, [4], "nan", "Infinity", "1,5"])
def test_what_is_no_number_is_refused(value: Any, tmp_path: Path) -> None:
    rows = jsonl(
        {"text": "a", "stars": 1}, {"text": "b", "stars": value}, {"text": "c", "stars": 2}
    )
    error = of(tmp_path, {"a.jsonl": rows}, **NUMBERS)
    assert error.code == "InvalidNumber"
    assert "a.jsonl:2: 'stars' is" in error.message
    assert "correct or remove the row" in error.message


def test_numbers_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    rows = jsonl(*({"text": name, "stars": 3} for name in "abc"))
    error = of(tmp_path, {"a.jsonl": rows}, **NUMBERS)
    assert (error.code, error.param) == ("NoSpread", "dataset.columns.label")
