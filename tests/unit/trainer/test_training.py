"""Training goes on bit for bit where it was stopped, whatever its settings."""

from pathlib import Path
from typing import Any

import pytest
from unit.trainer.training_runs import (
    PACKING,
    Fit,
    course,
    llama,
    lora_llama,
    rows,
    same,
)

from luthier_trainer.training.environment import difference, environment

KINDS: dict[str, dict[str, Any]] = {
    "full, dropout": {"make_model": lambda: llama(0.1)},
    "lora, dropout": {"make_model": lora_llama},
    "shuffled": {"settings": {"groupByLength": False, "gradientAccumulationSteps": 1}},
    "accumulation": {"settings": {"gradientAccumulationSteps": 4, "perDeviceBatchSize": 2}},
    "workers": {"settings": {"dataloaderWorkers": 2, "maxSteps": 6}, "make_model": lora_llama},
    "packed": {"packing": PACKING},
    "checkpointed": {"make_model": lora_llama, "checkpointing": True},
    "neftune": {"make_model": lora_llama, "settings": {"neftuneNoiseAlpha": 5}},
    "evaluations": {
        "eval_items": rows(6, seed=9),
        "settings": {"evalEverySteps": 1, "scheduler": "reduce_lr_on_plateau", "maxSteps": 16},
    },
    "greedy": {
        "eval_items": rows(6, seed=9),
        "settings": {"evalEverySteps": 1, "scheduler": "greedy", "maxSteps": 16},
    },
    "bf16": {"precision": "bf16", "make_model": lora_llama},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_an_undisturbed_one(kind: str, tmp_path: Path) -> None:
    """Stopped in the first, a middle and the last epoch; where an evaluation is due, before it."""
    evaluates = "eval_items" in KINDS[kind]
    whole = Fit(tmp_path / "whole", **KINDS[kind])
    undisturbed = whole()
    total = undisturbed.total_steps
    stopped = Fit(tmp_path / "stopped", **KINDS[kind])
    for stop in (2, total // 2, total - 1):
        stopped.stop_at = stop
        assert stopped().step == stop - evaluates
    stopped.stop_at = None
    resumed = stopped()
    assert resumed.step == total
    assert same(stopped.weights, whole.weights)
    assert not same(whole.weights, {n: p.detach() for n, p in _initial(whole).items()})
    assert course(resumed) == course(undisturbed)


def _initial(fit: Fit) -> dict[str, Any]:
    return {n: p for n, p in fit.make_model().named_parameters() if p.requires_grad}


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    fit = Fit(tmp_path)
    first = fit()
    weights = fit.weights
    again = fit()
    assert again.trained_tokens == 0
    assert same(fit.weights, weights)
    assert course(again) == course(first)


@pytest.mark.parametrize("kind", ["accumulation", "workers"])
def test_batches_do_not_change_the_step(kind: str, tmp_path: Path) -> None:
    """Accumulated, or loaded by workers: the same examples in a step, the same loss."""
    settings = {
        "accumulation": ({"gradientAccumulationSteps": 2}, {"gradientAccumulationSteps": 1}),
        "workers": ({"dataloaderWorkers": 2}, {"dataloaderWorkers": 0}),
    }[kind]
    items = rows(8)
    sizes = ({"perDeviceBatchSize": 4}, {"perDeviceBatchSize": 8})
    losses = []
    for number, setting in enumerate(settings):
        size = sizes[number] if kind == "accumulation" else {}
        fit = Fit(
            tmp_path / str(number),
            settings={"maxSteps": 3, "logEverySteps": 1, **setting, **size},
            items=items,
        )
        losses.append(fit().journal.series("loss")[1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_weights_that_decay_are_no_biases_and_no_norms(tmp_path: Path) -> None:
    """With a gradient of nothing only decay moves a weight."""
    import torch

    class Still(type(Fit(tmp_path / "x").objective)):  # type: ignore[misc]
        def loss(self, model: Any, batch: Any, count: Any) -> Any:
            return super().loss(model, batch, count) * 0.0

    fit = Fit(
        tmp_path / "fit",
        settings={"weightDecay": 0.5, "maxSteps": 2, "learningRate": 0.1, "scheduler": "constant"},
        objective=Still(),
    )
    fit()
    for name, before in _initial(fit).items():
        moved = not torch.equal(before.detach(), fit.weights[name])
        assert moved != ("norm" in name), name


def test_gradients_are_clipped_or_never(tmp_path: Path) -> None:
    """SGD's step is the rate times the gradient: at most the norm that is allowed."""
    import torch

    steps = []
    for norm in (0.01, 0.0):
        fit = Fit(
            tmp_path / str(norm),
            settings={
                "optimizer": "sgd",
                "scheduler": "constant",
                "maxSteps": 1,
                "learningRate": 1.0,
                "maxGradNorm": norm,
            },
        )
        norms = fit().journal.series("grad_norm")[1]
        initial = _initial(fit)
        step = torch.cat([(fit.weights[n] - initial[n].detach()).flatten() for n in initial]).norm()
        steps.append(step.item())
        assert norms[0] > 0.02
        assert steps[-1] == pytest.approx(norm or norms[0], rel=1e-3)
    assert steps[1] > steps[0]


def test_noise_on_the_embeddings_changes_training_alone(tmp_path: Path) -> None:
    plain, noisy = (
        Fit(tmp_path / str(alpha), make_model=lora_llama, settings={"neftuneNoiseAlpha": alpha})
        for alpha in (None, 10)
    )
    assert plain().journal.series("loss") != noisy().journal.series("loss")
    embeddings = noisy.model.get_input_embeddings()
    assert not embeddings._forward_hooks


def test_epochs_and_what_is_told_on_the_way(tmp_path: Path) -> None:
    fit = Fit(
        tmp_path,
        settings={"epochs": 2, "evalEverySteps": 2, "gradientAccumulationSteps": 1},
        eval_items=rows(6, seed=9),
    )
    outcome = fit()
    assert outcome.total_steps == 12  # 22 examples are 6 batches
    assert outcome.journal.series("eval_loss")[0] == [2, 4, 6, 8, 10, 12]
    assert outcome.trained_tokens == 2 * sum(map(len, fit.items))
    last = [entry for entry in outcome.journal.entries if "loss" in entry][-1]
    for name in ("tokens_per_second", "samples_per_second", "cpu_percent", "data_wait_percent"):
        assert last[name] >= 0, name
    assert outcome.learning_seconds
    assert outcome.learning_seconds < outcome.seconds  # which are those of evaluations too
    assert outcome.peak_memory_bytes
    assert last["peak_memory_bytes"] <= outcome.peak_memory_bytes
    report = fit.reporter._report
    assert report.progress.percent == "100%"
    assert report.eval_metrics["eval_loss"] == outcome.journal.series("eval_loss")[1][-1]
    for name in ("loss", "learning_rate", "grad_norm", "tokens_per_second", "samples_per_second"):
        assert getattr(report.progress, name) == last[name] > 0, name
    assert report.machine.cpu_percent is not None
    assert report.inexact_resume is None


def test_a_resume_elsewhere_says_what_differs(tmp_path: Path) -> None:
    import torch

    fit = Fit(tmp_path, stop_at=3)
    threads = torch.get_num_threads()
    fit()
    fit.stop_at = 5
    try:
        torch.set_num_threads(threads + 1)
        fit()
    finally:
        torch.set_num_threads(threads)
    assert "the number of threads" in (fit.reporter._report.inexact_resume or "")


def test_other_versions_may_make_a_resume_inexact() -> None:
    now = environment("fp32", 1, {"packing": "off"})
    assert now["peft"]
    assert now["bitsandbytes"]
    now["luthier"] = "0.2.0"
    assert difference(now, now) is None
    older = {**now, "luthier": "0.1.0", "peft": "0.1", "packing": "on"}
    told = difference(older, now) or ""
    for words in (
        "the version of Luthier (0.1.0 before, 0.2.0 now)",
        "the version of peft (0.1 before",
        "packing (on before, off now)",
    ):
        assert words in told
    del older["luthier"]  # as checkpoints were made once
    assert "the version of Luthier (an unknown one before, 0.2.0 now)" in (
        difference(older, now) or ""
    )
