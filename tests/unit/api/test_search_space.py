"""What may be searched, what a trial's values come to in a spec, and which spaces are wrong."""

from typing import Any

import pytest

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.meta import part_of
from luthier_api.searchable import INTEGERS, SEARCHABLE, WORDS
from luthier_api.searchspace import (
    active,
    applied,
    combinations,
    problem,
    trials_of,
    workers_of,
)

SPEC: dict[str, Any] = {
    "model": {"uri": "s3://models/smollm2"},
    "task": "classification",
    "dataset": {"uri": "s3://data/a.jsonl", "template": "{text}: {label}", "evalFraction": 0.1},
    "training": {"maxSteps": 100},
    "output": {"uri": "s3://artifacts/models"},
}
RANKS = {"type": "int", "low": 8, "high": 64, "step": 8}
TYPES = {"type": "choice", "names": ["lora", "ia3"]}


def searching(
    space: dict[str, Any], search: dict[str, Any] | None = None, **parts: Any
) -> FineTuning:
    objective = {"metric": "eval_loss", "direction": "minimize"}
    whole = {"objective": objective, "space": space, **(search or {})}
    document = SPEC | {"search": whole} | parts
    return part_of(FineTuneJobSpec.model_validate(document), FineTuning)


def test_numbers_and_choices_of_training_and_method_can_be_searched() -> None:
    assert {"learningRate", "epochs", "perDeviceBatchSize", "lora.rank"} <= SEARCHABLE.keys()
    assert {"method.type", "scheduler", "optimizer", "lora.dora", "adapter.placement"} <= {*WORDS}
    assert {"lora.rank", "perDeviceBatchSize", "virtualTokens.count"} <= {*INTEGERS}
    # They decide which rows are measured, or how a run is carried out.
    assert not {"seed", "evalEverySteps", "dataloaderWorkers", "lora.targetModules"} & {*SEARCHABLE}


@pytest.mark.parametrize("path", SEARCHABLE)
def test_each_field_that_can_be_searched_can_be_set(path: str) -> None:
    field = SEARCHABLE[path]
    kinds = {"full": "full", "lora": "lora", "quantization": "qlora", "adapter": "adapter"}
    kind = kinds.get(path.partition(".")[0], "prefix" if "virtual" in path else "lora")
    value: float | str = field.words[-1] if field.words else 8.0
    if not field.words and field.misses(8.0):
        value = 1e-5 if path.endswith("LearningRate") else 0.25
    tuning = searching({"lora.rank": RANKS}, method={"type": kind})
    found = applied(tuning, {path: value})
    got: Any = found.to_json()
    for part in field.place:
        got = got[part]
    assert str(got).lower() in (str(value).lower(), str(int(value)) if value == 8.0 else "")
    assert found.search is None


def test_what_the_type_does_not_have_is_left_out() -> None:
    settings = {"method.type": "ia3", "lora.rank": 8, "learningRate": 0.01}
    tuning = searching({"lora.rank": RANKS, "method.type": TYPES}, method={"lora": {"alpha": 4}})
    assert active(tuning, settings).keys() == {"method.type", "learningRate"}
    found = applied(tuning, settings)
    assert (found.method.type, found.method.lora.alpha) == ("ia3", 32)
    assert applied(tuning, settings | {"method.type": "lora"}).method.lora.rank == 8


def test_epochs_stand_instead_of_steps() -> None:
    found = applied(searching({"epochs": {"type": "float", "low": 1, "high": 3}}), {"epochs": 1.5})
    assert (found.training.epochs, found.training.max_steps) == (1.5, None)


def test_how_many_trials_there_are() -> None:
    grid = {"lora.rank": RANKS, "method.type": TYPES}
    assert combinations(_search(searching(grid))) == 16
    assert trials_of(_search(searching(grid, {"strategy": "grid"}))) == 16
    assert trials_of(_search(searching(grid, {"strategy": "grid", "trials": 5}))) == 5
    assert trials_of(_search(searching(grid))) == 10
    assert workers_of(_search(searching(grid, {"trials": 3, "parallelism": 8}))) == 3


