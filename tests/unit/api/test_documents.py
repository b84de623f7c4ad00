"""The documents that operator and trainer exchange survive their JSON."""

from typing import get_args

import pytest
from pydantic import ValidationError

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.kinds import FINE_TUNE_JOB, KINDS, OPTIMIZE_JOB
from luthier_api.progress import ProgressReport
from luthier_api.revision import shape_hash
from luthier_api.runspec import ProgressTarget, RunIdentity, RunSpec, S3Access, shapes_result
from luthier_api.runstatus import Restarts

IDENTITY = RunIdentity(
    namespace="team-a", name="tone", uid="1c6b", revision="r1-5f2c1e9a", attempt=1
)
TUNING = FineTuning.model_validate(
    {
        "model": {"uri": "s3://models/smollm2"},
        "task": "classification",
        "dataset": {
            "uri": "s3://datasets/a.jsonl",
            "template": "{{x}} {phrase}\n$(HOME) {tone}",
            "evalFraction": 0.1,
        },
        "training": {"maxSteps": 100, "learningRate": 1e-6},
    }
)


def test_a_run_spec_comes_back_as_it_was() -> None:
    spec = RunSpec(
        run=IDENTITY,
        fine_tuning=TUNING,
        shape_hash=shape_hash(TUNING, "s3://artifacts"),
        output="s3://artifacts/team-a/tone/r1-5f2c1e9a",
        storage=S3Access(endpoint="http://s3:8333"),
        progress=ProgressTarget(url="http://luthier:8080"),
    )
    read = RunSpec.model_validate_json(spec.model_dump_json(by_alias=True, exclude_none=True))
    assert read == spec
    assert shape_hash(read.fine_tuning, "s3://artifacts") == spec.shape_hash


def test_a_report_comes_back_as_it_was() -> None:
    report = ProgressReport.model_validate(
        {"run": IDENTITY.to_json(), "pod": "tone-1", "sequence": 3, "progress": {"step": 4}}
    )
    assert ProgressReport.model_validate(report.to_json()) == report


def test_the_spec_of_a_resource_holds_the_tuning_of_its_run() -> None:
    spec = FineTuneJobSpec.model_validate(
        TUNING.to_json() | {"output": {"uri": "s3://artifacts/models"}}
    )
    tuning = FineTuning.model_validate(
        spec.model_dump(by_alias=True, include=set(FineTuning.model_fields))
    )
    assert tuning == TUNING


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ValidationError, match=r"training\.lr"):
        FineTuning.model_validate(TUNING.to_json() | {"training": {"maxSteps": 1, "lr": 0.1}})


def test_restarts_are_summed_where_nobody_did() -> None:
    assert Restarts(failures=1, disruptions=2).to_json()["total"] == 3
    assert Restarts.model_validate({"failures": 1, "disruptions": 2, "total": 3}).total == 3


def test_a_run_is_of_a_kind_of_the_registry() -> None:
    assert get_args(RunIdentity.model_fields["kind"].annotation) == tuple(KINDS)
    for kind in KINDS:
        assert RunIdentity(**dict(IDENTITY) | {"kind": kind}).kind == kind
    with pytest.raises(ValidationError, match=f"'{FINE_TUNE_JOB.name}', '{OPTIMIZE_JOB.name}'"):
        RunIdentity(**dict(IDENTITY) | {"kind": "TrainJob"})


def test_the_parts_of_an_order_that_say_what_is_made() -> None:
    fields = {
        field.alias or name
        for kind in KINDS.values()
        for name, field in kind.order_model().model_fields.items()
    }
    shaping = {field for field in fields if shapes_result(field)}
    assert shaping == {"fineTuning", "startFrom", "optimizing", "bundling", "source", "adapters"}
