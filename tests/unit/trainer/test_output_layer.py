"""Many targets have their logits a part at a time: the same loss and gradients, in less memory."""

import gc
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, CohereConfig, GraniteConfig
from unit.trainer.cells import BF16, FP32, source, spec
from unit.trainer.objectives_support import tokenizer_of
from unit.trainer.test_loss import CONFIGS, SIZES, example, gradients, model_of

from luthier_trainer.data.examples import Completion
from luthier_trainer.methods.apply import tune
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives import outputlayer
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.collate import collate, count_targets
from luthier_trainer.objectives.loss import causal_loss, losses_alone, losses_of_examples
from luthier_trainer.objectives.outputlayer import (
    Read,
    in_parts,
    logits_bytes,
    loss_in_parts,
    losses_in_parts,
    plain_head,
    remember_plain_head,
)
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tokens import Encoder

FP16 = Precision("fp16")
PLAIN = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox")


@pytest.fixture
def of_two_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of so many, of the vocabulary of test_loss."""
    monkeypatch.setattr(outputlayer, "_PART", 2 * SIZES["vocab_size"])


def test_what_stands_behind_the_output_layer_is_found_out() -> None:
    assert [name for name in CONFIGS if remember_plain_head(model_of(name), None)] == [*PLAIN]
    assert plain_head(model_of("llama")) is None  # nobody has looked
    scaled = {
        "granite": GraniteConfig(**SIZES, logits_scaling=4.0),
        "cohere": CohereConfig(**SIZES, logit_scale=0.0625),
    }
    for config in scaled.values():
        assert not remember_plain_head(AutoModelForCausalLM.from_config(config), None)


@pytest.mark.parametrize("precision", [FP32, BF16, FP16], ids=lambda it: it.name)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("method", ["lora", "full", "qlora"])
def test_found_out_in_the_arithmetic_of_the_run(
    architecture: str, method: str, precision: Precision
) -> None:
    model = tune(spec(method), source(architecture), precision).model
    training = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    autocast = None if precision is FP32 else precision.dtype
    assert remember_plain_head(model, autocast)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == training
    assert "forward" not in vars(plain_head(model))


def test_a_model_without_an_output_layer_has_no_plain_one() -> None:
    model = tune(spec("lora"), source("llama", "AutoModelForSequenceClassification"), FP32).model
    assert not remember_plain_head(model, None)
    assert logits_bytes(model, 10) == 0


@pytest.mark.usefixtures("of_two_targets")
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("trained", ["adapter", "all"])
def test_loss_and_gradients_are_the_whole_forward_s(name: str, trained: str) -> None:
    model = model_of(name)
    if trained == "all":
        model.requires_grad_(True)
    inputs = collate([example(5, 2), example(9, 4), example(3, 3)], pad_id=0)
    count = count_targets(inputs["labels"])
    expected = causal_loss(model, inputs, True, count)
    torch.autograd.backward(expected)
    expected_gradients = gradients(model)
    model.zero_grad()

    assert remember_plain_head(model, None)
    assert in_parts(model, count)
    loss = causal_loss(model, inputs, True, count)
    torch.autograd.backward(loss)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    found = gradients(model)
    assert found.keys() == expected_gradients.keys()
    for parameter, gradient in expected_gradients.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.usefixtures("of_two_targets")
@pytest.mark.parametrize("architecture", ["t5", "bart"])
def test_the_same_for_encoder_decoders(architecture: str) -> None:
    model = tune(spec("lora"), source(architecture), FP32).model
    objective = Seq2Seq(tokenizer_of(architecture), 64)
    rows = [
        Completion("the sky", "blue and wide", "", "r"),
        Completion("grass is", "green", "", "r"),
    ]
    inputs = objective.collate(objective.encode(rows))
    count = objective.count_targets(inputs)
    losses = []
    for _ in range(2):
        loss = objective.loss(model, inputs, count)
        torch.autograd.backward(loss)
        losses.append((loss.detach(), gradients(model)))
        model.zero_grad()
        remember_plain_head(model, None)
    assert in_parts(model, count)
    (expected, expected_gradients), (found, found_gradients) = losses
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
def test_as_near_to_fp32_as_the_whole_forward(
    dtype: torch.dtype, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many classes, none of them likely: the gradients of most are too small for fp16."""
    torch.manual_seed(0)
    head = nn.Linear(16, 5000, bias=bias)
    hidden = torch.randn(24, 16, requires_grad=True)
    targets = torch.randint(5000, (24,))
    monkeypatch.setattr(outputlayer, "_PART", 7 * 5000)

    def whole() -> Tensor:
        logits = head(hidden).float()
        return nn.functional.cross_entropy(logits, targets, reduction="sum")

    def parts() -> Tensor:
        return loss_in_parts(Read(hidden, dtype), head, targets)

    exact = _gradients(whole, hidden, head)
    with torch.autocast("cpu", dtype=dtype):
        plain, found = (_gradients(each, hidden, head) for each in (whole, parts))
    for name, gradient in exact.items():
        error = (found[name] - gradient).norm() / gradient.norm()
        assert error < max(2e-3, 1.5 * (plain[name] - gradient).norm() / gradient.norm()), name


