"""Runs that learn one class, several, or a number by a head: what they publish answers as it was
measured, in the card's program, as ONNX, and as what is in use."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.optimize_support import order_maker
from unit.trainer.readme_programs import answers, told
from unit.trainer.support import MakeSpec, folder_of, write_jsonl
from unit.trainer.tiny import tiny

from luthier_api.optimizejob import SourceRef
from luthier_api.result import RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.finetune.run import Run
from luthier_trainer.optimize.run import Optimization
from luthier_trainer.published import ask as asking

pytestmark = pytest.mark.timeout(1200)

THINGS = {"red": "tomato", "green": "meadow", "blue": "ocean"}
TOPICS: dict[str, Any] = {
    "task": "classification",
    "dataset": {"template": None, "columns": {"text": "text", "labels": "labels"}},
    "metrics": ["accuracy", "f1", "f1_micro", "loss"],
}
NUMBERS: dict[str, Any] = {
    "task": "regression",
    "dataset": {"template": None, "columns": {"text": "text", "label": "number"}},
    "metrics": ["mse", "mae", "pearson", "spearman", "loss"],
}
CLASSES: dict[str, Any] = {
    "task": "classification",
    "dataset": {"template": None, "columns": {"text": "text", "label": "colour"}},
    "metrics": ["accuracy", "ece", "loss"],
}


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """A text of no colour, one or two. In every tenth row what is said of it is wrong."""
    found = []
    for number in range(first, first + count):
        names = [list(THINGS)[(number // 3 + k) % 3] for k in range(number % 3)]
        words = [f"w{number % 43}", *(THINGS[name] for name in names), f"w{number % 29}"]
        told = [*THINGS][:1] if number % 10 == 0 else names
        found.append(
            {
                "text": " ".join(words),
                "labels": told,
                "number": 1000.0 + 50.0 * len(names) + number % 5,
                "colour": (told or ["blue"])[0],
            }
        )
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_jsonl(folder / "train.jsonl", rows(90))
    write_jsonl(folder / "eval.jsonl", rows(60, 200))
    write_jsonl(folder / "test.jsonl", rows(60, 400))
    return folder


def ordered(
    make_spec: MakeSpec, data: Path, form: dict[str, Any], *, eval_rows: bool = True, **fields: Any
) -> RunSpec:
    dataset = {
        "uri": f"file://{data}",
        **form["dataset"],
        **({"eval": "eval"} if eval_rows else {}),
    }
    training = {"maxSteps": 40, "saveEverySteps": 40, "perDeviceBatchSize": 8}
    return make_spec(
        **{**form, **fields, "dataset": dataset, "training": {**training, "learningRate": 0.01}}
    )


def done(spec: RunSpec) -> tuple[Path, RunResult]:
    result = Run(spec).execute()
    assert isinstance(result, RunResult)
    return folder_of(spec), result


def evaluated(result: RunResult) -> dict[str, float]:
    assert result.evaluation
    return result.evaluation.tuned


@pytest.fixture
def bert(tmp_path: Path) -> str:
    return f"file://{tiny('bert', tmp_path / 'base-model')}"


def program(artifact: Path, tmp_path: Path) -> list[Any]:
    """What each line that the card's program prints says."""
    if not (artifact / "base").exists():
        (artifact / "base").symlink_to(tmp_path / "base-model")
    (said,) = answers(artifact / "README.md")
    return [ast.literal_eval(line) for line in said.splitlines()]


def packaged(artifact: Path, tmp_path: Path, metric: str) -> tuple[Path, Any]:
    order = order_maker(artifact, tmp_path)(
        precisions=["fp32"], gates={"metric": metric, "maxMetricDrop": 0.001}
    )
    result = Optimization(order).execute()
    return folder_of(order) / "model", result


def test_several_classes(make_spec: MakeSpec, data: Path, bert: str, tmp_path: Path) -> None:
    artifact, result = done(ordered(make_spec, data, TOPICS, model=bert))
    values = evaluated(result)
    assert values["f1_micro"] > 0.7
    document = json.loads((artifact / "report" / "evaluation.json").read_text())
    assert {row["label"] for row in document["classes"]["tuned"]} == set(THINGS)
    assert "confusion" not in document
    reading = document["reading"]
    assert reading["split"] == "eval"
    assert reading["thresholds"].keys() == THINGS.keys()
    assert reading["loss"]["after"] <= reading["loss"]["before"]
    page = (artifact / "report" / "index.html").read_text()
    assert "<h2>Classes</h2>" in page
    assert "threshold" in page

    found = asking.read(artifact / "adapter")
    assert found
    assert found.reading
    assert found.reading.answer == "labels"
    assert len(found.reading.thresholds) == 3
    (said,) = program(artifact, tmp_path)
    row = told(artifact / "adapter")
    assert (", ".join(said) or "(none)") == row["answer"]

    package, optimized = packaged(artifact, tmp_path, "f1_micro")
    assert optimized.baseline.metric == pytest.approx(values["f1_micro"])
    assert optimized.candidates[0].metric == pytest.approx(values["f1_micro"])
    assert json.loads((package / "luthier.json").read_text())["reading"] == found.reading.to_json()
    (said,) = answers(package / "README.md")
    assert ast.literal_eval(said) == program(artifact, tmp_path)[0]


