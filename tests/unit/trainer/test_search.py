"""Whole searches on a tiny model: trials, takeovers, the best one's artifact."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from unit.trainer.support import MakeSpec, TrainerProcess, folder_of, spec_maker

from luthier_api.finetuning import FineTuning
from luthier_api.result import TERMINAL_EXIT_CODES, ExitCode, RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.search import trial as trial_module
from luthier_trainer.search.records import Records
from luthier_trainer.search.run import SearchRun
from luthier_trainer.storage.open import open_store

TWO_SPLITS = {"eval": "test[:50%]", "test": "test[50%:]"}


def search_spec(make_spec: MakeSpec, search: dict[str, Any], **parts: Any) -> RunSpec:
    """A run of 8 steps whose trials differ in their learning rate."""
    parts.setdefault("training", {})
    parts["training"] = {"maxSteps": 8, "saveEverySteps": 2, **parts["training"]}
    spec = make_spec(dataset=TWO_SPLITS, **parts)
    document = {
        "objective": {"metric": "accuracy"},
        "space": {"learningRate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}},
        "trials": 4,
        "seed": 7,
        **search,
    }
    tuning = FineTuning.model_validate({**spec.fine_tuning.to_json(), "search": document})
    return spec.model_copy(update={"fine_tuning": tuning})


def records_of(spec: RunSpec) -> list[dict[str, Any]]:
    paths = sorted(folder_of(spec).glob("trials/*/trial.json"))
    return [json.loads(path.read_text()) for path in paths]


def course(spec: RunSpec) -> list[tuple[int, str, float | None, int]]:
    """What came of each trial."""
    return [(it["number"], it["state"], it.get("value"), it["step"]) for it in records_of(spec)]


def manifest_of(spec: RunSpec) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder_of(spec) / "manifest.json").read_text())
    return manifest


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, colours: Path
) -> tuple[RunSpec, RunResult]:
    """A search of one worker."""
    place = tmp_path_factory.mktemp("search")
    spec = search_spec(spec_maker(tiny_model, colours, place), {})
    return spec, SearchRun(spec).execute()


def test_the_best_trials_artifact_is_the_result(
    undisturbed: tuple[RunSpec, RunResult], make_spec: MakeSpec
) -> None:
    spec, result = undisturbed
    output, known = folder_of(spec), records_of(spec)
    assert [it["state"] for it in known] == ["Complete"] * 4
    assert all(it["step"] == 8 for it in known)
    best = max(known, key=lambda it: (it["value"], -it["number"]))
    assert result.artifact
    assert result.search
    assert result.search.best
    assert result.search.best.number == best["number"]
    assert (result.search.trials, result.search.complete) == (4, 4)
    # Its artifact says which settings made it, and that they were searched.
    manifest = manifest_of(spec)
    rate = best["settings"]["learningRate"]
    assert manifest["spec"]["training"]["learningRate"] == rate
    assert "evalEverySteps" not in manifest["spec"]["training"]
    assert manifest["spec"]["search"]["trials"] == 4
    assert manifest["search"]["best"]["settings"] == {"learningRate": f"{rate:.6g}"}
    assert manifest["search"]["trials"] == 4
    assert {"report/search.html", "report/search.json"} <= manifest["files"].keys()
    assert len(json.loads((output / "report" / "search.json").read_text())) == 4
    # It is measured beside the base on test, and the objective never was.
    assert result.evaluation
    assert result.evaluation.split == "test"
    # No training anew: the bits are those of a run with these settings.
    alone = make_spec(
        dataset=TWO_SPLITS,
        training={
            "maxSteps": 8,
            "saveEverySteps": 2,
            "learningRate": rate,
            "evalEverySteps": 1_000_000,
        },
    )
    Run(alone).execute()
    ours = load_file(output / "adapter" / "adapter_model.safetensors")
    theirs = load_file(folder_of(alone) / "adapter" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_only_the_best_trial_keeps_its_checkpoints(undisturbed: tuple[RunSpec, RunResult]) -> None:
    spec, result = undisturbed
    assert result.search
    assert result.search.best
    kept = {path.parts[-4] for path in folder_of(spec).glob("trials/*/checkpoints/*/manifest.json")}
    assert kept == {f"{result.search.best.number:04d}"}


def test_a_finished_search_gives_its_result_again(undisturbed: tuple[RunSpec, RunResult]) -> None:
    spec, result = undisturbed
    again = SearchRun(spec).execute()
    assert again.artifact == result.artifact


def test_a_disturbed_search_ends_with_the_same_trials_and_the_same_bits(
    undisturbed: tuple[RunSpec, RunResult],
    make_spec: MakeSpec,
    start_warm_trainer: Callable[..., TrainerProcess],
) -> None:
    """Told to stop in its second trial, it goes on there from the checkpoint."""
    spec = search_spec(make_spec, {})
    first = start_warm_trainer(spec)
    first.wait_for("trial 1 of 4")
    first.wait_until((folder_of(spec) / "trials/0001/checkpoints/step-000002/manifest.json").exists)
    first.signal(signal.SIGTERM)
    assert first.wait() == ExitCode.INTERRUPTED
    left = records_of(spec)[1]
    assert left["state"] == "Running"
    assert left["takes"][-1]["outcome"] == "Interrupted"
    second = start_warm_trainer(spec)
    assert second.wait() == ExitCode.SUCCEEDED
    assert "trial 1: taken up again at step" in second.log.read_text()
    assert course(spec) == course(undisturbed[0])
    file = "adapter/adapter_model.safetensors"
    assert (folder_of(spec) / file).read_bytes() == (folder_of(undisturbed[0]) / file).read_bytes()
    restarts = second.result()["restarts"]
    assert (restarts["disruptions"], restarts["total"]) == (1, 1)


def test_two_workers_share_the_trials_and_one_that_dies_is_followed(
    make_spec: MakeSpec, start_warm_trainer: Callable[..., TrainerProcess]
) -> None:
    spec = search_spec(make_spec, {"trials": 6, "parallelism": 2})
    one = start_warm_trainer(spec, JOB_COMPLETION_INDEX="0", POD_NAME="pod-0")
    two = start_warm_trainer(spec, JOB_COMPLETION_INDEX="1", POD_NAME="pod-1")
    two.wait_for("stage: Training")
    two.signal(signal.SIGKILL)
    two.wait()
    held = [it for it in records_of(spec) if it["heldBy"]["worker"] == 1]
    assert [it["state"] for it in held] == ["Running"]
    # Nobody takes it from the dead but who follows it, whenever that is.
    assert one.wait() == ExitCode.SUCCEEDED
    assert not (folder_of(spec) / "manifest.json").exists()
    assert "artifact" not in one.result()
    three = start_warm_trainer(spec, JOB_COMPLETION_INDEX="1", POD_NAME="pod-2")
    assert three.wait() == ExitCode.SUCCEEDED
    assert three.result()["artifact"]
    known = records_of(spec)
    assert [it["state"] for it in known] == ["Complete"] * 6
    taken = known[held[0]["number"]]
    assert [it["pod"] for it in taken["takes"]] == ["pod-1", "pod-2"]
    assert manifest_of(spec)["search"]["trials"] == 6
    search = three.result()["search"]
    assert (search["complete"], search["trials"]) == (6, 6)


def test_bad_trials_end_at_a_rung(make_spec: MakeSpec) -> None:
    prune = {"strategy": "asha", "reduction": 2, "minSteps": 2}
    objective = {"metric": "eval_loss", "direction": "minimize"}
    spec = search_spec(make_spec, {"trials": 5, "prune": prune, "objective": objective})
    result = SearchRun(spec).execute()
    assert result.search
    known = records_of(spec)
    pruned = [it for it in known if it["state"] == "Pruned"]
    assert pruned
    assert all(it["step"] in (2, 4) for it in pruned)
    assert result.search.pruned == len(pruned)
    assert known[0]["state"] == "Complete", "the first has nobody to be worse than"
    assert known[0]["rungs"].keys() == {"2", "4"}
    best = min((it for it in known if it["state"] == "Complete"), key=lambda it: it["value"])
    assert result.search.best
    assert result.search.best.number == best["number"]


def test_a_failing_trial_costs_itself(make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = search_spec(make_spec, {"trials": 3})
    train = trial_module.train

    def failing(trial: Any, *others: Any) -> Any:
        if trial.record.number == 1:
            raise TrainerError(ExitCode.UNSUPPORTED, "LossNotFinite", "the loss is nan")
        return train(trial, *others)

    monkeypatch.setattr(trial_module, "train", failing)
    result = SearchRun(spec).execute()
    assert [it["state"] for it in records_of(spec)] == ["Complete", "Failed", "Complete"]
    assert records_of(spec)[1]["error"] == "LossNotFinite: the loss is nan"
    assert result.artifact
    assert result.search
    assert (result.search.failed, result.search.complete) == (1, 2)


def test_too_many_failed_trials_end_the_search_and_a_retry_makes_them_again(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = search_spec(make_spec, {"trials": 3, "maxFailedTrials": 1})

    def failing(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "train", failing)
        with pytest.raises(TrainerError) as caught:
            SearchRun(spec).execute()
    assert caught.value.error.code == "TooManyFailedTrials"
    assert caught.value.exit_code in TERMINAL_EXIT_CODES
    assert "OutOfMemory" in caught.value.error.message
    again = spec.model_copy(update={"run": spec.run.model_copy(update={"attempt": 2})})
    assert SearchRun(again).execute().artifact
    assert [it["state"] for it in records_of(spec)] == ["Complete"] * 3


def test_a_trial_that_killed_two_pods_has_failed(make_spec: MakeSpec) -> None:
    """As the kernel does for want of memory: nobody is left to note why."""
    spec = search_spec(make_spec, {"trials": 2})
    store = open_store(spec.output, spec.storage, "output.uri")
    first = Records(store, spec.run, 0)
    claimed = first.claim(0, {"learningRate": 0.01})
    assert claimed
    assert first.take(claimed, 0)
    result = SearchRun(spec).execute()
    known = records_of(spec)
    assert [it["state"] for it in known] == ["Failed", "Complete"]
    assert "2 pods died of it at step 0" in known[0]["error"]
    assert "perDeviceBatchSize" in known[0]["error"]
    assert result.artifact


def test_what_would_fail_in_every_trial_ends_the_search_at_once(make_spec: MakeSpec) -> None:
    spec = search_spec(make_spec, {"objective": {"metric": "bleu"}})
    with pytest.raises(TrainerError) as caught:
        SearchRun(spec).execute()
    assert caught.value.error.code == "MetricNotMeasurable"
    assert caught.value.error.param == "search.objective.metric"


def test_the_methods_type_is_searched_with_what_only_one_of_them_has(make_spec: MakeSpec) -> None:
    space = {
        "method.type": {"type": "choice", "names": ["lora", "ia3"]},
        "lora.rank": {"type": "choice", "values": [4]},
    }
    spec = search_spec(make_spec, {"strategy": "grid", "trials": None, "space": space})
    result = SearchRun(spec).execute()
    assert result.search
    assert result.search.complete == 2
    told = {it.number: it.settings for it in result.search.table}
    assert sorted(it["method.type"] for it in told.values()) == ["ia3", "lora"]
    assert {"lora.rank" in it for it in told.values()} == {True, False}
    assert result.search.best
    assert manifest_of(spec)["spec"]["method"]["type"] == result.search.best.settings["method.type"]


def test_a_search_stops_where_nothing_gets_better(make_spec: MakeSpec) -> None:
    spec = search_spec(
        make_spec,
        {
            "trials": 20,
            "space": {"learningRate": {"type": "choice", "values": [1e-9]}},
            "stopAfter": {"trialsWithoutGain": 2},
        },
    )
    result = SearchRun(spec).execute()
    assert len(records_of(spec)) == 3
    assert result.search
    assert result.search.stopped
    assert (result.search.trials, result.search.complete) == (20, 3)
