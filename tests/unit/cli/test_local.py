"""A manifest as a run on this machine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from contract.manifests import FINE_TUNE_JOB, changed

from luthier_api.finetunejob import CheckpointRef, FineTuneJobSpec, Progress
from luthier_api.progress import ProgressReport
from luthier_api.result import RunError, RunResult
from luthier_api.revision import shape_hash
from luthier_api.runspec import RunSpec, S3Access
from luthier_cli import local
from luthier_cli.state import cause, outcome

NOW = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
PLACE = local.Place(
    output="file:///out",
    owner="local",
    cache_dir="/cache",
    scratch_dir="/scratch",
    storage=S3Access(),
    receiver="http://127.0.0.1:1",
    token_file="/token",
)


def build(place: local.Place = PLACE, **spec: object) -> RunSpec:
    changes = {f"spec.{path.replace('__', '.')}": value for path, value in spec.items()}
    parsed = FineTuneJobSpec.model_validate(changed(FINE_TUNE_JOB, changes)["spec"])
    return local.build_run_spec(parsed, parsed.output.uri, "team-a", "tone", place)


def test_the_revision_is_the_one_that_a_cluster_would_give() -> None:
    spec = FineTuneJobSpec.model_validate(FINE_TUNE_JOB["spec"])
    run_spec = build()
    assert run_spec.shape_hash == shape_hash(spec, "s3://artifacts/models")
    assert run_spec.run.revision == f"r1-{run_spec.shape_hash[:8]}"
    assert run_spec.output == f"file:///out/team-a/tone/{run_spec.run.revision}"


def test_a_second_start_is_the_same_run_and_another_place_another() -> None:
    first = build().run
    assert build(replace(PLACE, receiver="http://127.0.0.1:2", scratch_dir="/b")).run == first
    assert build(replace(PLACE, output="s3://bucket/x")).run.uid != first.uid
    assert build(replace(PLACE, owner="someone@else")).run.uid != first.uid
    assert build(training__maxSteps=5).run.revision != first.revision


def test_changed_code_is_another_revision() -> None:
    spec = FineTuneJobSpec.model_validate(FINE_TUNE_JOB["spec"])

    def revision(**keys: bytes) -> str:
        config_maps = {"code": keys} if keys else None
        place = ("s3://artifacts/models", "team-a", "tone", PLACE)
        return local.build_run_spec(spec, *place, config_maps).run.revision

    assert revision(a=b"1", b=b"2") == revision(b=b"2", a=b"1")
    assert len({revision(), revision(a=b"1"), revision(a=b"2"), revision(b=b"1")}) == 4


def test_defaults_that_were_not_set_stay_out_of_the_hash() -> None:
    assert build(training__learningRate=2e-4).shape_hash == build().shape_hash


def report(**values: object) -> ProgressReport:
    progress = Progress(stage="Training", step=4, total_steps=10)
    return ProgressReport.model_validate(
        {"run": build().run, "pod": "here", "sequence": 1, "progress": progress, **values}
    )


def test_a_run_that_goes_on() -> None:
    body = local.running(build().run, NOW, report(eta_seconds=60, resumed_from_step=3), NOW)
    status = body["status"]
    assert status["phase"] == "Running"
    assert status["progress"]["estimatedFinish"] == (NOW + timedelta(minutes=1)).isoformat()
    assert [c["message"] for c in status["conditions"]] == ["from the checkpoint of step 3"]
    assert outcome(body) is None


def test_before_the_first_report() -> None:
    assert local.running(build().run, NOW, None, NOW)["status"]["phase"] == "Starting"


@pytest.mark.parametrize(
    ("result", "ended", "words"),
    [
        (RunResult(revision="r1-a", attempt=1, outcome="Succeeded"), "Complete", "published"),
        (
            RunResult(
                revision="r1-a",
                attempt=1,
                outcome="Failed",
                error=RunError(code="BadRow", message="line 3", param="dataset.uri"),
            ),
            "Failed",
            "line 3 [spec.dataset.uri]",
        ),
        (
            RunResult(
                revision="r1-a",
                attempt=1,
                outcome="Interrupted",
                checkpoints=[CheckpointRef(step=4, uri="file:///x", sha256="0")],
            ),
            None,
            "",
        ),
    ],
)
def test_a_run_that_has_ended(result: RunResult, ended: str | None, words: str) -> None:
    body = local.ended(build().run, NOW, NOW + timedelta(seconds=9), result)
    assert outcome(body) == ended
    assert words in cause(body)[1]
    assert len(body["status"].get("checkpoints", [])) == len(result.checkpoints)
