"""Batches without padding are the same training as padded ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.cells import CAUSAL, FP32, source, spec
from unit.trainer.objectives_support import assert_same, backward, gradients, tokenizer_of
from unit.trainer.run_cells import GROUPS, Cell
from unit.trainer.run_methods_support import spec_of, training_losses
from unit.trainer.tiny import DECODERS

from luthier_trainer.finetune import load
from luthier_trainer.finetune.run import Run
from luthier_trainer.methods.apply import tune
from luthier_trainer.methods.support import SUPPORTED
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.isolation import isolation
from luthier_trainer.objectives.tokens import Encoder, Tokens, compact
from luthier_trainer.training.neftune import noise_on_embeddings

METHODS = [method for method in SUPPORTED["decoder", CAUSAL] if method not in ("prompt", "prefix")]
_FORMS = {form.name: form for group in GROUPS for form in group}
# Longer and shorter than Gemma's windows of 16; the last batch of an epoch is one row.
BATCHES = [[(5, 3), (30, 12), (1, 1)], [(17, 2), (2, 20)], [(24, 6)]]


def items_of(batch: list[tuple[int, int]], learn_prompt: bool = False) -> list[Tokens]:
    return [
        compact(
            [3 + (7 * i + prompt) % 90 for i in range(prompt)],
            [3 + (5 * i + answer) % 90 for i in range(answer)],
            learn_prompt,
            [(2, 4)] if prompt > 4 else [],
        )
        for prompt, answer in batch
    ]


def step(objective: Any, model: Any, learn_prompt: bool) -> tuple[float, Any]:
    """Loss and gradients of an optimiser step of all batches."""
    made = [objective.collate(items_of(batch, learn_prompt)) for batch in BATCHES]
    count = torch.tensor(sum(map(objective.count_targets, made)))
    loss = sum(backward(objective.loss(model, batch, count)) for batch in made)
    return loss, gradients(model)


def assert_joined_equals_padded(
    name: str, method: str, checkpointing: bool, learn_prompt: bool = False, **training: Any
) -> None:
    model = tune(spec(method, training), source(name), FP32).model.train()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:  # zeros at first: then lora_A has no gradient
                torch.nn.init.normal_(parameter, std=0.1)
    assert isolation(model).holds
    assert model.training
    if checkpointing:
        model.activation_checkpointing_enable()
    tokenizer = tokenizer_of(name)
    padded = Causal(tokenizer, Encoder(tokenizer, 64, learn_prompt), 64)
    expected = step(padded, model, learn_prompt)
    found = step(padded.without_padding(), model, learn_prompt)
    assert_same(model, found, expected)
    assert_same(model, step(padded, model, learn_prompt), expected)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, checkpointing: bool) -> None:
    assert_joined_equals_padded("llama", method, checkpointing)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", DECODERS)
def test_every_architecture(name: str, checkpointing: bool) -> None:
    assert_joined_equals_padded(name, "full", checkpointing, learn_prompt=True)


@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_windows_are_seen(name: str) -> None:
    """As the models of the other tests have them: without, the loss is another one."""
    losses = []
    tokenizer = tokenizer_of(name)
    objective = Causal(tokenizer, Encoder(tokenizer, 64, True), 64).without_padding()
    batch = objective.collate(items_of(BATCHES[0], learn_prompt=True))
    model = tune(spec("full"), source(name), FP32).model
    windows = [layer.self_attn.sliding_window for layer in model.model.layers]
    assert windows == [16, None]
    for window in windows:
        model.model.layers[0].self_attn.sliding_window = window
        losses.append(objective.loss(model, batch, 1).item())
    assert abs(losses[0] - losses[1]) > 1e-3


def test_nothing_waits_for_the_device() -> None:
    """No operation of a step has a result whose size or value the host asks for."""
    model = tune(spec("lora"), source("llama"), FP32).model.train()
    tokenizer = tokenizer_of("llama")
    objective = Causal(tokenizer, Encoder(tokenizer, 64, False), 64).without_padding()
    batch = objective.collate(items_of(BATCHES[0]))
    count = torch.tensor(objective.count_targets(batch))
    objective.loss(model, batch, count)  # what is done once
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        torch.autograd.backward(objective.loss(model, batch, count))
    called = {event.key for event in profile.key_averages()}
    assert "aten::addmm" in called or "aten::mm" in called
    waiting = {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero"}
    assert not called & {*waiting, "aten::masked_select", "aten::equal"}


def test_noise_is_as_large() -> None:
    """By the longest example, not by the row that all are joined to."""
    model = tune(spec("lora"), source("llama"), FP32).model.train()
    embeddings = model.get_base_model().get_input_embeddings()
    tokenizer = tokenizer_of("llama")
    padded = Causal(tokenizer, Encoder(tokenizer, 64, False), 64)
    largest = []
    for objective in (padded, padded.without_padding()):
        batch = objective.collate(items_of(BATCHES[0]))
        seen: list[torch.Tensor] = []
        with noise_on_embeddings(model, 5):
            hook = embeddings.register_forward_hook(lambda _, __, y, seen=seen: seen.append(y))
            objective.loss(model, batch, 1)
            hook.remove()
        largest.append((seen[0] - embeddings(batch["input_ids"])).abs().max().item())
    most = 5 / (42 * 32) ** 0.5
    assert largest == pytest.approx([most, most], rel=0.02)
    assert max(largest) <= most


@pytest.mark.parametrize("form", ["completion", "chat"])
def test_a_run_has_the_same_losses_step_by_step(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So each step is of the same rows: 3 steps an epoch, the last batch of two rows."""
    cell = Cell(_FORMS[form], "llama", "lora")
    losses, told = [], []
    for batching in ("padded", "joined"):
        with monkeypatch.context() as patch:
            patch.setattr(load, "batching", lambda *_, kind=batching, **__: kind)
            run = Run(
                spec_of(
                    cell,
                    tmp_path / batching,
                    merge=False,
                    dataset={"test": None, "eval": "test"},
                    maxSteps=7,
                    perDeviceBatchSize=5,
                    evalEverySteps=2,
                    dropout=0.0,
                )
            )
            assert run.execute().outcome == "Succeeded"
        losses.append(training_losses(tmp_path / batching / "output"))
        told.append(run.pod.reporter.report.resolved)
        assert run.state.evaluation
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(set(losses[0])) == 7
    padded, joined = told
    assert (padded["padding"], joined["padding"]) == ("on", "off")
    assert {**padded, "padding": "off"} == joined