def _search(tuning: FineTuning) -> Any:
    return tuning.search


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "above the field's bounds": (
        {"lora.rank": {"type": "int", "low": 8, "high": 4096}},
        {},
        "search.space[lora.rank]",
        "4096 is more than 1024",
    ),
    "at a bound that is left out": (
        {"warmupRatio": {"type": "float", "low": 0, "high": 1}},
        {},
        "search.space[warmupRatio]",
        "1 isn't below 1",
    ),
    "between whole numbers": (
        {"perDeviceBatchSize": {"type": "choice", "values": [8, 12.5]}},
        {},
        "search.space[perDeviceBatchSize]",
        "12.5 is no whole number",
    ),
    "half a step": (
        {"lora.rank": {"type": "int", "low": 8, "high": 64, "step": 0.5}},
        {},
        "search.space[lora.rank]",
        "8.5 is no whole number",
    ),
    "an unknown choice": (
        {"scheduler": {"type": "choice", "names": ["cosine", "sine"]}},
        {},
        "search.space[scheduler]",
        "sine is no choice here: use linear",
    ),
    "a rank of ia3": (
        {"lora.rank": RANKS},
        {"method": {"type": "ia3"}},
        "search.space[lora.rank]",
        "for the types lora and qlora",
    ),
    "ranks where only ia3 is searched": (
        {"lora.rank": RANKS, "method.type": {"type": "choice", "names": ["ia3"]}},
        {},
        "search.space[lora.rank]",
        "search method.type with one of them",
    ),
    "a merge of what can't be merged": (
        {"method.type": {"type": "choice", "names": ["lora", "prefix"]}},
        {"method": {"merge": True}},
        "search.space",
        "only lora, qlora and ia3 can be merged (with method.type prefix)",
    ),
    "a refused optimiser": (
        {"optimizer": {"type": "choice", "names": ["adamw_torch", "lomo"]}},
        {},
        "search.space",
        "the optimiser lomo can't be used",
    ),
    "a scheduler without its setting": (
        {"scheduler": {"type": "choice", "names": ["cosine", "warmup_stable_decay"]}},
        {},
        "search.space",
        "warmup_stable_decay needs schedulerOptions.decayRatio",
    ),
    "a warm-up that constant hasn't": (
        {
            "scheduler": {"type": "choice", "names": ["constant", "cosine"]},
            "warmupRatio": {"type": "float", "low": 0, "high": 0.2},
        },
        {},
        "search.space",
        "the scheduler constant has no warm-up",
    ),
    "patience without evaluations": (
        {"earlyStopping.patience": {"type": "int", "low": 1, "high": 3}},
        {},
        "search.space",
        "earlyStopping watches the evaluations",
    ),
    "too large a grid": (
        {path: {"type": "int", "low": 1, "high": 1000} for path in ("lora.rank", "maxLength")}
        | {"maxLength": {"type": "int", "low": 8, "high": 1000}},
        {"search": {"strategy": "grid"}},
        "search.strategy",
        "more than 100,000 combinations",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_space_is_told_with_field_and_remedy(name: str) -> None:
    space, parts, field, words = WRONG[name]
    parts = dict(parts)
    found = problem(searching(space, parts.pop("search", None), **parts))
    assert found is not None
    assert found[0] == field
    assert words in found[1]


def test_the_example_of_the_documentation_is_right() -> None:
    space = {
        "learningRate": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True},
        "lora.rank": RANKS,
        "perDeviceBatchSize": {"type": "choice", "values": [8, 16, 32]},
        "method.type": TYPES,
    }
    assert problem(searching(space)) is None
    assert problem(part_of(FineTuneJobSpec.model_validate(SPEC), FineTuning)) is None
