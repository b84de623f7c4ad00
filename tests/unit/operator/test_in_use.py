"""The last published result stays in use, for every kind alike, while the next is made or fails."""

from datetime import timedelta
from typing import Any

import pytest
from unit.operator.builders import (
    NOW,
    ended,
    fine_tune_job,
    job_of,
    message,
    observed,
    pod_of,
    reasons,
    resource,
    result,
    spec,
    stored,
)

from luthier_api.finetunejob import FineTuneJobStatus
from luthier_api.revision import revision_name, shape_hash
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.observe import Observed
from luthier_operator.finetunejob.status import compute
from luthier_operator.resources import Obj
from luthier_operator.run import scheduling
from luthier_operator.run.model import Revision
from luthier_operator.run.sources import Awaited, Taken, source_of_job
from luthier_operator.run.status import in_use_of

SHAPE = shape_hash(spec(), spec().output.uri)
FIRST = Revision(revision_name(1, SHAPE), 1, SHAPE)
EDITED: Obj = {"training": {"maxSteps": 7}}


def status(seen: Observed) -> FineTuneJobStatus:
    return compute(seen, decide(seen))


def artifact(revision: Revision) -> Obj:
    return {
        "uri": f"s3://artifacts/models/team/tone/{revision.name}",
        "manifestSha256": "0" * 64,
    }


def published() -> FineTuneJobStatus:
    job = job_of(FIRST, end="Complete")
    told = result(FIRST, artifact=artifact(FIRST))
    pod = pod_of(job, phase="Succeeded", state=ended(0, told))
    return status(observed(jobs=[job], pods=[pod]))


def edited(before: FineTuneJobStatus, **fields: Any) -> Obj:
    return resource(generation=2, status=before.to_json(), **(EDITED | fields))


def test_what_is_published_is_in_use() -> None:
    done = published()
    assert done.in_use is not None
    assert (done.in_use.uri, done.in_use.revision) == (artifact(FIRST)["uri"], FIRST.name)
    assert reasons(done)["Ready"] == "True Published"


def test_it_stays_while_the_next_is_made() -> None:
    done = published()
    now = status(observed(edited(done)))
    assert now.revision != FIRST.name
    assert now.artifact is None
    assert now.in_use == done.in_use
    assert reasons(now)["Ready"] == "True Updating"
    assert message(now, "Ready").startswith(f"{artifact(FIRST)['uri']} stays in use.")


def test_it_stays_when_the_next_fails() -> None:
    done = published()
    plan = decide(observed(edited(done)))
    assert plan.revision is not None
    job = stored(plan.created[-1], plan.revision, end="Failed", reason="PodFailurePolicy")
    pod = pod_of(job, phase="Failed", state=ended(65, result(plan.revision, outcome="Failed")))
    failed = status(observed(edited(done), jobs=[job], pods=[pod]))
    assert failed.phase == "Failed"
    assert failed.in_use == done.in_use
    assert reasons(failed)["Ready"] == "True UpdateFailed"
    assert reasons(failed)["Stalled"].startswith("True")
    # And a spec that can't be read takes nothing away, either.
    bad = observed(edited(failed, training={"maxSteps": "many"}))
    assert status(bad).in_use == done.in_use
    assert reasons(status(bad))["Ready"] == "True UpdateFailed"


@pytest.mark.parametrize("end", ["Complete", "Failed"])
def test_a_corrected_spec_shows_the_end_of_its_run_again(end: str) -> None:
    before = published() if end == "Complete" else failed_at_first()
    unread = status(observed(resource(generation=2, status=before.to_json(), task="translation")))
    assert reasons(unread)["Stalled"] == "True InvalidSpec"
    again = status(observed(resource(generation=3, status=unread.to_json())))
    assert {"Ready", "Stalled", end} <= reasons(again).keys()
    assert reasons(again).items() <= reasons(before).items()
    assert message(again, "Ready") == message(before, "Ready")


def failed_at_first() -> FineTuneJobStatus:
    job = job_of(FIRST, end="Failed", reason="PodFailurePolicy")
    told = result(FIRST, outcome="Failed", error={"code": "NoData", "message": "no rows"})
    return status(observed(jobs=[job], pods=[pod_of(job, phase="Failed", state=ended(65, told))]))


def test_the_next_takes_its_place() -> None:
    done = published()
    plan = decide(observed(edited(done)))
    assert plan.revision is not None
    job = stored(plan.created[-1], plan.revision, end="Complete")
    told = result(plan.revision, artifact=artifact(plan.revision))
    pod = pod_of(job, phase="Succeeded", state=ended(0, told))
    newer = status(observed(edited(done), jobs=[job], pods=[pod]))
    assert newer.in_use is not None
    assert newer.in_use.revision == plan.revision.name
    assert newer.history[0].artifact_uri == artifact(FIRST)["uri"]


def test_a_status_of_before_tells_it_by_its_artifact() -> None:
    old = published().model_copy(update={"in_use": None})
    known = in_use_of(old)
    assert known is not None
    assert known.revision == FIRST.name
    # It is written with the next status.
    assert status(observed(resource(status=old.to_json()))).in_use == known
    running = old.model_copy(update={"conditions": []})
    assert in_use_of(running) is None


def test_followers_take_what_is_in_use() -> None:
    job = fine_tune_job(published=1)
    in_use = job["status"].pop("artifact") | {"revision": "r1-00000001"}
    job["status"] |= {"revision": "r2-00000002", "conditions": [], "inUse": in_use}
    taken = source_of_job("team", "tone", job, None)
    assert isinstance(taken, Taken)
    assert taken.ref.revision == "r1-00000001"
    assert taken.outdated is not None
    assert not taken.kept
    assert isinstance(source_of_job("team", "tone", fine_tune_job(), None), Awaited)


@pytest.mark.parametrize(("seconds", "overdue"), [(-30, False), (30, False), (90, True)])
def test_a_pod_that_never_ends_is_told_with_its_node(seconds: int, overdue: bool) -> None:
    job = job_of(FIRST)
    pod = pod_of(job, node="gone")
    pod["metadata"]["deletionTimestamp"] = NOW.isoformat()
    seen = observed(jobs=[job], pods=[pod], now=NOW + timedelta(seconds=seconds))
    told = status(seen)
    assert reasons(told)["Scheduled"] == ("False PodTerminating" if overdue else "True Scheduled")
    # Nothing happens then that would have it looked at.
    again = scheduling.until_overdue(seen)
    assert again == (None if overdue else scheduling.TERMINATING_PATIENCE_SECONDS - seconds)
    if overdue:
        assert "kubectl taint nodes gone node.kubernetes.io/out-of-service" in message(
            told, "Scheduled"
        )
