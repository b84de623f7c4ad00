"""CSV as people have it: line ends, quotes, separators, headers. Each row at its line."""

from pathlib import Path

import pytest
from unit.trainer.data_support import Prepare, bare_preparer

from luthier_trainer.data.rows import LocalFile, Row, read_rows
from luthier_trainer.errors import TrainerError


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return bare_preparer(tmp_path)


def _rows(folder: Path, content: str, name: str = "a.csv") -> list[Row]:
    (folder / name).write_bytes(content.encode())
    return list(read_rows(LocalFile(name, folder / name), ["text", "label"]))


def _refused(folder: Path, content: str) -> str:
    with pytest.raises(TrainerError) as caught:
        _rows(folder, content)
    assert caught.value.error.code == "MalformedRow"
    return caught.value.error.message


_PLAIN = "".join(f"text {number},red\n" for number in range(30))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("rest", "line"),
    [
        (_PLAIN, 9),
        (_PLAIN.replace("5,red", '5,"red"'), 9),
        (_PLAIN.replace("text 5", '"text, 5"'), 9),
        ("", 9),
    ],
)
def test_a_quote_that_never_closes_is_told_where_it_opens(
    tmp_path: Path, rest: str, line: int, end: str
) -> None:
    begin = "text,label\n" + 'a,red\n"b\nb",red\n' * 2 + "\n" + 'x,"green\n'
    assert begin.count("\n") == line
    message = _refused(tmp_path, (begin + rest).replace("\n", end))
    assert message.startswith(f"a.csv:{line}: not CSV: a quote opens on this line")


def test_a_quote_opens_behind_lines_of_the_same_row(tmp_path: Path) -> None:
    message = _refused(tmp_path, 'text,label\n"one\ntwo","red\n' + _PLAIN)
    assert message.startswith("a.csv:3: not CSV: a quote opens on this line and never closes")


@pytest.mark.parametrize(
    ("content", "start"),
    [
        ('text,label\n"the "red" one",red\n', "a.csv:2: not CSV: a quote opens on this line, and"),
        ("text,label\n\na,b,c\n", "a.csv:3: 3 cells, but the header has 2"),
        ('text,label\n"a\nb"\nx,y\n', "a.csv:2: 1 cell, but the header has 2"),
        ("text,label\na,b\nc,d\0\n", "a.csv:3: a NUL"),
        ("\ufefftext,text,label\n", "a.csv:1: the header has the column 'text' twice (cells 1, 2)"),
        (",\na,b\n", "a.csv:1: the header names no column"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, content: str, start: str) -> None:
    assert _refused(tmp_path, content).startswith(start)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_row_is_at_the_line_where_it_begins(tmp_path: Path, end: str) -> None:
    content = '\ufefftext,label\n\na,red\n"b\nb",green\n\nc,blue'.replace("\n", end)
    assert _rows(tmp_path, content) == [
        Row({"text": "a", "label": "red"}, "a.csv:3"),
        Row({"text": f"b{end}b", "label": "green"}, "a.csv:4"),
        Row({"text": "c", "label": "blue"}, "a.csv:7"),
    ]


def test_quotes_within_a_cell_are_text(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 'text,label\n5" nail,red\n"5"" nail",red\n')
    assert [row.values["text"] for row in rows] == ['5" nail', '5" nail']


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text;label\na, b;red\nc;green\n"),
        ("a.csv", "text\tlabel\na, b\tred\nc\tgreen\n"),
        ("a.csv", "id|text|label\n1|a, b|red\n2|c|green\n"),
        ("a.csv", 'id, no;text;"label"\n1;a, b;red\n2;c;green\n'),
        ("a.tsv", "text\tlabel\na, b\tred\nc\tgreen\n"),
        ("a.tsv", 'text,label\n"a, b",red\nc,green\n'),
        ("a.tsv", "text;label\na, b;red\nc;green\n"),
        ("a.tsv", "text\tlabel\tx,text,label\na, b\tred\t\nc\tgreen\t\n"),
        ("a.csv", 'text , label\n"a, b",red\nc,green\n'),
        ("a.csv", ',text,label\n0,"a, b",red\n1,c,green\n'),
    ],
)
def test_separators_and_headers_of_spreadsheets(tmp_path: Path, name: str, content: str) -> None:
    rows = _rows(tmp_path, content, name)
    found = [(row.values["text"], row.values["label"], row.place) for row in rows]
    assert found == [("a, b", "red", f"{name}:2"), ("c", "green", f"{name}:3")]


def test_a_file_without_a_header_tells_nothing_of_its_rows(
    prepare: Prepare, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the message, which a status has; the log does."""
    content = b"Jane Doe,jane@example.com\nJoe,joe@example.com\n"
    for columns in ({}, {"template": "{Jane}{label}"}):
        with pytest.raises(TrainerError) as caught:
            prepare({"a.csv": content}, **columns)
        message = caught.value.error.message
        assert caught.value.error.code == "UnknownTemplateField"
        assert "Doe" not in message
        assert "example" not in message
        assert "2 others" in message
        assert "put a header above it" in message
    assert "'jane@example.com'" in capsys.readouterr().err
    with pytest.raises(TrainerError) as caught:
        prepare({"a.csv": b"secret,secret\na,b\n"})
    assert "secret" not in caught.value.error.message
    assert "(cells 1, 2)" in caught.value.error.message
