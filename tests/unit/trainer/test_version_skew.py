"""A trainer beside an operator, and on documents, of another version (docs/adr/0013)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract.golden_documents import GOLDEN
from contract.test_golden import VERSIONS, with_unknown_fields
from unit.trainer.support import MakeSpec, TrainerProcess
from unit.trainer.training_runs import Fit, course, rows, same

from luthier_api.release import release
from luthier_api.result import ExitCode, RunResult
from luthier_api.runspec import RunSpec, read_order, shapes_result, write_order
from luthier_api.runstatus import Usage
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import read_claim, take_claim
from luthier_trainer.published.ask import parse
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training import checkpoint
from luthier_trainer.training.best import Best
from luthier_trainer.training.checkpointfolder import complete_steps

Start = Callable[..., TrainerProcess]
UNKNOWN: dict[str, Any] = {"newKnob": {"deep": [1, {"er": None}]}}


class Text:
    """A run spec as another version wrote it."""

    def __init__(self, document: dict[str, Any], scratch_dir: str = "") -> None:
        self._document = document
        self.scratch_dir = scratch_dir

    def to_json(self) -> dict[str, Any]:
        return self._document


def written(spec: RunSpec) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(write_order(spec))
    return found


def test_an_order_of_a_newer_operator_is_carried_out(
    start_trainer: Start, make_spec: MakeSpec, tmp_path: Path
) -> None:
    order = written(make_spec(model=f"file://{tmp_path}/nowhere")) | UNKNOWN
    order["storage"] = order.get("storage", {}) | UNKNOWN
    order["run"] |= UNKNOWN
    pod = start_trainer(Text(order))
    assert pod.wait() == ExitCode.NOT_FOUND, pod.log.read_text()
    assert pod.result()["error"]["code"] == "ModelNotFound"
    told, *_ = [
        line
        for line in pod.log.read_text().splitlines()
        if "warning: fields of the order are ignored: " in line
    ]
    assert all(f" {field}" in told for field in ("run.newKnob", "storage.newKnob", "newKnob"))


@pytest.mark.parametrize(
    ("path", "param"),
    [
        (("fineTuning",), "newKnob"),
        (("fineTuning", "training"), "training.newKnob"),
        (("fineTuning", "dataset", "mix", 0), "dataset.mix.0.newKnob"),
    ],
)
def test_a_result_never_silently_lacks_what_is_new(
    start_trainer: Start, make_spec: MakeSpec, path: tuple[Any, ...], param: str
) -> None:
    order = written(make_spec())
    order["fineTuning"]["dataset"]["mix"] = [{"uri": "file:///a.jsonl"}]
    part = order
    for step in path:
        part = part[step]
    part |= UNKNOWN
    pod = start_trainer(Text(order))
    assert pod.wait() == ExitCode.INVALID_RUN_SPEC, pod.log.read_text()
    error = pod.result()["error"]
    assert (error["code"], error["param"]) == ("InvalidRunSpec", param)
    message = error["message"]
    assert f"doesn't know (fineTuning.{param})" in message
    assert f"this one is of {release()}" in message
    assert "give the pool the image of the operator's release" in message


@pytest.mark.parametrize(
    ("field", "shapes"),
    [
        ("fineTuning.training.newKnob", True),
        ("optimizing.newKnob", True),
        ("bundling.base.newKnob", True),
        ("source.newKnob", True),
        ("adapters.0.newKnob", True),
        ("newKnob", False),
        ("run.newKnob", False),
        ("storage.newKnob", False),
        ("checkpoints.newKnob", False),
    ],
)
def test_which_fields_are_about_what_is_made(field: str, shapes: bool) -> None:
    assert shapes_result(field) is shapes


def test_an_order_that_asks_for_what_is_new_is_refused(
    start_trainer: Start, make_spec: MakeSpec
) -> None:
    order = written(make_spec())
    order["fineTuning"]["training"]["scheduler"] = "of_tomorrow"
    pod = start_trainer(Text(order))
    assert pod.wait() == ExitCode.INVALID_RUN_SPEC
    message = pod.result()["error"]["message"]
    assert "fineTuning.training.scheduler" in message
    assert "at most one minor version apart" in message
    assert "image of the operator's release" in message


@pytest.mark.parametrize("newer", [False, True], ids=["of before", "of later"])
@pytest.mark.parametrize("of", VERSIONS)
def test_an_order_of_another_release_is_carried_out(
    start_warm_trainer: Start, make_spec: MakeSpec, of: str, newer: bool
) -> None:
    """What it names lies here; the rest is as that release wrote it. What a newer one adds to what
    is made is refused, anything else goes by."""
    order = json.loads((GOLDEN / of / "FineTuneJob" / "least.json").read_text())["order"]["written"]
    spec = make_spec(training={"maxSteps": 3})
    names = ("output", "cacheDir", "scratchDir", "fileRoots", "fineTuning")
    order |= {name: written(spec)[name] for name in names}
    if newer:
        made = order["fineTuning"]
        order = with_unknown_fields(order, RunSpec.read(order)) | {"fineTuning": made}
    pod = start_warm_trainer(Text(order, spec.scratch_dir))
    assert pod.wait() == ExitCode.SUCCEEDED, pod.log.read_text()
    assert ("newKnob" in pod.log.read_text()) == newer
    result = RunResult.model_validate(pod.result())
    assert (result.outcome, result.revision) == ("Succeeded", order["run"]["revision"])
    assert result.artifact is not None
    assert result.artifact.uri == order["output"]


def test_what_an_order_leaves_out_has_its_default(make_spec: MakeSpec) -> None:
    spec = make_spec()
    assert len(write_order(spec)) < len(json.dumps(spec.to_json()))
    assert read_order(write_order(spec).encode()) == spec


def test_claim_and_records_of_a_newer_trainer_are_read(tmp_path: Path, make_spec: MakeSpec) -> None:
    store, spec = FileStore(tmp_path / "store"), make_spec()
    first = Attempts(store, spec.run)
    take_claim(store, spec, "sha256:data", first)
    first.begin(4)
    first.end("Failed", "x", Usage(cpu_seconds=2))
    for entry in store.entries():
        data = store.read(entry.key)
        assert data
        document = json.loads(data) | UNKNOWN
        if "usage" in document:
            document["usage"] |= UNKNOWN
        store.write(entry.key, json.dumps(document).encode())
    second = Attempts(store, spec.run)
    assert second.restarts.failures == 1
    assert second.usage.cpu_seconds == 2
    take_claim(store, spec, "sha256:data", second)
    claim = read_claim(store)
    assert claim
    assert claim.uid == spec.run.uid


def test_how_a_model_is_asked_is_read_whatever_stands_beside_it() -> None:
    ask = {"form": "text", "autoClass": "AutoModel", "row": {"prompt": "a"} | UNKNOWN} | UNKNOWN
    found = parse(json.dumps(ask).encode())
    assert found
    assert found.row


# Checkpoints.


def test_a_run_goes_on_from_a_newer_trainers_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        "maxSteps": 8,
        "evalEverySteps": 2,
        "gradientAccumulationSteps": 1,
        "earlyStopping": {"patience": 9},
    }
    whole = Fit(tmp_path / "whole", settings=settings, eval_items=rows(4, seed=9))
    undisturbed = whole()
    stopped = Fit(tmp_path / "stopped", settings=settings, eval_items=rows(4, seed=9))
    stopped.stop_at = 5
    stopped()
    read_latest = checkpoint.read_latest

    def of_a_newer_one(*args: Any) -> Any:
        snapshot, ref = read_latest(*args) or (None, None)
        assert snapshot
        for name in ("trainer", "best", "resolved", "environment"):
            snapshot.document[name] |= UNKNOWN
        snapshot.document.update(UNKNOWN)
        return snapshot, ref

    monkeypatch.setattr(checkpoint, "read_latest", of_a_newer_one)
    stopped.stop_at = None
    assert course(stopped()) == course(undisturbed)
    assert same(stopped.weights, whole.weights)


def test_the_best_evaluation_is_read_whatever_stands_beside_it() -> None:
    assert Best.read({"step": 3, "value": 0.5, "waited": 1} | UNKNOWN) == Best(3, 0.5, 1)


# Of the same revision: what shapes nothing may be another when a run goes on.


def test_a_run_that_goes_on_saves_and_logs_as_it_is_told_now(tmp_path: Path) -> None:
    settings = {"maxSteps": 12, "gradientAccumulationSteps": 1}
    often, seldom = {"saveEverySteps": 2, "logEverySteps": 3}, {"saveEverySteps": 5}
    fit = Fit(tmp_path / "fit", settings=settings | seldom | {"logEverySteps": 100})
    fit.stop_at = 6
    assert fit().step == 6
    assert complete_steps(fit.store) == [5, 6]
    fit.stop_at, fit.settings = None, settings | often | {"dataloaderWorkers": 1}
    outcome = fit()
    assert complete_steps(fit.store) == [5, 6, 8, 10, 12]
    assert [it["step"] for it in outcome.journal.entries if "loss" in it] == [1, 9, 12]
    whole = Fit(tmp_path / "whole", settings=settings)
    whole()
    assert same(fit.weights, whole.weights)
