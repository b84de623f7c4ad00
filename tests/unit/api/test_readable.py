"""What one version can't read of another's document costs as little as can be."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.progress import ProgressReport
from luthier_api.readable import readable_part, readable_part_json
from luthier_api.result import OptimizeResult

REPORT: dict[str, Any] = {
    "run": {"namespace": "a", "name": "b", "uid": "u", "revision": "r1-a", "attempt": 1},
    "pod": "p",
    "sequence": 1,
    "progress": {"step": 3},
}
CONDITION = {"type": "Ready", "status": "True", "reason": "A", "lastTransitionTime": "t"}


def sparse(document: dict[str, Any]) -> dict[str, Any]:
    return readable_part_json(ProgressReport, json.dumps(document)).to_json(sparse=True)


@pytest.mark.parametrize(
    ("more", "left"),
    [
        ({"candidates": [{"precision": "int8", "verdict": "Later"}]}, [{"precision": "int8"}]),
        ({"candidates": [{"precision": 8}, {"precision": "int8"}]}, [{"precision": "int8"}]),
        ({"candidates": "none"}, None),
        ({"candidates": [{"precision": "int8", "sizeBytes": -1}]}, [{"precision": "int8"}]),
    ],
    ids=["choice", "item", "list", "bound"],
)
def test_the_smallest_part_goes(more: dict[str, Any], left: Any) -> None:
    assert sparse(REPORT | more) == REPORT | ({"candidates": left} if left else {})


def test_of_a_map_the_entry_goes() -> None:
    told = {"tuned": {"f1": 0.5, "loss": "low"}, "change": {"f1": {"by": 1}, "loss": {"low": 1}}}
    left = {"tuned": {"f1": 0.5}, "change": {"f1": {"by": 1.0}}}
    assert sparse(REPORT | {"evaluation": told}) == REPORT | {"evaluation": left}


@pytest.mark.parametrize(
    "more",
    [
        {"sequence": "first"},
        {"run": REPORT["run"] | {"kind": "Later"}},
        {"progress": {"step": "third"}},  # without it, step 0 would be told
        {"usage": {"cpuSeconds": -1}},
    ],
    ids=["required", "identity", "a number by default", "an object by default"],
)
def test_nothing_is_made_up_in_its_place(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sparse(REPORT | more)


def test_a_condition_goes_alone() -> None:
    odd = CONDITION | {"type": "Odd", "status": "Perhaps"}
    status = {"conditions": [odd, CONDITION], "attempt": "first", "progress": {"step": "x"}}
    read = readable_part(FineTuneJobStatus, status)
    assert [it.type for it in read.conditions] == ["Ready"]
    assert (read.attempt, read.progress) == (None, None)


def test_what_is_read_stays_as_it_was() -> None:
    status = {"conditions": [CONDITION | {"status": "Perhaps"}], "history": [{"outcome": "?"}]}
    before = json.dumps(status)
    readable_part(FineTuneJobStatus, status)
    assert json.dumps(status) == before


def test_an_end_that_is_unknown_is_none() -> None:
    end = {"revision": "r1-a", "attempt": 1, "outcome": "Postponed"}
    with pytest.raises(ValidationError, match="outcome"):
        readable_part(OptimizeResult, end)


def test_a_long_list_of_wrong_items_takes_no_long_time() -> None:
    wrong = [{"precision": 1}] * 5_000
    assert sparse(REPORT | {"candidates": wrong}) == REPORT
