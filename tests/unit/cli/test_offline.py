"""`luthier validate --offline`: every mistake with its line, its field and a remedy."""

import json
from pathlib import Path

import pytest
from unit.cli.command import luthier

from luthier_cli.offline import check_document
from luthier_cli.yaml import load_documents

VALID = """\
apiVersion: luthier.dev/v1alpha1
kind: FineTuneJob
metadata:
  name: tone
spec:
  model: {uri: s3://models/smollm2}
  task: classification
  dataset:
    uri: s3://datasets/phrases.jsonl
    template: "{phrase} {tone}"
    evalFraction: 0.1
  training:
    maxSteps: 100
    learningRate: 1e-4
  output: {uri: s3://artifacts/models}
"""


def findings(text: str) -> list[tuple[int, str, str]]:
    [document] = load_documents(text)
    return [(f.line, f.field, f"{f.message} | {f.remedy}") for f in check_document(document, "f")]


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"),
    [
        ("v1alpha1", "v1", 1, "apiVersion", "use luthier.dev/v1alpha1"),
        ("FineTuneJob", "Job", 2, "kind", "use FineTuneJob, OptimizeJob, AdapterBundle"),
        (
            "spec:",
            'spec:\n  retrain: {schedule: "0 0 31 2 *"}',
            6,
            "spec.retrain.schedule",
            "no time that ever comes",
        ),
        (
            "spec:",
            'spec:\n  retrain: {schedule: "0 3 * * *", timeZone: Europe/Wien}',
            6,
            "spec.retrain.timeZone",
            "e.g. Europe/Vienna",
        ),
        ("  name: tone", "  labels: {a: b}", 3, "metadata.name", "required"),
        ("name: tone", "name: 5", 4, "metadata.name", "must be a string"),
        ("name: tone", "name: Tone", 4, "metadata.name", "begin with a letter"),
        ("spec:", "spec: 5\nspecs:", 5, "spec", "isn't a mapping"),
        ("task: classification", "task: clasification", 7, "spec.task", "'classification'"),
        ("  task: classification\n", "", 5, "spec.task", "required"),
        ("maxSteps", "maxsteps", 13, "spec.training.maxsteps", "did you mean maxSteps?"),
        ("maxSteps: 100", "maxSteps: '100'", 13, "spec.training.maxSteps", "valid integer"),
        ("maxSteps: 100", "maxSteps: 0", 13, "spec.training.maxSteps", "greater than or equal"),
        ("maxSteps: 100", "maxSteps: 1.5", 13, "spec.training.maxSteps", "integer"),
        ("maxSteps: 100", "maxSteps: on", 13, "spec.training.maxSteps", "valid integer"),
        ("1e-4", "fast", 14, "spec.training.learningRate", "valid number, not 'fast'"),
        ("    maxSteps: 100\n", "", 12, "spec.training", "set maxSteps or epochs"),
        ("maxSteps: 100", "{maxSteps: 1, epochs: 1}", 13, "", ""),
        ("s3://artifacts", "file:///artifacts", 15, "spec.output.uri", "s3://BUCKET/PREFIX"),
        ("output: {uri", "outputs: {url", 15, "spec.outputs", "did you mean output?"),
    ],
)
def test_a_mistake(old: str, new: str, line: int, field: str, words: str) -> None:
    text = VALID.replace(old, new)
    if not field:
        text = VALID.replace("    maxSteps: 100", "    epochs: 1\n    maxSteps: 100")
        line, field, words = 13, "spec.training.epochs", "keep one"
    matching = [f for f in findings(text) if f[0] == line and f[1] == field]
    assert matching, findings(text)
    assert any(words in message for _, _, message in matching), matching


@pytest.mark.parametrize(("name", "told"), [("tone", True), ("other", False)])
def test_a_fine_tune_job_that_goes_on_from_itself(name: str, told: bool) -> None:
    adapter = (
        f"  model:\n    uri: s3://models/base\n    adapter: {{fineTuneJobRef: {{name: {name}}}}}\n"
    )
    lines = VALID.splitlines(keepends=True)
    text = "".join(adapter if line.startswith("  model:") else line for line in lines)
    found = findings(text)
    assert bool(found) is told
    for _, field, words in found:
        assert field == "spec.model.adapter.fineTuneJobRef.name"
        assert "name another FineTuneJob" in words


def test_valid_numbers_and_nulls_as_kubectl_sends_them() -> None:
    text = VALID.replace("maxSteps: 100", "maxSteps: 1e2\n    epochs: null\n    seed: 7.0")
    assert findings(text) == []


def test_all_mistakes_at_once_in_the_order_of_their_lines() -> None:
    text = VALID.replace("task: classification", "task: x").replace("1e-4", "x")
    assert [line for line, _, _ in findings(text)] == [7, 14]


def test_the_command(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"{VALID}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n")
    bad.write_text(VALID.replace("maxSteps", "maxsteps"))

    done = luthier("validate", "--offline", str(good))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{good}: FineTuneJob/tone is valid" in done.stdout
    assert f"{good}: Secret/s skipped" in done.stdout

    done = luthier("validate", "--offline", str(good), str(bad))
    assert done.returncode == 1
    assert f"{bad}:13: spec.training.maxsteps: unknown field → did you mean" in done.stdout

    done = luthier("validate", "--offline", "-o", "json", str(tmp_path))
    report = json.loads(done.stdout)
    assert (done.returncode, report["valid"]) == (1, False)
    assert [f["line"] for f in report["findings"]] == [13]
    assert len(report["checked"]) == 2


def test_without_any_cluster_it_checks_offline_and_says_so() -> None:
    done = luthier("validate", "-", stdin=VALID)
    assert done.returncode == 0
    assert "checked against the schema of this luthier, offline" in done.stdout


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("", "-:1: apiVersion: no Luthier resource in this file"),
        ("apiVersion: other.dev/v1alpha1\nkind: FineTuneJob\n", "no Luthier resource"),
        ("a: 1\na: 2\n", "-:2: 'a' is given twice"),
        ("- 1\n", "no Luthier resource"),
    ],
)
def test_files_without_a_resource_are_invalid(stdin: str, words: str) -> None:
    done = luthier("validate", "--offline", "-", stdin=stdin)
    assert done.returncode == 1
    assert words in done.stdout


def test_a_missing_file_is_trouble() -> None:
    done = luthier("validate", "--offline", "/nowhere/x.yaml")
    assert done.returncode == 2
    assert "error: can't read /nowhere/x.yaml: No such file" in done.stderr
