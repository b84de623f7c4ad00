"""Whole runs on a tiny model: the artifact, resuming, finished outputs, faults."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from contract.golden_documents import manifest_of
from safetensors.torch import load_file
from unit.trainer.support import MakeSpec, Seaweed, colour_rows, folder_of, spec_maker, write_jsonl

from luthier_api.result import ExitCode, RunResult
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import Superseded, TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.training.checkpointwriter import CheckpointWriter


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def losses(output: Path) -> list[tuple[int, float]]:
    lines = (output / "report" / "metrics.jsonl").read_text().splitlines()
    return [(entry["step"], entry["loss"]) for entry in map(json.loads, lines)]


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, colours: Path
) -> tuple[RunSpec, RunResult]:
    """An undisturbed run that kept a checkpoint of every step."""
    place = tmp_path_factory.mktemp("finished")
    spec = spec_maker(tiny_model, colours, place)()
    submit = CheckpointWriter.submit

    def submit_and_wait(self: CheckpointWriter, *arguments: Any) -> None:
        submit(self, *arguments)  # one that comes faster than uploads would be left out
        assert self.drain(60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "submit", submit_and_wait)
        return spec, Run(spec).execute()


def test_the_artifact_is_complete_and_true_to_its_manifest(
    finished: tuple[RunSpec, RunResult],
) -> None:
    import hashlib

    spec, result = finished
    output = folder_of(spec)
    manifest = (output / "manifest.json").read_bytes()
    assert result.artifact
    assert result.artifact.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    assert json.loads(manifest).keys() == manifest_of("FineTuneJob").keys()
    files = json.loads(manifest)["files"]
    for name in (
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/tokenizer.json",
        "report/evaluation.json",
        "report/loss.png",
        "report/metrics.jsonl",
        "report/samples.json",
    ):
        assert files[name]["sha256"] == hashlib.sha256((output / name).read_bytes()).hexdigest()
    assert (output / "report" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((output / "report" / "samples.json").read_text())) == 20
    assert spec.fine_tuning.model.uri in (output / "README.md").read_text()
    projections = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    assert result.resolved["targetModules"] == projections
    assert result.resolved["maxLength"] == "256"  # what the model reads
    assert "longer than maxLength 256" in (output / "report" / "data.html").read_text()
    assert json.loads(manifest)["resolved"] == result.resolved
    adapted = json.loads((output / "adapter" / "adapter_config.json").read_text())
    assert sorted(adapted["target_modules"]) == projections.split(", ")
    assert result.evaluation
    assert result.evaluation.split == "test"
    assert result.evaluation.examples == 30
    assert result.evaluation.tuned["accuracy"] > result.evaluation.base["accuracy"]


def test_nothing_is_pickled(finished: tuple[RunSpec, RunResult]) -> None:
    for path in folder_of(finished[0]).rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:4]
            assert path.suffix not in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}, path
            assert not head.startswith((b"\x80", b"PK")), path


def test_plain_peft_reproduces_the_accuracy(
    finished: tuple[RunSpec, RunResult], tiny_model: Path, colours: Path
) -> None:
    """By the most naive scoring: one forward per row and label, no padding, no cache."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec, result = finished
    adapter = folder_of(spec) / "adapter"
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    rows = [json.loads(line) for line in (colours / "test.jsonl").read_text().splitlines()]

    def likelihood(text: str, label: str) -> float:
        prompt = tokenizer(f"Text: {text}\nColour:")["input_ids"]
        answer = tokenizer(f" {label}")["input_ids"]
        with torch.no_grad():
            logp = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        return sum(float(logp[len(prompt) - 1 + i, t]) for i, t in enumerate(answer))

    right = sum(
        max(("red", "green", "deep blue"), key=lambda label: likelihood(row["text"], label))
        == row["label"]
        for row in rows
    )
    assert result.evaluation
    assert right / len(rows) == pytest.approx(result.evaluation.tuned["accuracy"], abs=1e-6)


@pytest.mark.parametrize("step", [1, 4, 10, 23, 24])
def test_a_resumed_run_equals_an_undisturbed_one(
    step: int, finished: tuple[RunSpec, RunResult], make_spec: MakeSpec
) -> None:
    """As after SIGKILL right behind the checkpoint of `step`: an epoch has 4 steps."""
    spec = make_spec()
    keep_until(step, folder_of(finished[0]), folder_of(spec))
    torch.rand(5)  # what was drawn before must not matter
    result = Run(spec).execute()
    assert same_weights(folder_of(spec), folder_of(finished[0]))
    assert result.estimate
    assert result.estimate.measured_duration_seconds is None  # of the steps of two pods
    assert losses(folder_of(spec)) == losses(folder_of(finished[0]))
    assert [entry[0] for entry in losses(folder_of(spec))] == [1, 3, 6, 9, 12, 15, 18, 21, 24]
    assert result.evaluation == finished[1].evaluation


