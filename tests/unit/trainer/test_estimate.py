"""What a training is expected to need, and what it then needs."""

import gc
import time
from array import array
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.cells import BF16, FP32, LABELS, main_class, source, spec
from unit.trainer.objectives_support import tokenizer_of
from unit.trainer.tiny import ARCHITECTURES, ENCODER_DECODERS, ENCODERS
from unit.trainer.training_runs import Causal, llama, lora_llama, rows

from luthier_api.training import Training
from luthier_trainer.errors import TrainerError
from luthier_trainer.machine import memory
from luthier_trainer.machine.memory import limit_bytes
from luthier_trainer.methods.apply import tune
from luthier_trainer.methods.support import SUPPORTED
from luthier_trainer.models.architecture import Kind
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.causal import Causal as RealCausal
from luthier_trainer.objectives.classifier import Classed, Classifier
from luthier_trainer.objectives.seq2seq import Seq2Seq, Sides
from luthier_trainer.objectives.tokens import Encoder, compact
from luthier_trainer.training import estimate, generators
from luthier_trainer.training.estimate import calibrate, memory_of
from luthier_trainer.training.resolve import Resolved, resolve

PLENTY = 1 << 50
# One architecture of each kind, with every method that it supports, and those beside them.
_OF_KINDS: tuple[tuple[str, Kind], ...] = (
    ("llama", "decoder"),
    ("bert", "encoder"),
    ("t5", "encoder-decoder"),
)
# A prefix is a cache, which checkpointing does without: refused.
EVERY_METHOD = [
    (name, method, checkpointing)
    for name, kind in _OF_KINDS
    for method in SUPPORTED[kind, main_class(name)]
    for checkpointing in (False, True)
    if not (method == "prefix" and checkpointing)
]
OTHERS = [name for name in ARCHITECTURES if name not in dict(_OF_KINDS)]


def settings(**changes: Any) -> Training:
    return Training.model_validate({"maxSteps": 10, "perDeviceBatchSize": "auto", **changes})


def test_a_calibration_leaves_no_trace() -> None:
    model = lora_llama()
    model.eval()
    before, _ = generators.capture()
    weights = {n: p.clone() for n, p in model.named_parameters()}
    found = calibrate(model, Causal(), rows(20), FP32, 8)
    after, _ = generators.capture()
    assert found.activations(96) > 0
    assert found.seconds_per_token > 0
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(weights[n], p) for n, p in model.named_parameters())


def test_the_time_is_not_of_a_first_pass() -> None:
    """That one loads libraries."""
    model = lora_llama()
    passes = []

    def slow_at_first(*_: Any) -> None:
        passes.append(1)
        if len(passes) == 1:
            time.sleep(2)

    model.register_forward_pre_hook(slow_at_first)
    found = calibrate(model, Causal(), rows(20), FP32, 8)
    assert found.seconds_per_token * found.tokens < 1


