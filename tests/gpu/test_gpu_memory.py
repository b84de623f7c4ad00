"""What a training is expected to need of the GPU's memory, and what it then needs."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu.models import Models
from unit.trainer.support import spec_maker

from luthier_api.optimizers import state_bytes_per_weight
from luthier_api.result import ExitCode
from luthier_api.runspec import RunSpec
from luthier_api.training import Training
from luthier_trainer.errors import from_exception
from luthier_trainer.finetune.run import Run
from luthier_trainer.machine import memory
from luthier_trainer.objectives.outputlayer import Read, loss_in_parts
from luthier_trainer.training.optimizers import make_optimizer
from luthier_trainer.training.rounding import step_bytes

_TOLERANCE = 0.25
_FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("generation", {"template": "{text}", "lossOn": "All"}),
    "bert": ("classification", {"columns": {"text": "text", "label": "label"}}),
    "t5": ("summarization", {"columns": {"prompt": "text", "completion": "summary"}}),
}


def write_rows(folder: Path, count: int, words: int) -> Path:
    """Texts of up to so many words; a word is a token or two."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    rows = []
    for number in range(count):
        text = " ".join(f"w{rng.randrange(50)}" for _ in range(rng.randrange(words // 2, words)))
        summary = " ".join(text.split()[: max(words // 8, 1)])
        rows.append({"text": text, "label": f"c{number % 4}", "summary": summary})
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


MakeSpec = Callable[..., RunSpec]


@pytest.fixture
def make(models: Models, tmp_path: Path) -> MakeSpec:
    """Runs of a few steps without evaluation, on rows of at most so many tokens."""

    def make(architecture: str, method: str, tokens: int, rows: int, **training: Any) -> RunSpec:
        task, dataset = _FORMS[architecture]
        # Half of the rows are longer than the limit, and cut.
        data = write_rows(tmp_path / "data", rows, tokens)
        folder = models.folder(architecture)
        return spec_maker(folder, data, tmp_path)(
            task=task,
            dataset={"template": None, "test": None, "train": "train", **dataset},
            method={"type": method},
            metrics=["loss"],
            training={
                "maxSteps": 4,
                "learningRate": 1e-4,
                "precision": "auto",
                "packing": "Never",
                # The gradient is there while a step's second batch passes.
                "gradientAccumulationSteps": 2,
                "saveEverySteps": 1000,
                "maxLength": tokens,
                **training,
            },
            gpus=1,
        )

    return make


def row(label: str, expected: int, measured: int) -> str:
    error = (expected - measured) / measured
    return f"{label:<44} {expected / 1e9:7.2f} GB {measured / 1e9:7.2f} GB {error:+7.1%}"


@pytest.mark.parametrize(
    ("batch", "tokens", "packing"), [(8, 128, "Never"), (32, 512, "Never"), (16, 256, "Auto")]
)
@pytest.mark.parametrize("architecture", ["llama", "bert", "t5"])
@pytest.mark.parametrize("method", ["lora", "full", "qlora", "adapter"])
def test_the_estimate(
    method: str,
    architecture: str,
    batch: int,
    tokens: int,
    packing: str,
    make: MakeSpec,
    record_property: Callable[[str, object], None],
) -> None:
    spec = make(architecture, method, tokens, 8 * batch, perDeviceBatchSize=batch, packing=packing)
    before = torch.cuda.memory_allocated()
    run = Run(spec)
    run.execute()
    estimate = run.pod.reporter.report.estimate
    assert estimate
    assert estimate.memory_bytes
    assert estimate.measured_memory_bytes
    expected = estimate.memory_bytes - before
    measured = estimate.measured_memory_bytes - before
    joined = ", no padding" if run.pod.reporter.report.resolved["padding"] == "off" else ""
    label = f"{method}, {architecture}, batch {batch}, {tokens} tokens{joined}"
    record_property(
        "measured",
        ("memory: what, estimate, measured, error", row(label, expected, measured)),
    )
    assert expected == pytest.approx(measured, rel=_TOLERANCE)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_chosen_batch_fits_and_one_of_four_times_the_size_does_not(
    method: str,
    make: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """On a GPU of 6 GB, as far as torch knows."""
    room = 6 * 10**9
    monkeypatch.setattr(memory, "limit_bytes", lambda *_: room)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(room / total)
    run = Run(make("llama", method, 256, 2400, perDeviceBatchSize="auto"))
    run.execute()
    chosen = int(run.pod.reporter.report.resolved["perDeviceBatchSize"])
    estimate = run.pod.reporter.report.estimate
    assert estimate
    assert run.pod.reporter.report.resolved["gradientCheckpointing"] == "off"
    assert 4 <= chosen <= 128
    record_property(
        "measured",
        (
            "batch size `auto` on 6 GB: what, estimate, measured, error",
            row(
                f"{method}, llama, 256 tokens: batch {chosen}",
                estimate.memory_bytes or 0,
                estimate.measured_memory_bytes or 0,
            ),
        ),
    )
    larger = make(
        "llama", method, 256, 600, perDeviceBatchSize=4 * chosen, gradientCheckpointing="Never"
    )
    larger = larger.model_copy(update={"output": f"{larger.output}-larger"})
    with pytest.raises(torch.OutOfMemoryError):
        Run(larger).execute()


SHAPE_1B = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}


def test_a_loss_of_many_targets_holds_a_part_of_its_logits() -> None:
    """4,096 targets of 128,256 tokens: 2.1 GB of logits in fp32, three times at once."""
    targets = torch.randint(128256, (4096,), device="cuda")
    hidden = torch.randn(4096, 2048, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    head = torch.nn.Linear(2048, 128256, bias=False, device="cuda", dtype=torch.bfloat16)
    head.requires_grad_(False)
    peaks, gradients = [], []
    for parts in (False, True):
        hidden.grad = None
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        if parts:
            loss = loss_in_parts(Read(hidden, torch.bfloat16), head, targets)
        else:
            logits = head(hidden).float()
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            del logits
        torch.autograd.backward(loss / 4096)
        peaks.append(torch.cuda.max_memory_allocated() - before)
        assert hidden.grad is not None
        gradients.append(hidden.grad.float().clone())
    assert peaks[0] > 5e9
    assert peaks[1] < 0.8e9
    whole, found = gradients
    assert (found - whole).norm() < 0.02 * whole.norm()


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_bnb_8bit", "paged_adamw_8bit"])
def test_weights_in_bf16_take_half(optimizer: str) -> None:
    """A step of 1.2 billion weights: weights, gradients, states, and one weight in fp32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.device("cuda"):
        model = LlamaForCausalLM(LlamaConfig(**SHAPE_1B)).to(torch.bfloat16)
    torch.cuda.reset_peak_memory_stats()
    training = Training.model_validate({"maxSteps": 1, "optimizer": optimizer})
    made = make_optimizer(model, training)
    for _ in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        made.step()
    weights = sum(p.numel() for p in model.parameters())
    embeddings = model.get_input_embeddings().weight.numel()
    state = state_bytes_per_weight(optimizer) * weights
    if "8bit" in optimizer:  # those of embeddings are in 32 bits
        state += 6 * embeddings
    expected = 4 * weights + state + step_bytes(model.parameters())
    assert torch.cuda.max_memory_allocated() - before < 1.1 * expected
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_the_limit_leaves_out_what_the_driver_holds() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    assert total / 2 < memory.limit_bytes() < total


def test_too_little_memory_is_told_with_the_lever(make: MakeSpec) -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2 * 10**9 / total)
    spec = make("llama", "full", 512, 64, perDeviceBatchSize=32, gradientCheckpointing="Never")
    with pytest.raises(torch.OutOfMemoryError) as caught:
        Run(spec).execute()
    failure = from_exception(caught.value)
    assert failure.exit_code == ExitCode.INTERNAL
    assert failure.error.code == "OutOfMemory"
    assert failure.error.param == "training.perDeviceBatchSize"
    assert "its GPU has" in failure.error.message
    assert "lower training.perDeviceBatchSize" in failure.error.message
