"""Whole runs on a GPU: every cell of docs/methods.md learns there, and its artifact is loaded
again and gives the reported loss, on the GPU and on the CPU."""

import json
from pathlib import Path

import pytest
import torch
from gpu.runs import FORMS, gpu_spec, loss_there, quantized
from unit.trainer.run_cells import CELLS, Cell
from unit.trainer.run_methods_support import Loaded, load_by_card, training_losses

from luthier_api.methods import Quantization
from luthier_api.runspec import RunSpec
from luthier_trainer.finetune.run import Run

# Of the loss: rounding to 8 bits of mantissa moves that of these models so far.
_BF16, _FP16, _FP32 = 0.05, 0.02, 1e-3


def learnt(spec: RunSpec, output: Path) -> Run:
    """The run, executed; each of its steps saw all rows, and the loss fell."""
    run = Run(spec)
    result = run.execute()
    assert result.outcome == "Succeeded"
    losses = training_losses(output)
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    return run


def reported(run: Run) -> float:
    assert run.state.evaluation
    return run.state.evaluation.tuned["loss"]


def assert_reproduced(cell: Cell, loaded: Loaded, loss: float, tolerance: float) -> None:
    """Where it was loaded (a CPU, unless in 4 bits), and on the GPU."""
    form, tokenizer, labels = cell.form, loaded.tokenizer, loaded.labels
    places = {next(loaded.model.parameters()).device, torch.device("cuda", 0)}
    for place in places:
        found = loss_there(form, tokenizer, loaded.model.to(place), labels)
        assert found == pytest.approx(loss, rel=tolerance), place
    if loaded.merged is not None:
        merged = loss_there(form, tokenizer, loaded.merged, labels)
        assert merged == pytest.approx(
            loss_there(form, tokenizer, loaded.unquantized.cpu(), labels), rel=_FP32
        )


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_cell_learns_and_its_artifact_gives_the_reported_loss(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"
    run = learnt(gpu_spec(cell, tmp_path, precision="fp32", packing="Never"), output)
    monkeypatch.chdir(output)
    assert_reproduced(cell, load_by_card(output, cell), reported(run), _FP32)


MIXED = [
    ("classes-in-words", "llama", "lora"),
    ("classes-in-words", "llama", "full"),
    ("completion", "qwen2", "qlora"),
    ("chat", "qwen3", "lora"),
    ("json", "gpt2", "adapter"),
    ("completion", "mistral", "ia3"),
    ("completion", "phi3", "prefix"),
    ("json", "gemma3", "lora"),
    ("classes", "bert", "full"),
    ("classes", "roberta", "lora"),
    ("classes", "bert", "adapter"),
    ("tags", "deberta-v2", "lora"),
    ("cosine", "bert", "full"),
    ("summary", "t5", "lora"),
    ("summary", "bart", "full"),
]


@pytest.mark.parametrize(("form", "architecture", "method"), MIXED)
def test_in_bf16_which_auto_chooses(
    form: str, architecture: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, output = Cell(FORMS[form], architecture, method), tmp_path / "output"
    run = learnt(gpu_spec(cell, tmp_path), output)
    assert run.pod.reporter.report.resolved["precision"] == "bf16"
    monkeypatch.chdir(output)
    assert_reproduced(cell, load_by_card(output, cell), reported(run), _BF16)


@pytest.mark.parametrize(
    ("form", "architecture", "method"),
    [
        ("classes-in-words", "llama", "full"),
        ("completion", "gpt2", "lora"),
        ("completion", "qwen2", "qlora"),
        ("classes", "bert", "full"),
        ("summary", "bart", "adapter"),
    ],
)
def test_in_fp16_with_a_scaled_loss(
    form: str, architecture: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, output = Cell(FORMS[form], architecture, method), tmp_path / "output"
    run = learnt(gpu_spec(cell, tmp_path, precision="fp16"), output)
    monkeypatch.chdir(output)
    assert_reproduced(cell, load_by_card(output, cell), reported(run), _FP16)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_a_base_in_4_bits_is_merged_into_the_unquantised_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With double quantisation: the run's own proof, and the card's code on what it published."""
    cell, output = Cell(FORMS["completion"], "llama", "qlora"), tmp_path / "output"
    wish = Quantization.model_validate({"type": kind, "double": True})
    learnt(quantized(gpu_spec(cell, tmp_path), wish), output)
    merged = json.loads((output / "manifest.json").read_text())["merged"]
    assert 0 < merged["difference"] < 1e-2
    assert set(merged["metrics"]) == {"loss", "exact_match"}
    monkeypatch.chdir(output)
    loaded = load_by_card(output, cell)
    form, tokenizer = cell.form, loaded.tokenizer
    alone = loss_there(form, tokenizer, loaded.merged, [])
    assert alone == pytest.approx(
        loss_there(form, tokenizer, loaded.unquantized.cpu(), []), rel=_FP32
    )
    assert merged["metrics"]["loss"]["merged"] == pytest.approx(alone, rel=_BF16)


@pytest.mark.parametrize("method", ["lora", "full", "qlora", "adapter"])
def test_recomputed_activations_give_the_same_losses(method: str, tmp_path: Path) -> None:
    cell = Cell(FORMS["completion"], "llama", method)
    losses = []
    for wish in ("Never", "Always"):
        place = tmp_path / wish
        spec = gpu_spec(cell, place, gradientCheckpointing=wish, packing="Never", merge=False)
        run = learnt(spec, place / "output")
        expected = "on" if wish == "Always" else "off"
        assert run.pod.reporter.report.resolved["gradientCheckpointing"] == expected
        losses.append(training_losses(place / "output"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("auto", 0.02)])
@pytest.mark.parametrize("packing", ["Auto", "Always"])
@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        *((name, "lora") for name in ("llama", "qwen2", "mistral", "gemma2", "gemma3", "gpt2")),
        *(("llama", method) for method in ("full", "qlora", "adapter")),
    ],
)
def test_rows_without_padding_have_the_same_losses(
    architecture: str, method: str, packing: str, precision: str, tolerance: float, tmp_path: Path
) -> None:
    """All rows are in each batch, however they come together. In fp32, and with Gemma 2's caps,
    there is no kernel for it: of itself such a run pads."""
    cell = Cell(FORMS["completion"], architecture, method)
    losses = []
    for wish in ("Never", packing):
        place = tmp_path / wish
        run = learnt(
            gpu_spec(cell, place, packing=wish, maxLength=64, precision=precision, merge=False),
            place / "output",
        )
        fused = precision == "auto" and architecture != "gemma2"
        pads = wish == "Never" or (wish == "Auto" and not fused)
        resolved = run.pod.reporter.report.resolved
        assert resolved["padding"] == ("on" if pads else "off")
        assert resolved["packing"] == ("on" if wish == "Always" else "off")
        losses.append(training_losses(place / "output"))
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)


def test_the_load_of_the_gpu_is_told(tmp_path: Path) -> None:
    cell, output = Cell(FORMS["completion"], "llama", "lora"), tmp_path / "output"
    run = learnt(gpu_spec(cell, tmp_path), output)
    machine = run.pod.reporter.report.machine
    assert machine.gpu_percent is not None
    assert 0 <= machine.gpu_percent <= 100
    assert machine.gpu_memory_bytes
    assert machine.gpu_memory_bytes > torch.cuda.memory_allocated()
    entries = map(json.loads, (output / "report" / "metrics.jsonl").read_text().splitlines())
    assert all({"gpu_percent", "gpu_memory_bytes"} <= e.keys() for e in entries if "loss" in e)
    assert json.loads((output / "manifest.json").read_text())["result"]["usage"]["gpuSeconds"] > 0
