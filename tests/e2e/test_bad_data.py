"""What can't heal fails within seconds of the pod's start, says why and where, and only once."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e.runs import Json, Run

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


@pytest.fixture(scope="module", autouse=True)
def broken_data(s3: Any) -> None:
    lines = [json.dumps(row) for row in GOOD_ROWS]
    files = {
        "broken/train.jsonl": "\n".join([*lines[:2], '{"gloss": "half a row', *lines[2:]]),
        "broken/empty.jsonl": "",
        "broken/labels/train.jsonl": "\n".join(lines),
        "broken/labels/test.jsonl": json.dumps({"gloss": "a stone", "label": "mineral"}),
    }
    for key, body in files.items():
        s3.put_object(Bucket="datasets", Key=key, Body=body.encode())


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_heal_fails_at_once(tiny_run: Callable[[str], Run], case: str) -> None:
    changes, reason, words = WRONG[case]
    run = tiny_run(case)
    run.apply(changes)
    failed = run.wait("Failed", within=60)
    assert failed["reason"] == reason, run.story()
    for word in words:
        assert word in failed["message"], failed["message"]
    data = run.condition("DatasetValid")
    assert (data.get("status") == "False") == (case in OF_THE_DATA), data
    assert run.condition("Stalled")["status"] == "True"
    assert len(run.pods()) == 1, "no restarts"


def test_wrong_credentials(tiny_run: Callable[[str], Run]) -> None:
    run = tiny_run("denied")
    run.kubectl(
        "create", "secret", "generic", "wrong", "--from-literal=AWS_ACCESS_KEY_ID=nobody",
        "--from-literal=AWS_SECRET_ACCESS_KEY=guess-me-not",
    )  # fmt: skip
    run.apply({"storage": {"secretName": "wrong"}})
    failed = run.wait("Failed", within=60)
    assert failed["reason"] == "StorageDenied"
    assert "guess-me-not" not in run.story()


def test_a_missing_secret_is_explained_and_heals(tiny_run: Callable[[str], Run]) -> None:
    run = tiny_run("waiting")
    run.apply({"storage": {"secretName": "later"}, "training": {"maxSteps": 20}})
    waiting = run.wait("Scheduled", status="False", within=60)
    assert "later" in waiting["message"]
    found = json.loads(run.kubectl("get", "secret", "luthier-s3", "-o", "json"))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}}
    run.kubectl("apply", "-f", "-", input=json.dumps({**secret, "data": found["data"]}))
    run.wait("Ready", within=180)


def test_unreachable_storage_ends_the_run_after_the_pools_patience(
    luthier: Any, tiny_run: Callable[[str], Run]
) -> None:
    run = tiny_run("unreachable")
    luthier.stop("s3")
    try:
        run.apply({"placement": {"pool": "impatient"}})
        failed = run.wait("Failed", within=120)
    finally:
        luthier.start("s3")
    assert failed["reason"] == "StorageUnavailable"


@pytest.mark.parametrize(
    ("pool", "reason"), [("gpu", "PoolNotFound"), ("reserved", "PoolNotAllowed")]
)
def test_a_pool_that_is_not_there_or_not_allowed(
    tiny_run: Callable[[str], Run], pool: str, reason: str
) -> None:
    run = tiny_run("homeless")
    run.apply({"placement": {"pool": pool}})
    stalled = run.wait("Stalled", within=30)
    assert stalled["reason"] == reason
    assert pool in stalled["message"]
    assert "cpu" in stalled["message"], "the pools that there are"
    assert not run.jobs()
    run.apply({"placement": {"pool": "cpu"}, "training": {"maxSteps": 20}})
    run.wait("Ready", within=180)
