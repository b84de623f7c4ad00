"""Runs of the task preference, from rows to an artifact."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from unit.trainer.optimize_support import order_maker, tiny_decoder
from unit.trainer.preference_support import (
    METRICS,
    MakePreference,
    chat_rows,
    make_preference,
    pair_rows,
    single_rows,
)
from unit.trainer.support import MakeSpec, folder_of
from unit.trainer.tiny import tiny_folder
from unit.trainer.training_runs import same

from luthier_api.optimizejob import SourceRef
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune import startanswers
from luthier_trainer.finetune.run import Run
from luthier_trainer.optimize.run import Optimization

__all__ = ["make_preference"]


@pytest.mark.parametrize(
    ("rows", "objective"),
    [
        (pair_rows, "dpo"),
        (pair_rows, "ipo"),
        (pair_rows, "orpo"),
        (pair_rows, "simpo"),
        (pair_rows, "kto"),
        (single_rows, "kto"),
        (chat_rows, "dpo"),
    ],
)
def test_a_run_learns_what_is_preferred(
    make_preference: MakePreference, rows: Any, objective: str
) -> None:
    model = {"model": f"file://{tiny_folder('qwen2')}"} if rows is chat_rows else {}
    order = make_preference(rows=rows, preference={"objective": objective}, **model)
    result = Run(order).execute()
    assert result.evaluation
    base, tuned = result.evaluation.base, result.evaluation.tuned
    assert tuned["reward_accuracy"] > base["reward_accuracy"]
    assert tuned["reward_margin"] > base["reward_margin"]
    if objective in ("dpo", "ipo", "kto"):
        assert (base["reward_accuracy"], base["reward_margin"]) == (0.5, 0.0)
    if rows is not single_rows:
        assert tuned["preference_accuracy"] > base["preference_accuracy"]
        assert tuned["preference_margin"] > base["preference_margin"]
    folder = folder_of(order)
    document = json.loads((folder / "report" / "evaluation.json").read_text())
    assert set(document["tuned"]) >= set(METRICS if rows is not single_rows else ["loss"])
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    samples = json.loads((folder / "report" / "samples.json").read_text())
    assert samples[0]["prompt"]
    assert samples[0]["tuned"]
    assert "Colour:" in (folder / "report" / "sheet.html").read_text()


STEPS = {"maxSteps": 6, "saveEverySteps": 2, "warmupRatio": 0.0}


def weights_of(folder: Path, part: str) -> dict[str, Any]:
    [file] = (folder / part).glob("*.safetensors")
    return load_file(file)


def cut_back(folder: Path, output: Path, step: int) -> None:
    """As after SIGKILL behind a checkpoint."""
    shutil.copytree(folder / "checkpoints", output / "checkpoints")
    for each in (output / "checkpoints").glob("step-*"):
        if int(each.name.removeprefix("step-")) > step:
            shutil.rmtree(each)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "lost"])
@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_where_all_is_trained_what_the_start_says_is_kept(
    make_preference: MakePreference, tmp_path: Path, objective: str, kept: bool
) -> None:
    """A run that goes on compares with the same numbers, or asks the base for them again."""
    fields: dict[str, Any] = {
        "preference": {"objective": objective},
        "training": {**STEPS, "learningRate": 1e-3},
        "method": {"type": "full"},
    }
    whole = make_preference(output=f"file://{tmp_path}/whole", **fields)
    result = Run(whole).execute()
    assert result.evaluation
    assert result.evaluation.base["reward_margin"] == pytest.approx(0, abs=1e-6)
    assert result.evaluation.tuned["reward_margin"] > 0
    said = json.loads((tmp_path / "whole" / startanswers.KEY).read_text())
    numbers = 3 if objective == "kto" else 2
    assert {name: len(rows) for name, rows in said["parts"].items()} == {
        "train": 45,
        "watched": 0,
        "reported": 18,
    }
    assert {len(row) for row in said["parts"]["train"]} == {numbers}
    resumed = make_preference(output=f"file://{tmp_path}/resumed", **fields)
    cut_back(tmp_path / "whole", tmp_path / "resumed", 2)
    if not kept:
        (tmp_path / "resumed" / startanswers.KEY).unlink()
    run = Run(resumed)
    again = run.execute()
    assert run.state.reporter.report.resumed_from_step == 2
    assert same(weights_of(tmp_path / "whole", "model"), weights_of(tmp_path / "resumed", "model"))
    assert again.evaluation == result.evaluation
    assert json.loads((tmp_path / "resumed" / startanswers.KEY).read_text()) == said


def test_what_goes_on_from_an_adapter_compares_with_it(
    make_preference: MakePreference, make_spec: MakeSpec, tmp_path: Path
) -> None:
    """First answers are learnt, then which are better: the start is the first result. It may be
    gone by the time the training goes on; what it said may not."""
    first = make_spec(output=f"file://{tmp_path}/first", training=STEPS, metrics=["loss"])
    assert Run(first).execute().artifact
    order = make_preference(output=f"file://{tmp_path}/whole", training=STEPS)
    model = type(order.fine_tuning.model).model_validate(
        {**order.fine_tuning.model.to_json(), "adapter": {"uri": f"file://{tmp_path}/first"}}
    )
    tuning = order.fine_tuning.model_copy(update={"model": model})
    order = order.model_copy(update={"fine_tuning": tuning})
    result = Run(order).execute()
    said = json.loads((tmp_path / "whole" / startanswers.KEY).read_text())["parts"]["reported"]
    assert result.evaluation
    # The base isn't the start: to it the answers of the first training are news.
    assert result.evaluation.base["reward_margin"] != pytest.approx(0, abs=1e-4)
    assert len(said) == 18

    goes_on = order.model_copy(update={"output": f"file://{tmp_path}/resumed"})
    cut_back(tmp_path / "whole", tmp_path / "resumed", 2)
    assert Run(goes_on).execute().evaluation == result.evaluation
    both = [weights_of(tmp_path / name, "adapter") for name in ("whole", "resumed")]
    assert same(*both)

    lost = order.model_copy(update={"output": f"file://{tmp_path}/lost"})
    cut_back(tmp_path / "whole", tmp_path / "lost", 2)
    (tmp_path / "lost" / startanswers.KEY).unlink()
    with pytest.raises(TrainerError, match="train anew") as caught:
        Run(lost).execute()
    assert caught.value.error.code == "StartLost"


def test_it_stops_by_what_is_preferred_and_tells_how_far_it_went(
    make_preference: MakePreference,
) -> None:
    order = make_preference(
        metrics=["preference_accuracy", "kl", "loss"],
        training={
            "maxSteps": 12,
            "evalEverySteps": 2,
            "earlyStopping": {"metric": "preference_accuracy", "patience": 2},
        },
        dataset={"evalFraction": 0.2},
    )
    result = Run(order).execute()
    assert result.evaluation
    assert result.evaluation.base["kl"] == 0
    assert result.evaluation.tuned["kl"] > 0.01
    lines = (folder_of(order) / "report" / "metrics.jsonl").read_text().splitlines()
    watched = [e["eval_preference_accuracy"] for e in map(json.loads, lines) if "eval_loss" in e]
    assert watched[-1] > 0.5


@pytest.mark.parametrize("objective", ["dpo", "kto"])
def test_what_is_in_use_is_compared_by_the_same_start(
    make_preference: MakePreference, tmp_path: Path, objective: str
) -> None:
    def order(number: int, steps: int, **fields: Any) -> Any:
        name = f"r{number}-{'ab' * 4}"
        return make_preference(
            output=f"file://{tmp_path}/out/team-a/colours/{name}",
            run={"revision": name},
            preference={"objective": objective},
            training={"maxSteps": steps},
            anew=True,
            **fields,
        )

    first = Run(order(1, 8)).execute()
    assert first.artifact
    assert first.evaluation
    ref = SourceRef(**dict(first.artifact), revision=first.revision)
    second = Run(order(2, 2, incumbent=ref)).execute()
    assert second.evaluation
    assert second.evaluation.in_use == pytest.approx(first.evaluation.tuned, rel=1e-4)
    assert second.evaluation.gain["reward_margin"].by < 0


@pytest.mark.parametrize("rows", [pair_rows, single_rows])
def test_its_package_is_measured_as_a_language_model(
    make_preference: MakePreference, tmp_path: Path, rows: Any
) -> None:
    """On the better answers to the rows that it was reported on."""
    model = tiny_decoder("llama", tmp_path / "model")
    order = make_preference(
        model=f"file://{model}", rows=rows, preference={"objective": "kto"}, lora={"dropout": 0.0}
    )
    Run(order).execute()
    optimized = order_maker(folder_of(order), tmp_path)(
        precisions=["fp32"], gates={"maxPerplexityIncrease": 0.01}
    )
    [candidate] = Optimization(optimized).execute().candidates
    assert candidate.verdict == "Chosen", candidate
    assert candidate.perplexity
    assert (folder_of(optimized) / "model" / "genai_config.json").exists()
    asked = json.loads((folder_of(order) / "adapter" / "ask.json").read_text())
    assert (asked["form"], asked["columns"]) == ("prompt", ["prompt"])
    assert asked["row"]["prompt"].startswith("Text:")
