"""A result that was made before is found again; what a deleted namesake made stays its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, colour_rows, folder_of, write_jsonl

from luthier_api.result import ExitCode, RunResult
from luthier_api.revision import revision_name
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run

Make = Callable[..., RunSpec]
_SHAPE = "ab" * 32


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "train.jsonl"
    write_jsonl(path, colour_rows(12))
    return path


@pytest.fixture
def make(make_spec: MakeSpec, data: Path, tmp_path: Path) -> Make:
    """make(number, uid="uid-1"): the order of that revision; they all have the same shape."""

    def make(number: int, uid: str = "uid-1", shape: str = _SHAPE, **fields: Any) -> RunSpec:
        revision = revision_name(number, shape)
        spec = make_spec(
            output=f"file://{tmp_path}/out/team-a/colours/{revision}",
            run={"revision": revision, "uid": uid},
            dataset={"uri": f"file://{data}", "test": None},
            training={"maxSteps": 1},
            metrics=["loss"],
            **fields,
        )
        return spec.model_copy(update={"shape_hash": shape})

    return make


@pytest.fixture
def first(make: Make) -> RunResult:
    """The result of revision 1."""
    return Run(make(1)).execute()


def test_a_later_revision_made_from_the_same_ends_with_the_earlier_ones_result(
    make: Make, first: RunResult
) -> None:
    order = make(3, comes_into_use="Always")
    found = Run(order).execute()
    assert found.artifact == first.artifact
    assert found.usage is None  # told by the run that made it: else it would be charged twice
    assert (found.revision, found.outcome) == (order.run.revision, "Succeeded")
    assert found.dataset_digest == first.dataset_digest
    assert not folder_of(order).exists()
    told = json.loads((folder_of(order).parent / "in-use.json").read_text())
    assert first.artifact
    assert (told["revision"], told["uri"]) == (order.run.revision, first.artifact.uri)
    assert told["manifestSha256"] == first.artifact.manifest_sha256


def test_a_rerun_other_data_and_another_shape_find_nothing(
    make: Make, first: RunResult, data: Path
) -> None:
    anew = Run(make(2, anew=True)).execute()
    assert anew.artifact != first.artifact
    assert Run(make(3)).execute().artifact == anew.artifact  # the newest
    other = Run(make(4, shape=f"{_SHAPE[:8]}{'0' * 56}")).execute()  # as its name is, but no more
    assert other.artifact
    assert other.artifact.uri == make(4).output
    write_jsonl(data, colour_rows(15))
    changed = Run(make(5)).execute()
    assert changed.artifact
    assert changed.artifact.uri == make(5).output


def test_what_anothers_claim_says_or_nobody_can_read_is_passed_over(
    make: Make, first: RunResult
) -> None:
    place = folder_of(make(1))
    claim = json.loads((place / "claim.json").read_text())
    (place / "claim.json").write_text(json.dumps({**claim, "name": "other"}))
    unreadable = folder_of(make(2))
    unreadable.mkdir()
    (unreadable / "claim.json").write_text("no JSON")
    found = Run(make(3)).execute()
    assert found.artifact
    assert found.artifact.uri == make(3).output


def test_a_resource_that_is_created_again_leaves_what_its_namesake_made_of_other_data(
    make: Make, first: RunResult, data: Path
) -> None:
    folder_of(make(7)).mkdir(parents=True)
    write_jsonl(data, colour_rows(15))
    run = Run(make(1, uid="uid-2"))
    with pytest.raises(TrainerError) as caught:
        run.execute()
    failure = caught.value
    assert (failure.error.code, failure.exit_code) == ("RevisionTaken", ExitCode.OUTPUT_CLAIMED)
    assert run.result("Failed", failure).newest_revision == 7
    # The living resource is told of its data, as ever.
    (folder_of(make(1)) / "manifest.json").unlink()
    with pytest.raises(TrainerError, match="DatasetChanged"):
        Run(make(1)).execute()


def test_a_resource_that_is_created_again_finds_the_newest_result_of_todays_data(
    make: Make, first: RunResult, data: Path
) -> None:
    write_jsonl(data, colour_rows(15))
    second = Run(make(2)).execute()
    assert Run(make(1, uid="uid-2")).execute().artifact == second.artifact
