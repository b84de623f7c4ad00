"""Runs of the task preference, from rows to an artifact."""

import json
from typing import Any

import pytest
from luthier_trainer.run import Run
from unit.trainer.preference_support import (
    METRICS,
    MakePreference,
    chat_rows,
    make_preference,
    pair_rows,
    single_rows,
)
from unit.trainer.support import folder_of
from unit.trainer.tiny import tiny_folder

__all__ = ["make_preference"]


@pytest.mark.parametrize(
    ("rows", "objective"),
    [
        (pair_rows, "dpo"),
        (pair_rows, "ipo"),
        (pair_rows, "orpo"),
        (pair_rows, "simpo"),
        (pair_rows, "kto"),
        (single_rows, "kto"),
        (chat_rows, "dpo"),
    ],
)
def test_a_run_learns_what_is_preferred(
    make_preference: MakePreference, rows: Any, objective: str
) -> None:
    model = {"model": f"file://{tiny_folder('qwen2')}"} if rows is chat_rows else {}
    order = make_preference(rows=rows, preference={"objective": objective}, **model)
    result = Run(order).execute()
    assert result.evaluation
    base, tuned = result.evaluation.base, result.evaluation.tuned
    assert tuned["reward_accuracy"] > base["reward_accuracy"]
    assert tuned["reward_margin"] > base["reward_margin"]
    if objective in ("dpo", "ipo", "kto"):
        assert (base["reward_accuracy"], base["reward_margin"]) == (0.5, 0.0)
    if rows is not single_rows:
        assert tuned["preference_accuracy"] > base["preference_accuracy"]
        assert tuned["preference_margin"] > base["preference_margin"]
    folder = folder_of(order)
    document = json.loads((folder / "report" / "evaluation.json").read_text())
    assert set(document["tuned"]) >= set(METRICS if rows is not single_rows else ["loss"])
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    samples = json.loads((folder / "report" / "samples.json").read_text())
    assert samples[0]["prompt"]
    assert samples[0]["tuned"]
    assert "Colour:" in (folder / "report" / "sheet.html").read_text()
