"""Whole searches on a tiny model: trials, takeovers, the best one's artifact."""

import json
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, folder_of

from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunSpec
from luthier_trainer.search.run import SearchRun


def search_spec(make_spec: MakeSpec, search: dict[str, Any], **parts: Any) -> RunSpec:
    """A run of 8 steps whose trials differ in their learning rate."""
    parts.setdefault("training", {})
    parts["training"] = {"maxSteps": 8, "saveEverySteps": 2, **parts["training"]}
    spec = make_spec(dataset={"eval": "test[:50%]", "test": "test[50%:]"}, **parts)
    document = {
        "objective": {"metric": "accuracy"},
        "space": {"learningRate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}},
        "trials": 4,
        "seed": 7,
        **search,
    }
    tuning = FineTuning.model_validate({**spec.fine_tuning.to_json(), "search": document})
    return spec.model_copy(update={"fine_tuning": tuning})


def records_of(spec: RunSpec) -> list[dict[str, Any]]:
    paths = sorted(folder_of(spec).glob("trials/*/trial.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_the_best_trials_artifact_is_the_result(make_spec: MakeSpec) -> None:
    spec = search_spec(make_spec, {})
    result = SearchRun(spec).execute()
    print(result.to_json())
    print(records_of(spec))
    for p in sorted(folder_of(spec).rglob("*")):
        print(p)
    assert 0
