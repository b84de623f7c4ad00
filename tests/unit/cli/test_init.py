"""`luthier init`: a manifest of three answers, which is valid as it stands."""

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.cli.command import COMMAND, environment, luthier

from luthier_cli import offline, rowforms
from luthier_cli.rowforms import TASKS, Form, first_row, form_of
from luthier_cli.starter import Answers, starter
from luthier_cli.yaml import load_documents


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"messages": []}, Form("generation", {"messages": "messages"})),
        ({"conversations": []}, Form("generation", {"messages": "conversations"})),
        ({"question": "a", "answer": "b"},
         Form("generation", {"prompt": "question", "completion": "answer"})),
        ({"prompt": "a", "chosen": "b", "rejected": "c"},
         Form("preference", {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"})),
        ({"text": "a", "label": "b", "id": 1},
         Form("classification", {"text": "text", "label": "label"})),
        ({"phrase": "a", "tone": "b"}, Form("classification", template="{phrase}\n{tone}")),
        ({"text": "a"}, Form("generation", template="{text}")),
        ({"a": 1, "b": 2}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_what_a_row_tells(row: dict[str, Any], form: Form | None) -> None:
    assert form_of(row) == form


@pytest.mark.parametrize(
    ("name", "text", "row"),
    [
        ("a.csv", "x,y\n1,2\n", {"x": "1", "y": "2"}),
        ("a.tsv", "x\ty\n1\t2\n", {"x": "1", "y": "2"}),
        ("a.jsonl", '{"x": 1}\n{"x": 2}\n', {"x": 1}),
        ("a.json", '[{"x": 1}]', {"x": 1}),
        ("a.json", "[]", None),
        ("a.jsonl", "no json", None),
        ("a.csv", "", None),
        ("a.parquet", "PAR1", None),
    ],
)
def test_the_first_row(tmp_path: Path, name: str, text: str, row: dict[str, Any] | None) -> None:
    file = tmp_path / name
    file.write_text(text)
    assert first_row(file) == row


FORMS = [*(Form(task, columns) for task, columns in rowforms._FORMS), *map(rowforms.usual, TASKS)]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_makes_a_valid_manifest(form: Form) -> None:
    draft = starter(Answers("tone", "acme/small", "s3://datasets/x.jsonl", form.task), form)
    (document,) = load_documents(json.dumps(draft.document()))
    assert offline.check_document(document, "") == []
    assert draft.get("dataset.columns") == form.columns
    assert draft.get("training.learningRate") == "auto"
    kto = form.columns is not None and "completion" in form.columns and form.task == "preference"
    assert (draft.get("training.preference.objective") == "kto") is kto


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_any_answers(model: str, data: str) -> None:
    from luthier_cli.errors import CliError

    try:
        draft = starter(Answers("tone", model, data, "generation"), None)
    except CliError:
        return
    (document,) = load_documents(json.dumps(draft.document()))
    assert offline.check_document(document, "") == []


def test_by_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tones.csv").write_text("phrase,tone\nhi,glad\n")
    options = ("--model", "acme/small", "--dataset", "tones.csv", "--to", "s3://team-a/models")
    done = luthier("init", *options, "--gpus", "1", "-n", "team-a")
    assert done.returncode == 0, done.stderr
    (document,) = load_documents(Path("tones.yaml").read_text())
    spec = document.value["spec"]
    assert document.value["metadata"] == {"name": "tones", "namespace": "team-a"}
    assert spec["task"] == "classification"
    assert spec["output"] == {"uri": "s3://team-a/models"}
    assert spec["placement"] == {"gpus": 1}
    assert "luthier run tones.yaml --dataset tones.csv" in done.stdout
    assert "luthier upload tones.csv s3://datasets" in done.stdout
    assert luthier("validate", "--offline", "tones.yaml").returncode == 0
    again = luthier("init", *options)
    assert again.returncode == 2
    assert "there already" in again.stderr
    assert luthier("init", *options, "--force").returncode == 0


def test_nobody_can_be_asked() -> None:
    done = luthier("init", "-", "--model", "acme/small")
    assert done.returncode == 2
    assert "give --dataset" in done.stderr
    assert luthier("init", "-", "--model", "a/b", "--dataset", "c/d", "--task", "x").returncode == 2


def test_it_asks(tmp_path: Path) -> None:
    """Three questions, of which the last has an answer."""
    (tmp_path / "rows.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [*COMMAND, "init", "mine.yaml"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    os.write(ours, b"rows.jsonl\nacme/small\n\n")
    said, asked = program.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert program.returncode == 0, asked
    assert "[generation]" in asked
    assert "mine.yaml: FineTuneJob rows, generation by lora" in said
    spec = load_documents((tmp_path / "mine.yaml").read_text())[0].value["spec"]
    assert spec["model"] == {"uri": "hf://acme/small"}
    assert spec["dataset"]["columns"] == {"prompt": "question", "completion": "answer"}