def test_a_number(make_spec: MakeSpec, data: Path, bert: str, tmp_path: Path) -> None:
    artifact, result = done(ordered(make_spec, data, NUMBERS, model=bert))
    values = evaluated(result)
    assert values["pearson"] > 0.8
    assert values["mae"] < 40  # the numbers are some 1,050, their deviation some 41
    assert values["mse"] == pytest.approx(values["loss"] * _variance(data), rel=1e-4)
    assert "scale" in result.resolved
    (said,) = program(artifact, tmp_path)
    row = told(artifact / "adapter")
    assert float(str(row["answer"])) == pytest.approx(said[0], abs=1e-2)
    assert 900 < said[0] < 1200
    assert "It tells the number `number` of a text." in (artifact / "README.md").read_text()

    package, optimized = packaged(artifact, tmp_path, "pearson")
    assert optimized.baseline.metric == pytest.approx(values["pearson"], abs=1e-4)
    assert optimized.candidates[0].metric == pytest.approx(values["pearson"], abs=1e-4)
    (said,) = answers(package / "README.md")
    assert ast.literal_eval(said) == pytest.approx(program(artifact, tmp_path)[0], rel=1e-4)


def _variance(data: Path) -> float:
    lines = (data / "train.jsonl").read_text().splitlines()
    numbers = [json.loads(line)["number"] for line in lines]
    mean = sum(numbers) / len(numbers)
    return float(sum((each - mean) ** 2 for each in numbers) / len(numbers))


def test_how_sure_a_class_is(make_spec: MakeSpec, data: Path, bert: str, tmp_path: Path) -> None:
    artifact, result = done(ordered(make_spec, data, CLASSES, model=bert))
    assert 0 <= evaluated(result)["ece"] < 1
    document = json.loads((artifact / "report" / "evaluation.json").read_text())
    reading = document["reading"]
    assert reading["temperature"] != 1
    assert reading["loss"]["after"] < reading["loss"]["before"]
    page = (artifact / "report" / "index.html").read_text()
    for heading in ("Classes", "What is taken for what", "How sure it is"):
        assert f"<h2>{heading}</h2>" in page
    best, sure = program(artifact, tmp_path)
    assert best == [told(artifact / "adapter")["answer"]]
    assert 1 / 3 < sure[0] <= 1

    package, _ = packaged(artifact, tmp_path, "accuracy")
    (said,) = answers(package / "README.md")
    line, other = said.splitlines()
    assert ast.literal_eval(line) == best
    assert ast.literal_eval(other) == pytest.approx(sure, abs=1e-4)


def test_without_eval_rows_logits_are_read_plainly(
    make_spec: MakeSpec, data: Path, bert: str
) -> None:
    artifact, result = done(ordered(make_spec, data, TOPICS, model=bert, eval_rows=False))
    assert result.evaluation
    found = asking.read(artifact / "adapter")
    assert found
    assert found.reading
    assert (found.reading.temperature, found.reading.thresholds) == (1, [])
    document = json.loads((artifact / "report" / "evaluation.json").read_text())
    assert "reading" not in document


@pytest.mark.parametrize("form", [TOPICS, NUMBERS], ids=["classes", "number"])
def test_what_is_in_use_answers_as_it_was_published(
    form: dict[str, Any], make_spec: MakeSpec, data: Path, bert: str, tmp_path: Path
) -> None:
    before = "r1-abababab"
    first = ordered(
        make_spec,
        data,
        form,
        model=bert,
        output=f"file://{tmp_path}/out/team-a/colours/{before}",
        run={"revision": before},
    )
    _, result = done(first)
    assert result.artifact
    second = ordered(
        make_spec,
        data,
        form,
        model=bert,
        output=f"file://{tmp_path}/out/team-a/colours/r2-cdcdcdcd",
        run={"revision": "r2-cdcdcdcd"},
        method={"type": "full"},
        incumbent=SourceRef(**dict(result.artifact), revision=before),
        anew=True,
    )
    _, newer = done(second)
    assert newer.evaluation
    assert newer.evaluation.compared_with == before
    assert newer.evaluation.in_use == pytest.approx(evaluated(result), abs=1e-5)