@pytest.mark.parametrize(("seconds", "timed"), [(1e9, [6, 6, 32]), (0.0, [6, 6])])
def test_the_time_is_of_a_batch_where_that_takes_a_moment(
    seconds: float, timed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small batches are slower by the token."""
    monkeypatch.setattr(estimate, "_TIMED_SECONDS", seconds)
    model = lora_llama()
    sizes = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: sizes.append(len(inputs["input_ids"])), with_kwargs=True
    )
    calibrate(model, Causal(), rows(64), FP32, 32)
    assert sizes == timed


@pytest.mark.parametrize("precision", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("architecture", "method", "checkpointing"), EVERY_METHOD)
def test_what_is_counted_of_two_rows_is_what_eight_need(
    architecture: str, method: str, precision: Precision, checkpointing: bool
) -> None:
    assert_counted(architecture, method, precision, checkpointing)


@pytest.mark.parametrize(
    ("precision", "checkpointing"), [(FP32, False), (BF16, True)], ids=["fp32", "bf16-again"]
)
@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("architecture", OTHERS)
def test_what_is_counted_holds_for_every_architecture(
    architecture: str, method: str, precision: Precision, checkpointing: bool
) -> None:
    assert_counted(architecture, method, precision, checkpointing)


def assert_counted(
    architecture: str, method: str, precision: Precision, checkpointing: bool
) -> None:
    """Within a quarter of what torch's profiler sees; in bf16, which CPUs compute in various ways,
    within two fifths."""
    model = tune(spec(method), source(architecture), precision).model
    objective, items = eight_rows(architecture)
    if checkpointing:
        model.activation_checkpointing_enable()
    found = calibrate(model, objective, items, precision, 8)
    assert found.tokens == 2 * 48
    expected = found.copy_bytes + found.activations(8 * 48)
    near = 0.25 if precision is FP32 else 0.4
    assert expected == pytest.approx(profiled(model, objective, items, precision), rel=near)


def eight_rows(architecture: str) -> tuple[Any, list[Any]]:
    """An objective, and 8 rows of 48 tokens."""
    tokenizer, ids = tokenizer_of(architecture), array("i", [9 + i % 40 for i in range(48)])
    if architecture in ENCODERS:
        return Classifier(tokenizer, LABELS, 64), [Classed(ids, i % 3, 0) for i in range(8)]
    if architecture in ENCODER_DECODERS:
        return Seq2Seq(tokenizer, 64), [Sides(ids[:40], ids[40:], 0)] * 8
    return language_model(tokenizer), [compact(ids[:40], ids[40:], False)] * 8


def language_model(tokenizer: Any) -> RealCausal:
    return RealCausal(tokenizer, Encoder(tokenizer, 64, False), 64)


def profiled(model: Any, objective: Any, items: list[Any], precision: Precision) -> int:
    """Bytes that a pass held at once beside gradients that are there before it."""
    batch = objective.collate(items)
    gc.collect()  # what earlier tests left would be counted where it is let go
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        with torch.autocast("cpu", precision.dtype, enabled=precision.name != "fp32"):
            loss = objective.loss(model, batch, objective.count_targets(batch))
        torch.autograd.backward(loss)
    assert profile.profiler
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = accumulate(event.nbytes() for event in sorted(events, key=lambda e: e.start_ns()))
    return max(held)


def test_targets_alone_have_logits() -> None:
    """Rows of as many tokens, with fewer or more targets among them."""
    model = tune(spec("lora"), source("llama"), FP32).model
    objective = language_model(tokenizer_of("llama"))
    few = [compact([9] * 40, [7] * 8, False)] * 8
    mixed = [compact([9] * (40 - 4 * i), [7] * (8 + 4 * i), False) for i in range(8)]
    found = {}
    for name, items in {"few": few, "mixed": mixed}.items():
        calibrated = calibrate(model, objective, items, FP32, 8)
        found[name] = calibrated.activations(8 * 48)
        assert found[name] == pytest.approx(profiled(model, objective, items, FP32), rel=0.25)
    assert found["mixed"] > 1.1 * found["few"]


def test_a_batch_of_rows_of_many_lengths_is_expected_padded() -> None:
    """The sample needn't hold its longest row."""
    model = tune(spec("lora"), source("llama"), FP32).model
    objective = language_model(tokenizer_of("llama"))
    items = [compact([9] * 2 * i, [7] * 4, False) for i in range(5, 23)]
    longest = items[-8:]
    found = calibrate(model, objective, items, FP32, 8)
    expected = found.activations(8 * len(items[-1]))
    assert expected == pytest.approx(profiled(model, objective, longest, FP32), rel=0.25)


def test_a_batch_of_rows_of_many_lengths_is_expected_joined() -> None:
    """Its tokens count, and no padding."""
    model = tune(spec("lora"), source("llama"), FP32).model
    objective = language_model(tokenizer_of("llama")).without_padding()
    items = [compact([9] * 2 * i, [7] * 4, False) for i in range(5, 23)]
    longest = items[-8:]
    found = calibrate(model, objective, items, FP32, 8, padded=False)
    expected = found.activations(sum(map(len, longest)))
    assert expected == pytest.approx(profiled(model, objective, longest, FP32), rel=0.25)
    given = settings(perDeviceBatchSize=8, gradientCheckpointing="Never")
    needs = [
        resolve(model, each, items, given, FP32, PLENTY, batching=batching).estimate.memory_bytes
        for each, batching in (
            (language_model(tokenizer_of("llama")), "padded"),
            (objective, "joined"),
        )
    ]
    assert needs[1] < needs[0]


def test_the_state_of_full_fine_tuning_is_counted() -> None:
    model = llama()
    weights = sum(p.numel() for p in model.parameters())
    calibrated = calibrate(model, Causal(), rows(8), FP32, 2)
    found = memory_of(model, settings(), 1000, calibrated)
    assert found.gradients == 4 * weights
    assert found.optimizer == 8 * weights
    assert found.total(0) == 1000 + (4 + 8 + 2 * 12) * weights + found.summed
    assert found.total(10_000) > found.total(5_000)


def test_states_of_embeddings_are_in_32_bits() -> None:
    model = llama()
    weights = sum(p.numel() for p in model.parameters())
    embeddings = model.get_input_embeddings().weight.numel()
    calibrated = calibrate(model, Causal(), rows(8), FP32, 2)
    found = memory_of(model, settings(optimizer="adamw_bnb_8bit"), 0, calibrated)
    assert found.optimizer == 2 * (weights - embeddings) + 8 * embeddings


def test_weights_in_bf16_have_gradients_in_bf16_and_a_step_in_fp32() -> None:
    model = llama().to(torch.bfloat16)
    weights = sum(p.numel() for p in model.parameters())
    largest = max(p.numel() for p in model.parameters())
    calibrated = calibrate(model, Causal(), rows(8), FP32, 2)
    found = memory_of(model, settings(), 0, calibrated)
    assert found.gradients == 2 * weights
    assert found.snapshots == 2 * (2 + 8) * weights
    assert found.step == 12 * largest


@pytest.mark.parametrize("steps", [1, 2])
def test_gradients_lie_beside_activations_where_they_accumulate(steps: int) -> None:
    model = llama()
    calibrated = calibrate(model, Causal(), rows(8), FP32, 2)
    found = memory_of(model, settings(gradientAccumulationSteps=steps), 0, calibrated)
    more = found.total(10_000) - found.total(0)
    activations = found.activations(10_000)
    assert more == (activations if steps > 1 else activations - found.gradients)


def test_glibc_needs_more_for_the_same_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    calibrated = calibrate(model, Causal(), rows(8), FP32, 2)
    monkeypatch.setenv("LD_PRELOAD", "")
    glibc = memory_of(model, settings(), 0, calibrated)
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4")
    tcmalloc = memory_of(model, settings(), 0, calibrated)
    assert glibc.activations(100) == pytest.approx(1.4 * tcmalloc.activations(100))


@pytest.mark.parametrize(("room", "size"), [(PLENTY, 32), (0, 1)])
def test_the_largest_batch_that_fits(room: int, size: int) -> None:
    found = resolve(llama(), Causal(), rows(1700), settings(), FP32, room)
    assert found.batch_size == size
    assert found.notes["perDeviceBatchSize"] == str(size)


def test_a_batch_of_eight_where_one_of_sixteen_has_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "used_bytes", lambda: 0)  # it grows as the tests go on

    def found(size: int | str, room: int) -> Resolved:
        given = settings(perDeviceBatchSize=size, gradientCheckpointing="Never")
        return resolve(llama(), Causal(), rows(850), given, FP32, room)

    eight, sixteen = (found(size, PLENTY).estimate.memory_bytes for size in (8, 16))
    assert found("auto", int(0.5 * (eight + sixteen) / 0.9)).batch_size == 8
    assert found("auto", int(1.01 * sixteen / 0.9)).batch_size == 16


