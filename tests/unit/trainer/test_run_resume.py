"""A run that was interrupted ends with the very bits of an undisturbed one.

For every method, every objective, and every setting that orders or groups the rows. An
undisturbed run keeps a checkpoint of each step; a second one finds only those up to a step, as
after SIGKILL right behind it, in the first, a middle and the last epoch.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from unit.trainer.run_cells import GROUPS, TEXT_HEADS, Cell
from unit.trainer.run_methods_support import spec_of
from unit.trainer.training_runs import same

from luthier_api.runspec import RunSpec
from luthier_trainer.data import prepare as data
from luthier_trainer.finetune import load
from luthier_trainer.finetune.run import Run
from luthier_trainer.objectives import items
from luthier_trainer.training.checkpointwriter import CheckpointWriter

_FORMS = {form.name: form for group in (*GROUPS, TEXT_HEADS) for form in group}
_DROPOUT = {"rank": 4, "alpha": 8, "dropout": 0.2}


@dataclass(frozen=True)
class Case:
    """A cell with settings. An epoch has 3 steps, unless they change it."""

    name: str
    form: str
    architecture: str
    method: str
    training: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)


_WORDS = "classes-in-words"
CASES = (
    Case("full", _WORDS, "llama", "full"),
    Case("lora", _WORDS, "llama", "lora", lora=_DROPOUT),
    Case("qlora", "completion", "qwen2", "qlora", lora=_DROPOUT),
    Case("adapter", _WORDS, "gpt2", "adapter"),
    Case("ia3", _WORDS, "phi3", "ia3"),
    Case("prefix", "completion", "mistral", "prefix"),
    Case("prompt", "chat", "qwen3", "prompt"),
    Case("seq2seq", "summary", "bart", "full"),
    Case("seq2seq-lora", "json", "t5", "lora", lora=_DROPOUT),
    Case("tagger", "tags", "bert", "full"),
    Case("classifier", "classes", "roberta", "adapter"),
    Case("classifier-on-a-decoder", "classes", "gpt2", "lora", lora=_DROPOUT),
    Case(
        "weighed-classes",
        "classes",
        "bert",
        "lora",
        {"classification": {"classWeights": "Balanced", "focalGamma": 2.0}},
        _DROPOUT,
    ),
    Case("several-classes", "topics", "bert", "lora", lora=_DROPOUT),
    Case("streamed-numbers", "numbers", "gpt2", "full"),
    Case("pairs", "cosine", "deberta-v2", "lora", lora=_DROPOUT),
    Case("pairs-in-batches", "negatives", "bert", "full"),
    Case("dpo", "simpo", "llama", "lora", {"preference": {"objective": "dpo"}}, _DROPOUT),
    Case("dpo-full", "simpo", "qwen2", "full", {"preference": {"objective": "dpo"}}),
    Case("orpo", "orpo", "gpt2", "prompt"),
    Case(
        "kto-accumulated",
        "simpo",
        "llama",
        "lora",
        {
            "preference": {"objective": "kto"},
            "perDeviceBatchSize": 2,
            "gradientAccumulationSteps": 3,
            "maxSteps": 6,
        },
        _DROPOUT,
    ),
    Case("packed", "completion", "llama", "lora", {"packing": "Always", "maxLength": 64}, _DROPOUT),
    Case("joined", "completion", "llama", "lora", lora=_DROPOUT),
    Case(
        "joined-accumulated",
        "chat",
        "qwen3",
        "full",
        {"perDeviceBatchSize": 2, "gradientAccumulationSteps": 3, "maxSteps": 6},
    ),
    Case("random", _WORDS, "llama", "full", {"groupByLength": False}),
    Case(
        "accumulated",
        "completion",
        "llama",
        "lora",
        {"perDeviceBatchSize": 2, "gradientAccumulationSteps": 3, "maxSteps": 6},
        _DROPOUT,
    ),
    Case("streamed", _WORDS, "llama", "lora", lora=_DROPOUT),
    Case("streamed-random", _WORDS, "llama", "full", {"groupByLength": False}),
    Case(
        "streamed-packed",
        "completion",
        "llama",
        "lora",
        {"packing": "Always", "maxLength": 64, "dataloaderWorkers": 2},
        _DROPOUT,
    ),
    Case(
        "workers",
        "completion",
        "llama",
        "lora",
        {"dataloaderWorkers": 2, "perDeviceBatchSize": 2, "gradientAccumulationSteps": 2},
        _DROPOUT,
    ),
    Case(
        "stopped-early",
        "classes",
        "bert",
        "full",
        {
            "learningRate": 1.0,
            "evalEverySteps": 1,
            "earlyStopping": {"metric": "eval_loss", "patience": 4},
        },
        dataset={"test": None, "eval": "test"},
    ),
)


def spec(case: Case, place: Path) -> RunSpec:
    training = {
        "maxSteps": 9,
        "scheduler": "cosine",
        "warmupRatio": 0.2,
        "dropout": 0.1,
        "perDeviceBatchSize": 4,
        "saveEverySteps": 1,
        "logEverySteps": 2,
        **case.training,
    }
    return spec_of(
        Cell(_FORMS[case.form], case.architecture, case.method),
        place,
        lora=case.lora,
        dataset=case.dataset,
        metrics=["loss"],
        merge=False,
        **training,
    )


def weights(output: Path) -> dict[str, torch.Tensor]:
    files = [*output.glob("adapter/*.safetensors"), *output.glob("model/*.safetensors")]
    assert files
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def journal(output: Path) -> list[tuple[int, Any, Any]]:
    """(step, loss, eval_loss) of each entry."""
    lines = (output / "report" / "metrics.jsonl").read_text().splitlines()
    return [(e["step"], e.get("loss"), e.get("eval_loss")) for e in map(json.loads, lines)]


def steps_of(output: Path) -> list[int]:
    folders = output.glob("checkpoints/step-*")
    return sorted(int(folder.name.removeprefix("step-")) for folder in folders)


def best_step(output: Path) -> int | None:
    """Whose weights the result has, by the model card, where early stopping watched."""
    found = re.search(r"the weights are those of step (\d+)", (output / "README.md").read_text())
    return int(found[1]) if found else None


def executed(case: Case, place: Path) -> Run:
    """Its run; a streamed one keeps neither rows nor tokens in memory, a joined one pads none, as
    on a GPU."""
    run = Run(spec(case, place))
    with pytest.MonkeyPatch.context() as patch:
        if case.name.startswith("joined"):
            patch.setattr(load, "batching", lambda *_, **__: "joined")
        if case.name.startswith("streamed"):
            patch.setattr(items, "FEW", 0)
            patch.setattr(data, "prepare", partial(data.prepare, in_memory_bytes=0))
        run.execute()
    return run


@contextmanager
def every_checkpoint() -> Iterator[None]:
    """Training waits for each: one that came faster than uploads would be left out."""
    submit = CheckpointWriter.submit

    def submit_and_wait(self: CheckpointWriter, *arguments: Any) -> None:
        submit(self, *arguments)
        assert self.drain(60)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "submit", submit_and_wait)
        yield


def copy_checkpoints(source: Path, output: Path, until: int) -> None:
    """Those of the first steps, as after SIGKILL behind the last of them."""
    for number in range(1, until + 1):
        name = f"checkpoints/step-{number:06d}"
        shutil.copytree(source / name, output / name)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, Path]:
    """A case, and the output of its run, with a checkpoint of every step."""
    case: Case = request.param
    place = tmp_path_factory.mktemp(case.name)
    with every_checkpoint():
        executed(case, place)
    return case, place / "output"


@pytest.mark.parametrize("epoch", ["first", "middle", "last"])
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(
    epoch: str, undisturbed: tuple[Case, Path], tmp_path: Path
) -> None:
    case, source = undisturbed
    steps = steps_of(source)
    assert steps == list(range(1, steps[-1] + 1))
    step = {"first": 2, "middle": steps[-1] // 2 + 1, "last": steps[-1] - 1}[epoch]
    output = tmp_path / "output"
    copy_checkpoints(source, output, step)
    torch.rand(5)  # what was drawn before must not matter

    run = executed(case, tmp_path)
    assert run.pod.reporter.report.resumed_from_step == step
    assert same(weights(source), weights(output))
    assert journal(output) == journal(source)
    best = best_step(source)
    assert best_step(output) == best
    # An earlier step's weights come back in this case alone.
    assert (best is not None and best < steps[-1]) == (case.name == "stopped-early")


def test_packing_is_kept_where_an_older_version_packed_of_itself(tmp_path: Path) -> None:
    """As it did on a GPU."""
    training = {"packing": "Auto", "maxLength": 64, "maxSteps": 4}
    case = Case("auto-packed", "completion", "llama", "lora", training, _DROPOUT)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    with pytest.MonkeyPatch.context() as patch, every_checkpoint():
        patch.setattr(load, "batching", lambda *_, **__: "packed")
        run = executed(case, whole)
    assert run.pod.reporter.report.resolved["packing"] == "on"
    copy_checkpoints(whole / "output", resumed / "output", 2)

    run = executed(case, resumed)
    assert run.pod.reporter.report.resumed_from_step == 2
    assert run.pod.reporter.report.resolved["packing"] == "on"
    assert run.pod.reporter.report.inexact_resume is None
    assert same(weights(whole / "output"), weights(resumed / "output"))
    assert journal(resumed / "output") == journal(whole / "output")
