"""What the builders of ONNX graphs are called with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier_api.adapterbundle import Bundling
from luthier_api.optimizejob import Optimizing
from luthier_trainer.errors import TrainerError
from luthier_trainer.machine import child
from luthier_trainer.models.heads import Head
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.genai import graph
from luthier_trainer.packages.genai.build import GenaiBuilder


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str], *_: Any) -> None:
        commands.append(command)
        raise child.ChildError("not today", "")

    monkeypatch.setattr(child, "run", run)
    return commands


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_code_that_a_model_brings_never_runs_in_a_package(
    precision: str, called: list[Sequence[str]], tmp_path: Path
) -> None:
    source = Source(tmp_path, Head("AutoModelForCausalLM"), "sha256:a", 0)
    with pytest.raises(TrainerError):
        GenaiBuilder(Optimizing()).build(source, precision, tmp_path / "package")
    (command,) = called
    assert "hf_remote=false" in command


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_nor_in_a_bundle(precision: str, called: list[Sequence[str]], tmp_path: Path) -> None:
    bundling = Bundling.model_validate({"base": {"uri": "s3://models/a"}, "precision": precision})
    modules = {"model.layers.0.self_attn.q_proj": (8, 8)}
    with pytest.raises(TrainerError):
        graph.build(tmp_path, modules, bundling, tmp_path / "model", tmp_path)
    (command,) = called
    assert "hf_remote=false" in command