def keep_until(step: int, source: Path, target: Path) -> None:
    """What storage holds when a pod dies right after its checkpoint of `step`."""
    for number in range(1, step + 1):
        name = f"step-{number:06d}"
        shutil.copytree(source / "checkpoints" / name, target / "checkpoints" / name)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    finished: tuple[RunSpec, RunResult], make_spec: MakeSpec, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = make_spec()
    keep_until(6, folder_of(finished[0]), folder_of(spec))
    state = next((folder_of(spec) / "checkpoints" / "step-000006").glob("*.safetensors"))
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    # And one whose upload was cut short.
    half = folder_of(spec) / "checkpoints" / "step-000007"
    shutil.copytree(folder_of(finished[0]) / "checkpoints" / "step-000007", half)
    (half / "manifest.json").unlink()

    Run(spec).execute()
    log = capfd.readouterr().err
    assert "checkpoint of step 6 is damaged" in log
    assert "going on from the checkpoint of step 5" in log
    assert same_weights(folder_of(spec), folder_of(finished[0]))


def test_a_finished_output_gives_its_result_again(
    finished: tuple[RunSpec, RunResult], colours: Path
) -> None:
    spec, result = finished
    before = (folder_of(spec) / "manifest.json").stat().st_mtime_ns
    again = Run(spec).execute()
    assert (again.artifact, again.evaluation) == (result.artifact, result.evaluation)
    assert (folder_of(spec) / "manifest.json").stat().st_mtime_ns == before


def test_another_resource_gets_the_finished_result_of_the_same_spec(
    finished: tuple[RunSpec, RunResult],
) -> None:
    spec, result = finished
    other = spec.model_copy(update={"run": spec.run.model_copy(update={"uid": "uid-2"})})
    assert Run(other).execute().artifact == result.artifact


def test_changed_data_is_refused_on_resume(make_spec: MakeSpec, tmp_path: Path) -> None:
    data = tmp_path / "data" / "train.jsonl"
    write_jsonl(data, colour_rows(12))
    spec = make_spec(
        dataset={"uri": f"file://{data}", "test": None}, training={"maxSteps": 1}, metrics=["loss"]
    )
    Run(spec).execute()
    (folder_of(spec) / "manifest.json").unlink()
    write_jsonl(data, colour_rows(15))
    with pytest.raises(TrainerError) as caught:
        Run(spec).execute()
    assert caught.value.error.code == "DatasetChanged"
    assert caught.value.exit_code == ExitCode.DATA


def test_a_changed_base_in_a_folder_is_refused_on_resume(
    make_spec: MakeSpec, tiny_model: Path, tmp_path: Path
) -> None:
    """By its contents: a copy has other times."""
    base = shutil.copytree(tiny_model, tmp_path / "base")
    spec = make_spec(model=f"file://{base}", training={"maxSteps": 1}, metrics=["loss"])
    Run(spec).execute()
    os.utime(base / "model.safetensors", (1, 1))
    (folder_of(spec) / "manifest.json").unlink()
    Run(spec).execute()

    spoil(base)
    (folder_of(spec) / "manifest.json").unlink()
    with pytest.raises(TrainerError) as caught:
        Run(spec).execute()
    assert caught.value.error.code == "BaseChanged"

    # A claim of an older version tells no base.
    claim = folder_of(spec) / "claim.json"
    held = json.loads(claim.read_text())
    del held["base"]
    claim.write_text(json.dumps(held))
    assert Run(spec).execute().artifact


def spoil(base: Path) -> None:
    """Overwrite the last of a model's weights."""
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")


