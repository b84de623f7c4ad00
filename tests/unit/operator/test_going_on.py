"""A FineTuneJob that goes on from another one's result: it waits for it, and follows it."""

import json
from typing import Any

import pytest
from unit.operator.builders import (
    SPEC,
    around,
    ended,
    fine_tune_job,
    job_of,
    message,
    pod_of,
    reasons,
    resource,
    result,
)

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.runspec import RUNSPEC_ANNOTATION, RunSpec
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.observe import Observed, observe
from luthier_operator.finetunejob.status import compute

Obj = dict[str, Any]
OTHER = {"model": {**SPEC["model"], "adapter": {"fineTuneJobRef": {"name": "other"}}}}


def seen(obj: Obj | None = None, source: Obj | None = None, **children: Any) -> Observed:
    found = [source] if source else []
    return observe(obj or resource(**OTHER), around(fine_tune_jobs=found, **children))


def status(observed: Observed) -> FineTuneJobStatus:
    return compute(observed, decide(observed))


def order_of(observed: Observed) -> RunSpec:
    template = decide(observed).created[-1]["spec"]["template"]
    return RunSpec.model_validate(
        json.loads(template["metadata"]["annotations"][RUNSPEC_ANNOTATION])
    )


@pytest.mark.parametrize(
    ("source", "reason", "stalled"),
    [
        (None, "SourceNotFound", False),
        (fine_tune_job("other"), "SourceNotReady", False),
        (fine_tune_job("other", state="Failed"), "SourceFailed", True),
    ],
)
def test_nothing_is_trained_before_the_result_is_there(
    source: Obj | None, reason: str, stalled: bool
) -> None:
    observed = seen(source=source)
    assert not decide(observed).created
    held = reasons(status(observed))
    assert held["SourceReady"] == held["Ready"] == f"False {reason}"
    assert held["Stalled"] == (f"True {reason}" if stalled else "False Progressing")


def test_it_cannot_go_on_from_itself() -> None:
    own = {"model": {**SPEC["model"], "adapter": {"fineTuneJobRef": {"name": "tone"}}}}
    held = status(seen(resource(**own), fine_tune_job("tone", published=1)))
    assert reasons(held)["Stalled"] == "True SourceIsItself"
    assert "names this FineTuneJob itself" in message(held, "Stalled")


def test_the_order_names_the_result_in_use() -> None:
    observed = seen(source=fine_tune_job("other", published=3))
    start = order_of(observed).start_from
    assert start
    assert start.uri == "s3://artifacts/models/team/other/r3-00000003"
    assert (start.revision, start.manifest_sha256) == ("r3-00000003", f"{3:064}")
    told = status(observed)
    assert told.source == start
    assert reasons(told)["SourceReady"] == "True Published"
    # Without a reference there is neither.
    plain = observe(resource(), around())
    assert order_of(plain).start_from is None
    assert "SourceReady" not in reasons(status(plain))


def test_a_newer_result_opens_a_revision_once_the_run_has_ended() -> None:
    first, third = (fine_tune_job("other", published=number) for number in (1, 3))
    revision = decide(seen(source=first)).revision
    assert revision
    running = status(seen(source=first, jobs=[job_of(revision)]))
    going = seen(resource(**OTHER, status=running.to_json()), third, jobs=[job_of(revision)])
    assert decide(going).revision == revision
    assert status(going).source == running.source

    job = job_of(revision, end="Complete")
    uri = f"s3://artifacts/models/team/tone/{revision.name}"
    said = result(revision, artifact={"uri": uri, "manifestSha256": "e" * 64})
    pod = pod_of(job, phase="Succeeded", state=ended(0, said))
    held = seen(resource(**OTHER, status=running.to_json()), first, jobs=[job], pods=[pod])
    done = status(held)
    assert done.phase == "Complete"
    newer = decide(seen(resource(**OTHER, status=done.to_json()), third))
    assert newer.revision
    assert newer.revision.name.startswith("r2-")
    assert decide(seen(resource(**OTHER, status=done.to_json()), first)).revision == revision