def _gradients(loss: Callable[[], Tensor], hidden: Tensor, head: nn.Linear) -> dict[str, Tensor]:
    hidden.grad = None
    head.zero_grad()
    total = loss() / 100
    torch.autograd.backward(total)
    assert hidden.grad is not None
    named = {name: p.grad for name, p in head.named_parameters() if p.grad is not None}
    return {"loss": total.detach(), "hidden": hidden.grad.clone()} | {
        name: gradient.clone() for name, gradient in named.items()
    }


def test_a_second_backward_pass_is_an_error() -> None:
    hidden = torch.randn(4, 8, requires_grad=True)
    loss = loss_in_parts(Read(hidden), nn.Linear(8, 16), torch.arange(4))
    torch.autograd.backward(loss, retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.backward(loss)


def test_smoothed_and_few_targets_have_their_logits_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of("llama")
    remember_plain_head(model, None)
    inputs = collate([example(5, 2), example(9, 4)], pad_id=0)
    expected = float(causal_loss(model, inputs, True, 6, smoothing=0.1))
    assert in_parts(model, 6) is None
    monkeypatch.setattr(outputlayer, "_PART", 96)
    assert in_parts(model, 6) is not None
    assert float(causal_loss(model, inputs, True, 6, smoothing=0.1)) == expected


@pytest.mark.usefixtures("of_two_targets")
def test_evaluation_makes_no_logits_of_a_whole_batch() -> None:
    model = model_of("llama").eval()
    inputs = collate([example(5, 2), example(9, 4), example(3, 3)], pad_id=0)
    assert losses_alone(model, inputs) is None
    remember_plain_head(model, None)
    with torch.inference_mode():
        found = losses_alone(model, inputs)
        whole = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        expected = losses_of_examples(whole.logits[:, :-1], inputs["labels"][:, 1:])
    assert found
    assert [count for _, count in found] == [count for _, count in expected] == [2, 4, 3]
    for (one, _), (other, _) in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_a_loss_in_parts_holds_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 targets of 8,000 classes: 16 MB of logits, of which a sixteenth is made at a time."""
    hidden, head = torch.randn(512, 32, requires_grad=True), nn.Linear(32, 8000, bias=False)
    head.requires_grad_(False)
    targets = torch.randint(8000, (512,))
    logits = 512 * 8000 * 4
    monkeypatch.setattr(outputlayer, "_PART", 32 * 8000)

    def whole() -> Tensor:
        return nn.functional.cross_entropy(head(hidden), targets, reduction="sum")

    def learn(loss: Callable[[], Tensor]) -> int:
        return peak_of(lambda: torch.autograd.backward(loss()))

    assert learn(whole) > 2.9 * logits
    assert learn(lambda: loss_in_parts(Read(hidden), head, targets)) < 0.25 * logits
    with torch.no_grad():
        assert peak_of(lambda: losses_in_parts(Read(hidden), head, targets)) < 0.25 * logits


def test_what_logits_take_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    remember_plain_head(model, None)
    monkeypatch.setattr(outputlayer, "_PART", 8 * 96)
    assert logits_bytes(model, 8) == 12 * 8 * 96
    assert logits_bytes(model, 9) == logits_bytes(model, 900) == 8 * 8 * 96


def peak_of(work: Callable[[], Any]) -> int:
    """Bytes of tensors that it makes and holds at once."""
    gc.collect()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        work()
    assert profile.profiler
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


def test_a_run_s_loss_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the objective, with LoRA's fused layers in bf16."""
    tokenizer = tokenizer_of("llama")
    objective = Causal(tokenizer, Encoder(tokenizer, 64, False), 64)
    model: Any = tune(spec("lora"), source("llama"), BF16).model
    inputs = collate([example(5, 2), example(9, 4), example(3, 3)], pad_id=0)
    losses = []
    for part in (1 << 26, 3 * 400):
        monkeypatch.setattr(outputlayer, "_PART", part)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            remember_plain_head(model, torch.bfloat16)
            losses.append(float(objective.loss(model, inputs, 10)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
