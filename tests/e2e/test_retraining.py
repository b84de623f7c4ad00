"""Data in S3 changes, and the next revision is trained on it; as long as it doesn't, nothing is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from e2e.runs import Json, Run, deep_merge, eventually
from e2e.specs import BASE, TEMPLATE, rows
from e2e.tenants import namespace_for
from unit.cli.command import luthier as command

from luthier_cluster import Cluster


@pytest.fixture(scope="module")
def run(luthier: Cluster, s3: Any) -> Iterator[Run]:
    """A FineTuneJob with data of its own, published."""
    with namespace_for(luthier, "retraining") as namespace:
        data = {"uri": f"s3://datasets/{namespace}/train.jsonl", **TEMPLATE["dataset"]}
        spec = deep_merge(BASE, {"task": "classification", "dataset": data})
        spec["retrain"] = {"schedule": "0 3 * * *", "timeZone": "Europe/Vienna", "minNewRows": 5}
        run = Run(luthier, namespace, "nightly", s3, spec)
        put(run, 40)
        run.apply()
        run.wait("Ready", within=400)
        yield run


def put(run: Run, count: int) -> None:
    body = "".join(json.dumps(row) + "\n" for row in rows(count)).encode()
    run.s3.put_object(Bucket="datasets", Key=f"{run.namespace}/train.jsonl", Body=body)


def retrain(run: Run, outcome: str) -> Json:
    """`luthier retrain`, and what the look found."""
    before = run.status.get("retrain", {}).get("token")
    done = command(
        "retrain", run.name, "-n", run.namespace, kubeconfig=run.cluster.kubeconfig, within=120
    )
    assert (done.returncode, "has its data looked at" in done.stdout) == (0, True), done.stderr

    def found() -> Json | None:
        record: Json = run.status.get("retrain", {})
        return record if record.get("token") not in (None, before) else None

    try:
        record = eventually(f"a look at the data of {run.name}", found, within=120)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.story()}") from None
    assert record["outcome"] == outcome, record
    return record


def seen(run: Run, uri: str) -> bool:
    """Whether a look had to read the rows."""
    return any(key.endswith("/data-seen.json") for key in run.objects(uri))


def test_data_is_looked_at_and_trained_on_when_it_has_changed(run: Run) -> None:
    first = run.status
    assert first["retrain"]["nextProbe"] > first["completionTime"]

    # The same again, written anew: S3 has the same ETag, and nothing is downloaded.
    put(run, 40)
    record = retrain(run, "Unchanged")
    assert record["datasetDigest"] == first["datasetDigest"]
    assert not seen(run, first["artifact"]["uri"])
    assert run.status["revision"] == first["revision"]

    # Three rows more are too few.
    put(run, 43)
    assert retrain(run, "TooFewNew")["rows"] == {"total": 43, "new": 3, "gone": 0}
    assert seen(run, first["artifact"]["uri"])
    assert run.status["revision"] == first["revision"]

    # What is in use stays, and is told of, while the next is made.
    put(run, 50)
    assert retrain(run, "Changed")["rows"] == {"total": 50, "new": 10, "gone": 0}
    assert run.status["inUse"]["uri"] == first["artifact"]["uri"]
    run.wait("Complete", within=400)
    second = run.status
    assert second["revision"] == first["revision"].replace("r1-", "r2-")
    assert second["inUse"]["revision"] == second["revision"]
    assert second["datasetDigest"] != first["datasetDigest"]
    facts = second["dataset"]
    assert facts["train"] + facts["eval"] == 50
    assert [it["revision"] for it in second["history"]] == [first["revision"]]
    # The Jobs of looks are gone; those of the two runs stay for their time.
    roles = [it["metadata"]["labels"]["luthier.dev/role"] for it in run.jobs()]
    assert roles == ["run", "run"]
