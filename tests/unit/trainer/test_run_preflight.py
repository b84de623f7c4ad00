"""Whole runs: what is told before anything is loaded, and what `auto` came to at their end."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec, folder_of

from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune import finetune, inspection
from luthier_trainer.finetune import load as loading
from luthier_trainer.finetune.run import Run
from luthier_trainer.methods import merge
from luthier_trainer.models import load


def test_what_auto_came_to_stands_in_the_manifest(
    make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {"learningRate": "auto", "warmupRatio": 0.0, "perDeviceBatchSize": "auto"}
    spec = make_spec(training={**training, "maxSteps": 2}, method={"merge": True})
    result = Run(spec).execute()
    expected = {"learningRate": "0.0002", "warmupRatio": "0.05"}
    assert expected.items() <= result.resolved.items()
    assert {"perDeviceBatchSize", "stepsPerEpoch"} <= result.resolved.keys()
    manifest = json.loads((folder_of(spec) / "manifest.json").read_text())
    assert expected.items() <= manifest["resolved"].items()
    told = capsys.readouterr().err
    assert "an epoch has " in told
    assert "merging at the end needs about" in told


def test_too_little_memory_for_the_merge_is_told_before_training(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ToldError(Exception):
        pass

    def train(*_: Any) -> None:
        raise ToldError

    monkeypatch.setattr(finetune, "train", train)
    with pytest.raises(ToldError):
        Run(make_spec(method={"merge": True}, memory_bytes=1 << 20)).execute()
    told = capsys.readouterr().err
    assert "warning: merging at the end needs about" in told
    assert "and there are 0.0 GB: use a pool with more memory" in told


def test_what_a_merge_needs_is_told_before_training(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class ToldError(Exception):
        pass

    def train(*_: Any) -> None:
        raise ToldError

    monkeypatch.setattr(finetune, "train", train)
    monkeypatch.setattr(loading, "resident_bytes", lambda: 10**9)
    monkeypatch.setattr(merge, "largest_layer", lambda _: 5 * 10**8)
    with pytest.raises(ToldError):
        Run(make_spec(method={"merge": True})).execute()
    assert "needs about 5.0 GB of the machine's memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lora", "code", "param"),
    [
        ({"targetModules": ["query"]}, "UnknownModule", "method.lora.targetModules"),
        ({"targetPattern": ".*nothing"}, "UnknownModule", "method.lora.targetPattern"),
        ({"modulesToSave": ["heads"]}, "UnknownModule", "method.lora.modulesToSave"),
        ({"rankPattern": {"query": 4}}, "UnknownModule", "method.lora.rankPattern"),
    ],
)
def test_a_wrong_module_is_told_before_weights_or_rows_are_read(
    lora: dict[str, Any],
    code: str,
    param: str,
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(load, "load_base", never)
    monkeypatch.setattr(inspection, "inspect", never)
    with pytest.raises(TrainerError) as caught:
        Run(make_spec(lora=lora)).execute()
    assert (caught.value.error.code, caught.value.error.param) == (code, param)


def test_a_base_that_is_cut_off(make_spec: MakeSpec, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainerError, match="is cut off") as caught:
        Run(make_spec(model=f"file://{folder}")).execute()
    assert caught.value.error.code == "ModelUnusable"


def test_tokens_without_an_embedding(make_spec: MakeSpec, tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tokenizer = load.load_tokenizer(folder)
    tokenizer.add_tokens(["tomato"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(TrainerError, match="resize them") as caught:
        Run(make_spec(model=f"file://{folder}")).execute()
    assert caught.value.error.code == "ModelUnusable"