def test_a_changed_base_in_s3_is_refused_on_resume(
    make_spec: MakeSpec, tiny_model: Path, s3: Any, seaweed: Seaweed, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")

    def upload() -> None:
        for path in base.iterdir():
            s3.upload_file(str(path), "models", f"changing/{path.name}")

    upload()
    spec = make_spec(
        model="s3://models/changing",
        storage=seaweed.access().to_json(),
        training={"maxSteps": 1},
        metrics=["loss"],
    )
    Run(spec).execute()
    (folder_of(spec) / "manifest.json").unlink()
    upload()
    Run(spec).execute()

    spoil(base)
    upload()
    other = spec.model_copy(update={"run": spec.run.model_copy(update={"uid": "uid-2"})})
    with pytest.raises(TrainerError, match="RevisionTaken"):  # and isn't given the old result
        Run(other).execute()
    (folder_of(spec) / "manifest.json").unlink()
    with pytest.raises(TrainerError) as caught:
        Run(spec).execute()
    error = caught.value.error
    assert (error.code, error.param) == ("BaseChanged", "model.uri")
    assert caught.value.exit_code == ExitCode.DATA
    assert error.message.count("etags:") == 2


def test_a_pod_that_was_replaced_publishes_nothing(
    finished: tuple[RunSpec, RunResult], make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer pod's record appears while this one trains."""
    from luthier_trainer.training import loop

    spec = make_spec()
    real_train = loop.train

    def train(*arguments: Any) -> Any:
        attempts = folder_of(spec) / "attempts"
        own = next(attempts.glob("*.json"))
        record = json.loads(own.read_text())
        (attempts / "newer.json").write_text(json.dumps({**record, "ordinal": 2}))
        return real_train(*arguments)

    monkeypatch.setattr(loop, "train", train)
    with pytest.raises(Superseded):
        Run(spec).execute()
    assert not (folder_of(spec) / "manifest.json").exists()
    assert not (folder_of(spec) / "checkpoints").exists()
    # What preflight saw was there before.
    assert [path.name for path in (folder_of(spec) / "report").iterdir()] == ["data.html"]


def test_what_preflight_saw_can_be_read_while_it_trains(
    finished: tuple[RunSpec, RunResult],
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from luthier_trainer.training import loop

    spec = make_spec()
    page = folder_of(spec) / "report" / "data.html"

    def train(*_: Any) -> Any:
        text = page.read_text()
        for told in ("Rows by label", "histogram", "<mark>", "deep blue", "is expected to need"):
            assert told in text, told
        raise Superseded

    monkeypatch.setattr(loop, "train", train)
    with pytest.raises(Superseded):
        Run(spec).execute()
    line = re.search(
        r"expected: (.+ of memory \(there are .+B\) and .+ evaluations)\n", capfd.readouterr().err
    )
    assert line
    assert line[1] in page.read_text()
    manifest = json.loads((folder_of(finished[0]) / "manifest.json").read_text())
    assert "report/data.html" in manifest["files"]
    assert "Rows by label" in (folder_of(finished[0]) / "report" / "data.html").read_text()


def test_the_expected_and_the_measured_need_stand_beside_each_other(
    finished: tuple[RunSpec, RunResult],
) -> None:
    spec, result = finished
    assert result.estimate
    told = result.estimate.to_json()
    assert told["durationSeconds"] >= 0  # of a tiny model
    for name in ("memoryBytes", "measuredMemoryBytes", "measuredDurationSeconds"):
        assert told[name] > 0, name
    manifest = json.loads((folder_of(spec) / "manifest.json").read_text())
    assert manifest["estimate"] == told


def test_a_run_on_s3(
    finished: tuple[RunSpec, RunResult],
    make_spec: MakeSpec,
    tiny_model: Path,
    colours: Path,
    s3: Any,
    seaweed: Seaweed,
    tmp_path: Path,
) -> None:
    for bucket, source in (("models", tiny_model), ("datasets", colours)):
        for path in source.iterdir():
            s3.upload_file(str(path), bucket, f"it/{path.name}")
    spec = make_spec(
        output="s3://artifacts/team-a/colours/r1",
        model="s3://models/it",
        dataset={"uri": "s3://datasets/it"},
        storage=seaweed.access().to_json(),
        file_roots=[],
        checkpoints={"keepLast": 2},
    )
    result = Run(spec).execute()
    assert result.evaluation == finished[1].evaluation
    pages = s3.list_objects_v2(Bucket="artifacts", Prefix="team-a/colours/r1/")["Contents"]
    keys = [item["Key"].removeprefix("team-a/colours/r1/") for item in pages]
    manifests = [k for k in keys if k.startswith("checkpoints/") and k.endswith("manifest.json")]
    assert manifests[-1] == "checkpoints/step-000024/manifest.json"
    assert len(manifests) == 2
    assert {"adapter/adapter_model.safetensors", "manifest.json", "claim.json"} <= set(keys)
    # The second run finds the model in the cache.
    cached = list((tmp_path / "cache" / "models").glob("[0-9a-f]*"))
    assert [path.is_dir() for path in cached].count(True) == 1
