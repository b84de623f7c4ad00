"""A run that was interrupted on a GPU ends with the very bits of an undisturbed one."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from unit.trainer.test_run_resume import CASES, Case, journal, spec, steps_of, weights

from luthier_api.runspec import RunSpec
from luthier_trainer.finetune.run import Run
from luthier_trainer.training.checkpointwriter import CheckpointWriter

_BY_NAME = {case.name: case for case in CASES}


def on_gpu(case: Case, place: Path, precision: str) -> RunSpec:
    made = spec(case, place)
    training = made.fine_tuning.training.model_copy(update={"precision": precision})
    tuning = made.fine_tuning.model_copy(update={"training": training})
    return made.model_copy(update={"gpus": 1, "fine_tuning": tuning})


def undisturbed_and_resumed(
    case: Case, precision: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """Output of a run, and of one that goes on from a checkpoint in the middle of it."""
    submit = CheckpointWriter.submit

    def submit_and_wait(self: CheckpointWriter, *arguments: Any) -> None:
        submit(self, *arguments)  # one that comes faster than uploads would be left out
        assert self.drain(60)

    monkeypatch.setattr(CheckpointWriter, "submit", submit_and_wait)
    Run(on_gpu(case, place / "whole", precision)).execute()
    source, output = place / "whole" / "output", place / "resumed" / "output"
    steps = steps_of(source)
    middle = steps[-1] // 2 + 1
    for number in range(1, middle + 1):
        name = f"checkpoints/step-{number:06d}"
        shutil.copytree(source / name, output / name)
    torch.rand(5, device="cuda")  # what was drawn before must not matter
    run = Run(on_gpu(case, place / "resumed", precision))
    run.execute()
    assert run.pod.reporter.report.resumed_from_step == middle
    assert run.pod.reporter.report.inexact_resume is None
    return source, output


def farthest(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> float:
    """The largest difference of a weight."""
    assert expected.keys() == found.keys()
    return max(float((expected[n].double() - found[n].double()).abs().max()) for n in expected)


RUNS = [
    *((case.name, "fp32") for case in CASES),
    *((name, "bf16") for name in ("full", "lora", "qlora", "adapter", "seq2seq", "tagger")),
    *((name, "bf16") for name in ("packed", "accumulated", "workers", "pairs")),
    *((name, "fp16") for name in ("full", "lora", "qlora", "tagger")),
]


@pytest.mark.parametrize(("name", "precision"), RUNS)
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = undisturbed_and_resumed(_BY_NAME[name], precision, tmp_path, monkeypatch)
    assert farthest(weights(source), weights(output)) == 0
    assert journal(output) == journal(source)
