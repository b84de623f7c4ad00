"""Files that options name, whatever they are called, and where they lie."""

import os
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.cli.tiny import MANIFEST

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cli.order import Options, output_uri, read_order
from luthier_cli.paths import file_uri, path_of
from luthier_cli.references import folder_of

NAMES = ["größe.jsonl", "two words.jsonl", "a+b.jsonl", "100%.jsonl", "%41.jsonl", "a#b?c@d.jsonl",
         "~x.jsonl", "it's {1}.jsonl", "\\x.jsonl", "データ.jsonl"]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "things.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path / "sub")
    return tmp_path


def read(**options: str) -> tuple[str, str]:
    """URIs of model and dataset; the schema has taken them."""
    spec = read_order("../things.yaml", Options(**options)).manifest.spec
    assert isinstance(spec, FineTuneJobSpec)
    return spec.model.uri, spec.dataset.uri


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["{here}/{name}", "../{name}", "./../{name}", "//{here}/{name}"])
def test_a_file_of_any_name(here: Path, name: str, form: str) -> None:
    (here / name).write_text("{}")
    given = form.format(here=str(here).lstrip("/") if form[:2] == "//" else here, name=name)
    for uri in read(model=given, dataset=given):
        assert unquote(uri.removeprefix("file://")) == str(here / name)
        assert uri.isascii()
        assert folder_of(uri) == here / name


def test_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    (here / "rows.jsonl").write_text("{}")
    assert read(dataset="~/rows.jsonl")[1] == file_uri(here / "rows.jsonl")
    assert path_of("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    Path("~").mkdir()
    assert path_of("~") == Path("~")  # it is there


def test_a_uri_is_taken_as_it_is() -> None:
    uris = ("hf://owner/model", "s3://bucket/rows.jsonl")
    assert read(model=uris[0], dataset=uris[1]) == uris


@pytest.mark.parametrize("name", ["größe", "two words", "a+b", "100%", "../out"])
def test_results_of_any_folder(here: Path, name: str) -> None:
    manifest = read_order("../things.yaml", Options()).manifest
    uri = output_uri(manifest, Options(output=name))
    assert folder_of(uri) == Path(os.path.abspath(name))


@given(st.binary(min_size=1, max_size=40).filter(lambda it: b"\0" not in it and b"/" not in it))
def test_every_name_comes_back(name: bytes) -> None:
    if name not in (b".", b".."):
        path = Path("/data") / os.fsdecode(name)
        assert folder_of(file_uri(path)) == path


def test_files_by_a_star(here: Path) -> None:
    """One that is part of a folder's or file's name stays what it is."""
    (here / "a*b").mkdir()
    (here / "a*b" / "x*.txt").write_text("")
    assert (
        read(dataset="../a*b/größe *.txt")[1] == f"{file_uri(here / 'a*b')}/gr%C3%B6%C3%9Fe%20*.txt"
    )
    assert read(dataset="../a*b/x*.txt")[1] == file_uri(here / "a*b" / "x*.txt")
    assert "*" not in file_uri(here / "a*b")
