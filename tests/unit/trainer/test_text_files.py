"""Files that are a text each: .txt and .md, alone, in folders, by a pattern."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import GOOD, Prepare, bare_preparer
from unit.trainer.support import MakeSpec, spec_maker

from luthier_trainer.data.examples import Examples
from luthier_trainer.data.prepare import load, look
from luthier_trainer.data.row import MAX_ROW_BYTES
from luthier_trainer.errors import TrainerError

FORM: dict[str, Any] = {"task": "generation", "template": "{text}"}
POEM = "Vom Eise befreit\r\n  sind Strom und Bäche, \u2028durch\n\n"


@pytest.fixture
def prepare(tmp_path: Path) -> Prepare:
    return bare_preparer(tmp_path)


def completions(examples: Any) -> list[str]:
    return [examples[index].completion for index in range(len(examples))]


def spec_of(folder: Path, uri: str, **dataset: Any) -> Any:
    make: MakeSpec = spec_maker(folder / "model", folder / "colours", folder)
    return make(
        task="generation",
        metrics=["loss"],
        dataset={"uri": uri, "template": "{text}", "test": None, **dataset},
    )


@pytest.mark.parametrize("in_memory_bytes", [10**6, 0])
@pytest.mark.parametrize("name", ["a.txt", "a.md", "A.TXT"])
def test_a_file_is_a_text_as_it_stands(name: str, in_memory_bytes: int, prepare: Prepare) -> None:
    examples = prepare({name: POEM.encode()}, in_memory_bytes=in_memory_bytes, **FORM)
    assert completions(examples.train) == [POEM]
    assert examples.train[0].place == f"{name}:1"
    assert examples.findings.columns == ["text"]


@pytest.mark.parametrize("in_memory_bytes", [10**6, 0])
def test_a_folder_is_a_text_per_file_in_order(in_memory_bytes: int, prepare: Prepare) -> None:
    files = {"b.txt": b"two", "a.txt.gz": gzip.compress(b"one"), "c.md": b"\xef\xbb\xbfthree"}
    examples = prepare(
        {**files, "README.md": b"what this is"}, in_memory_bytes=in_memory_bytes, **FORM
    )
    assert completions(examples.train) == ["one", "two", "three"]
    assert [examples.train[n].place for n in range(3)] == ["a.txt.gz:1", "b.txt:1", "c.md:1"]


def test_a_text_beside_rows_is_about_them(prepare: Prepare) -> None:
    files = {"train.jsonl": GOOD, "LICENSE.txt": b"MIT", "notes.md": b"# Notes"}
    assert len(prepare(files).train) == 2


def written(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the text of {name}")
    return folder


def test_folders_that_are_named_as_splits_hold_them_at_any_depth(tmp_path: Path) -> None:
    folder = written(tmp_path / "books", "train/a/1.txt", "train/b.txt", "test/c.txt")
    examples = load(spec_of(tmp_path, f"file://{folder}", test="test"), tmp_path / "data")
    assert completions(examples.train) == ["the text of train/a/1.txt", "the text of train/b.txt"]
    assert completions(examples.test) == ["the text of test/c.txt"]


def test_a_star_stands_for_letters_of_a_name(tmp_path: Path) -> None:
    names = ("part-1.txt", "part-2.txt", "part[3].txt", "other.txt", "part-4.md", "sub/part-5.txt")
    folder = written(tmp_path / "books", *names)

    def found(pattern: str, **dataset: Any) -> Examples:
        dataset = {"evalFraction": 0.5, **dataset}
        order = spec_of(tmp_path, f"file://{folder}/{pattern}", **dataset)
        return load(order, tmp_path / "data")

    def texts(pattern: str) -> list[str]:
        examples = found(pattern)
        return sorted([*completions(examples.train), *completions(examples.eval)])

    assert texts("part-*.txt") == ["the text of part-1.txt", "the text of part-2.txt"]
    assert len(texts("*.txt")) == 4
    assert len(texts("p*t-*.*")) == 3
    assert "part[3].txt" in completions(found("p*[3].t*", evalFraction=None).train)[0]
    order = spec_of(tmp_path, f"file://{folder}/part-*.txt", evalFraction=0.5)
    before = look(order)
    assert before is not None
    assert sorted(before) == ["0/part-1.txt", "0/part-2.txt"]
    (folder / "part-6.txt").write_text("new")
    assert look(order) != before
    with pytest.raises(TrainerError) as caught:
        found("none-*.txt")
    assert caught.value.error.code == "DatasetNotFound"
    assert "none-*.txt: no file" in caught.value.error.message


def test_a_star_that_is_meant_is_escaped(tmp_path: Path) -> None:
    folder = written(tmp_path / "books", "a*.txt", "ab.txt")
    order = spec_of(tmp_path, f"file://{folder}/a%2A.txt")
    assert completions(load(order, tmp_path / "data").train) == ["the text of a*.txt"]


@pytest.mark.parametrize("in_memory_bytes", [10**6, 0])
@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"a" * 1233 + b"\xff", "MalformedRow", r"a\.txt at byte 1,234: not UTF-8; save"),
        ("ä".encode()[:1], "MalformedRow", r"a\.txt at byte 1: not UTF-8"),
        ("text".encode("utf-16"), "MalformedRow", "not plain text, but UTF-16"),
        (b"%PDF-1.7 \xe2", "MalformedRow", "but a PDF"),
        (b"\x1f\x8b\x08\0", "MalformedRow", r"but gzip; rename the file to a\.txt\.gz"),
        (b"PK\x03\x04", "MalformedRow", "but a zip archive"),
        (b"a\0b\0c\0d\0e\0f\0g\0h\0i\0j\0", "MalformedRow", "UTF-16"),
        (b"", "EmptyCompletion", r"a\.txt:1: 'text' is empty"),
        (b" \n", "EmptyCompletion", r"a\.txt:1: 'text' is empty"),
        (b"a" * (MAX_ROW_BYTES + 1), "RowTooLarge", r"a\.txt: .* larger than 16 MiB: write"),
    ],
)
def test_what_is_no_text_is_told_with_its_place(
    content: bytes, code: str, words: str, in_memory_bytes: int, prepare: Prepare
) -> None:
    with pytest.raises(TrainerError, match=words) as caught:
        prepare({"a.txt": content}, in_memory_bytes=in_memory_bytes, **FORM)
    assert caught.value.error.code == code


@pytest.mark.parametrize(
    "content", [b"ORCHESTRA, in B flat", b"BZh", b"<html>", b"a,b;c\nd", b'{"a": 1}', b"PAR1"]
)
def test_a_text_may_begin_with_anything(content: bytes, prepare: Prepare) -> None:
    assert completions(prepare({"a.txt": content}, **FORM).train) == [content.decode()]


def test_another_column_is_told_what_there_is(prepare: Prepare) -> None:
    with pytest.raises(TrainerError, match=r"no column 'content'; its columns are: text"):
        prepare({"a.txt": b"x"}, task="generation", template="{content}")


def test_many_texts_need_no_file_open_each(prepare: Prepare) -> None:
    files = {f"{number:04}.txt": f"text {number}".encode() for number in range(300)}
    examples = prepare(files, in_memory_bytes=0, **FORM)
    assert len(os.listdir("/proc/self/fd")) < 250
    assert completions(examples.train) == [content.decode() for content in files.values()]
