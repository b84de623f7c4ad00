"""What can't heal fails within seconds of the pod's start, says why and where, and only once.

All of it is applied together; each test judges its own.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.runs import Json, Run, deep_merge, eventually
from e2e.specs import TINY
from e2e.tenants import namespace_for

from luthier_cluster import Cluster

WRONG: dict[str, tuple[Json, str, list[str]]] = {
    # name: (what differs, reason, words of the message)
    "missing-bucket": ({"dataset": {"uri": "s3://nowhere/rows"}}, "BucketNotFound", ["nowhere"]),
    "missing-model": (
        {"model": {"uri": "s3://models/nothing"}},
        "ModelNotFound",
        ["models/nothing"],
    ),
    "unknown-column": (
        {"dataset": {"template": "{glos}\nCategory: {label}"}},
        "UnknownTemplateField",
        ["glos", "gloss", "label"],
    ),
    "broken-json": (
        {
            "dataset": {
                "uri": "s3://datasets/broken/train.jsonl",
                "train": "train[:-1]",
                "test": "train[-1:]",
            }
        },
        "MalformedRow",
        ["train.jsonl", "3"],
    ),
    "empty-dataset": (
        {
            "dataset": {
                "uri": "s3://datasets/broken/empty.jsonl",
                "test": None,
                "evalFraction": 0.1,
            }
        },
        "EmptyDataset",
        ["empty.jsonl"],
    ),
    "label-without-examples": (
        {"dataset": {"uri": "s3://datasets/broken/labels", "test": "test"}},
        "LabelWithoutExamples",
        ["mineral"],
    ),
}
OF_THE_DATA = {
    "missing-bucket",
    "unknown-column",
    "broken-json",
    "empty-dataset",
    "label-without-examples",
}

GOOD_ROWS = [
    {"gloss": f"a kind of {kind} number {i}", "label": kind}
    for i in range(20)
    for kind in ("animal", "plant")
]


BRIEF: Json = {"training": {"maxSteps": 20}}
# name → pool, reason
HOMELESS = {"not-there": ("gpu", "PoolNotFound"), "not-allowed": ("reserved", "PoolNotAllowed")}
OTHERS: dict[str, Json] = {
    "denied": {"storage": {"secretName": "wrong"}},
    "waiting": {"storage": {"secretName": "later"}, **BRIEF},
    **{name: {"placement": {"pool": pool}, **BRIEF} for name, (pool, _) in HOMELESS.items()},
}


def put_broken_data(s3: Any) -> None:
    lines = [json.dumps(row) for row in GOOD_ROWS]
    files = {
        "broken/train.jsonl": "\n".join([*lines[:2], '{"gloss": "half a row', *lines[2:]]),
        "broken/empty.jsonl": "",
        "broken/labels/train.jsonl": "\n".join(lines),
        "broken/labels/test.jsonl": json.dumps({"gloss": "a stone", "label": "mineral"}),
    }
    for key, body in files.items():
        s3.put_object(Bucket="datasets", Key=key, Body=body.encode())


@pytest.fixture(scope="module")
def runs(luthier: Cluster, s3: Any) -> Iterator[dict[str, Run]]:
    """All of them in one namespace."""
    put_broken_data(s3)
    cases = {name: changes for name, (changes, _, _) in WRONG.items()} | OTHERS
    with namespace_for(luthier, "bad-data") as namespace:
        spec = deep_merge(TINY, {"dataset": {"train": None}})
        found = {name: Run(luthier, namespace, name, s3, spec) for name in cases}
        found["denied"].kubectl(
            "create", "secret", "generic", "wrong", "--from-literal=AWS_ACCESS_KEY_ID=nobody",
            "--from-literal=AWS_SECRET_ACCESS_KEY=guess-me-not",
        )  # fmt: skip
        for name, run in found.items():
            run.apply(cases[name])
        yield found


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_heal_fails_at_once(runs: dict[str, Run], case: str) -> None:
    _, reason, words = WRONG[case]
    run = runs[case]
    failed = run.wait("Failed", within=120)
    assert failed["reason"] == reason, run.story()
    for word in words:
        assert word in failed["message"], failed["message"]
    data = run.condition("DatasetValid")
    assert (data.get("status") == "False") == (case in OF_THE_DATA), data
    assert run.condition("Stalled")["status"] == "True"
    assert len(run.pods()) == 1, "no restarts"


def test_wrong_credentials(runs: dict[str, Run]) -> None:
    run = runs["denied"]
    failed = run.wait("Failed", within=120)
    assert failed["reason"] == "StorageDenied"
    assert "guess-me-not" not in run.story()


def test_a_missing_secret_is_explained_and_heals(runs: dict[str, Run]) -> None:
    run = runs["waiting"]
    eventually(
        "it says which secret it waits for",
        lambda: "later" in run.condition("Scheduled").get("message", ""),
        within=60,
    )
    assert run.condition("Scheduled")["status"] == "False"
    found = json.loads(run.kubectl("get", "secret", "luthier-s3", "-o", "json"))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}}
    run.kubectl("apply", "-f", "-", input=json.dumps({**secret, "data": found["data"]}))
    run.wait("Ready", within=300)


@pytest.mark.parametrize("name", HOMELESS)
def test_a_pool_that_is_not_there_or_not_allowed(runs: dict[str, Run], name: str) -> None:
    run, (pool, reason) = runs[name], HOMELESS[name]
    stalled = run.wait("Stalled", within=60)
    assert stalled["reason"] == reason
    assert pool in stalled["message"]
    assert "cpu" in stalled["message"], "the pools that there are"
    assert not run.jobs()
    run.apply({"placement": {"pool": "cpu"}, **BRIEF})
    run.wait("Ready", within=300)