def test_a_batch_is_no_larger_than_the_data_and_a_given_one_stays() -> None:
    assert resolve(llama(), Causal(), rows(5), settings(), FP32, PLENTY).batch_size == 1
    given = settings(perDeviceBatchSize=3)
    assert resolve(llama(), Causal(), rows(5), given, FP32, PLENTY).batch_size == 3


@pytest.mark.parametrize(
    ("room", "examples", "words", "param"),
    [
        (0, 40, "auto came to 1", "training.perDeviceBatchSize"),
        (PLENTY, 1, "train has one row", "dataset.train"),
    ],
)
def test_one_pair_has_no_negatives(room: int, examples: int, words: str, param: str) -> None:
    given = settings(similarity={"objective": "in_batch_negatives"})
    assert resolve(llama(), Causal(), rows(4), given, FP32, PLENTY).batch_size == 4
    with pytest.raises(TrainerError, match=words) as caught:
        resolve(llama(), Causal(), rows(examples), given, FP32, room)
    assert (caught.value.error.code, caught.value.error.param) == ("NoNegatives", param)


@pytest.mark.parametrize(
    ("wish", "room", "on"),
    [("Auto", PLENTY, False), ("Auto", 0, True), ("Never", 0, False), ("Always", PLENTY, True)],
)
def test_gradient_checkpointing_where_memory_asks_for_it(wish: str, room: int, on: bool) -> None:
    model = lora_llama()
    given = settings(gradientCheckpointing=wish)
    found = resolve(model, Causal(), rows(8), given, FP32, room)
    assert found.gradient_checkpointing is on
    assert model.is_gradient_checkpointing is on
    assert len(model.get_input_embeddings()._forward_hooks) == int(on)


def test_a_resumed_run_keeps_what_was_decided() -> None:
    first = resolve(lora_llama(), Causal(), rows(40), settings(), FP32, 0)
    again = resolve(lora_llama(), Causal(), rows(40), settings(), FP32, PLENTY, kept=first.kept)
    decided = {"batchSize": "1", "gradientCheckpointing": "on", "packing": "off"}
    decided["lengths"] = "exact"
    assert again.kept == first.kept == decided


def test_the_limit_is_the_cgroups(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("123456789\n")
    assert limit_bytes(None, tmp_path) == 123456789
    assert limit_bytes(1000, tmp_path) == 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert limit_bytes(None, tmp_path) > 1 << 28
