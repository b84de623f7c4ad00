"""`luthier retrain`: what is refused, what comes of it, and what is shown of looks at the data."""

import json
from typing import Any

import pytest
from unit.cli.command import fine_tune_job, luthier
from unit.cli.statuses import complete, condition, failed, running
from unit.cli.test_watch import set_status, watching

from luthier_api.kinds import FINE_TUNE_JOB, OPTIMIZE_JOB
from luthier_cli import text
from luthier_cli.retrain import refusal, what_comes
from luthier_cli.state import outcome, retrain_pending
from luthier_cli.target import Target
from luthier_cluster import Cluster

TONE = Target(FINE_TUNE_JOB, "tone")
IN_USE = {"uri": "s3://a/b", "manifestSha256": "0" * 64, "revision": "r1-2319d176"}
LOOKED = {
    "outcome": "Changed",
    "rows": {"total": 100, "new": 5, "gone": 2},
    "lastProbe": "2026-01-02T03:04:05Z",
    "nextProbe": "2026-01-03T03:04:05Z",
}


def published(body: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return body | {"spec": spec, "status": {**body["status"], "inUse": IN_USE}}


def asked(body: dict[str, Any], token: str, served: str | None = None) -> dict[str, Any]:
    metadata = body["metadata"] | {"annotations": {"luthier.dev/retrain": token}}
    status = body["status"] | {"retrain": {"token": served} if served else {}}
    return body | {"metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("target", "body", "words", "remedy"),
    [
        (Target(OPTIMIZE_JOB, "tone"), complete(), "no data of its own", "retrain the FineTuneJob"),
        (TONE, running(), "published nothing yet", "luthier watch tone"),
        (TONE, failed(), "published nothing yet", "luthier retry tone"),
        (TONE, published(complete(), suspend=True), "is suspended", "spec.suspend"),
        (TONE, asked(published(complete()), "a"), "already", "luthier watch tone"),
        (
            TONE,
            published({**complete(), "status": {"conditions": [condition("Stalled", "True")]}}),
            "can't start: Because",
            "mend that",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(
    target: Target, body: dict[str, Any], words: str, remedy: str
) -> None:
    error = refusal(target, body)
    assert error is not None
    assert words in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (published(complete()), "has its data looked at, and is trained anew if it is other data"),
        (published(failed()), "has its data looked at, and"),
        (published(running()), "looked at when the run that goes on has ended"),
        (published(complete(), retrain={"minNewRows": 500}), "if at least 500 rows are new"),
        (published(complete(), retrain={"minNewFraction": 0.05}), "if at least 5.0% of the rows"),
        (published(complete(), retrain={"when": "Always"}), "is trained anew, whatever its data"),
    ],
)
def test_what_comes_of_it(body: dict[str, Any], words: str) -> None:
    assert refusal(TONE, body) is None
    assert words in what_comes(body)


@pytest.mark.parametrize(
    ("body", "pending"),
    [
        (published(complete()), False),
        (asked(published(complete()), "b"), True),
        (asked(published(complete()), "b", served="a"), True),
        (asked(published(complete()), "b", served="b"), False),
        (asked(complete(), "b"), False),  # nothing is published: nobody looks
        (asked(published(complete(), suspend=True), "b"), False),
    ],
)
def test_a_look_that_was_asked_for_is_no_end(body: dict[str, Any], pending: bool) -> None:
    assert retrain_pending(body) is pending
    assert (outcome(body) is None) is pending


def test_a_stalled_resource_waits_for_no_look() -> None:
    stalled = published({**complete(), "status": {"conditions": [condition("Stalled", "True")]}})
    assert outcome(asked(stalled, "b")) == "Failed"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, ""),
        (
            LOOKED,
            "data changed, 5 new, 2 gone (2026-01-02T03:04:05Z), next 2026-01-03T03:04:05Z",
        ),
        (
            {"outcome": "Failed", "message": "NoSuchBucket: data"},
            "the data can't be looked at, NoSuchBucket: data",
        ),
        ({"nextProbe": "2026-01-03T03:04:05Z"}, "next 2026-01-03T03:04:05Z"),
    ],
)
def test_in_words(status: dict[str, Any], words: str) -> None:
    assert text.retraining(status) == words


def test_asked_for_and_watched(control_plane: Cluster, namespace: str) -> None:
    manifest = json.dumps(fine_tune_job("tone", namespace))
    control_plane.kubectl("apply", "-f", "-", input=manifest)
    arguments = ("retrain", "tone", "-n", namespace)
    refused = luthier(*arguments, kubeconfig=control_plane.kubeconfig)
    assert (refused.returncode, "published nothing yet" in refused.stderr) == (2, True)
    body = published(complete())
    set_status(control_plane, namespace, body)
    done = luthier(*arguments, kubeconfig=control_plane.kubeconfig)
    assert (done.returncode, "has its data looked at" in done.stdout) == (0, True)
    path = r"jsonpath={.metadata.annotations.luthier\.dev/retrain}"
    token = control_plane.kubectl("get", "ftj/tone", "-n", namespace, "-o", path).stdout
    with watching(control_plane, namespace) as (process, lines):
        assert "Looking at the data" in next(lines)
        body["status"]["retrain"] = {**LOOKED, "outcome": "Unchanged", "token": token}
        body["status"]["retrain"].pop("rows")
        set_status(control_plane, namespace, body)
        assert "data unchanged (2026-01-02T03:04:05Z)" in "".join(lines)
        assert process.wait(10) == 0


def test_a_cluster_takes_what_validate_tells_of(control_plane: Cluster, namespace: str) -> None:
    asks = {"schedule": "0 0 31 2 *", "timeZone": "Europe/Vienna"}
    manifest = json.dumps(fine_tune_job("tone", namespace, spec__retrain=asks))
    control_plane.kubectl("apply", "--dry-run=server", "-f", "-", input=manifest)
    done = luthier("validate", "-", kubeconfig=control_plane.kubeconfig, stdin=manifest)
    assert done.returncode == 1
    assert "spec.retrain.schedule" in done.stdout
    assert "names no time that ever comes" in done.stdout
    assert "checked against the cluster" in done.stdout
