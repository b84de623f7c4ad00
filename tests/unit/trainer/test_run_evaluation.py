"""What a run measures, while it trains and of its result."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.trainer.run_cells import GROUPS, Cell
from unit.trainer.run_methods_support import measured_rows, spec_of, train_rows

from luthier_api.runspec import RunSpec
from luthier_trainer.data.splits import sample
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run

_FORMS = {form.name: form for group in GROUPS for form in group}
# Of seven rows, the one that isn't in a sample of six.
LEFT_OUT = int(np.setdiff1d(np.arange(7), sample(np.zeros(7, np.int64), 6, "42:measured"))[0])
JSON = Cell(_FORMS["json"], "llama", "lora")


def evaluations(place: Path) -> list[dict[str, Any]]:
    lines = (place / "output" / "report" / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if "eval_loss" in entry]


def watching(metric: str, place: Path, cell: Cell, evaluation: dict[str, Any]) -> RunSpec:
    """A run whose `eval` are the cell's measured rows, and one whose answer is no JSON."""
    spec = spec_of(
        cell,
        place,
        dataset={"eval": "eval"},
        metrics=["loss", metric],
        evalEverySteps=3,
        earlyStopping={"metric": metric},
        evaluation=evaluation,
    )
    rows = measured_rows(cell.form)
    rows.insert(LEFT_OUT, {**train_rows(cell.form)[0], "answer": "Ada"})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "data" / "eval.jsonl").write_text(text)
    return spec


def test_no_more_than_max_samples_are_read_while_it_trains(tmp_path: Path) -> None:
    few = watching("json_f1", tmp_path / "few", JSON, {"maxSamples": 6})
    assert Run(few).execute().outcome == "Succeeded"
    assert [entry["step"] for entry in evaluations(tmp_path / "few")] == [3, 6]
    assert all("eval_json_f1" in entry for entry in evaluations(tmp_path / "few"))

    everything = watching("json_f1", tmp_path / "all", JSON, {"maxSamples": 7})
    with pytest.raises(
        TrainerError, match=rf"eval\.jsonl:{LEFT_OUT + 1}: json_f1 compares JSON"
    ) as caught:
        Run(everything).execute()
    assert caught.value.error.code == "NotJson"
    assert not (tmp_path / "all" / "output" / "checkpoints").exists()


def test_early_stopping_can_watch_rouge(tmp_path: Path) -> None:
    cell = Cell(_FORMS["summary"], "t5", "lora")
    assert Run(watching("rouge", tmp_path, cell, {})).execute().outcome == "Succeeded"
    assert all("eval_rougeL" in entry for entry in evaluations(tmp_path))


def test_pairs_without_labels_are_learnt_among_negatives(tmp_path: Path) -> None:
    cell = Cell(_FORMS["negatives"], "bert", "full")
    spec = spec_of(
        cell,
        tmp_path,
        dataset={"columns": {"first": "first", "second": "second"}},
        metrics=["loss"],
    )
    result = Run(spec).execute()
    assert result.outcome == "Succeeded"
    assert result.evaluation
    assert result.evaluation.tuned.keys() == {"loss"}
