"""Whole runs of every method on every form of examples, see docs/methods.md.

The cells (run_cells.py): for each group of forms that are learnt alike and each kind of model,
every architecture of the kind that can learn them and every method that works there occurs at
least once, paired in turn.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.run_cells import CELLS, GROUPS, KINDS, Cell, architectures_of, methods_of
from unit.trainer.run_methods_support import (
    Loaded,
    checkpoint_of,
    load_by_card,
    measured_rows,
    naive_loss,
    spec_of,
    train_rows,
    training_losses,
)

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.pages.numbers import measured, signed

STEPS = 6


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_run_learns_and_its_artifact_gives_the_reported_loss(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact is loaded as its card says, and evaluated one row at a time."""
    # Among negatives larger steps make all vectors one.
    rate = 0.01 if cell.form.name == "negatives" else 0.1
    descent = {"optimizer": "sgd", "maxGradNorm": 0, "learningRate": rate}
    spec = spec_of(cell, tmp_path, **descent, saveEverySteps=STEPS - 1)
    result = Run(spec).execute()
    assert result.outcome == "Succeeded"
    output = tmp_path / "output"
    losses = training_losses(output)
    assert len(losses) == STEPS
    assert losses[-1] < losses[0]
    assert result.evaluation
    monkeypatch.chdir(output)
    loaded = load_by_card(output, cell)

    @torch.no_grad()
    def loss(model: Any) -> float:
        rows = measured_rows(cell.form)
        return float(naive_loss(cell.form, rows, loaded.tokenizer, model, loaded.labels))

    assert loss(loaded.model) == pytest.approx(result.evaluation.tuned["loss"], rel=1e-3)
    assert (loaded.merged is not None) == spec.fine_tuning.method.merge
    if loaded.merged is not None:
        assert loss(loaded.merged) == pytest.approx(loss(loaded.unquantized), rel=1e-3)
    check_a_step(cell, output, loaded, rate)
    if cell.method == "qlora":
        check_what_the_merge_changed(output, result.evaluation.tuned, loss(loaded.merged))


def check_a_step(cell: Cell, output: Path, loaded: Loaded, rate: float) -> None:
    """The last step's loss and gradients are those of the model that the card loads: of the
    libraries alone, one row at a time. Gradient descent took `rate` times the gradient away."""
    before, after = (checkpoint_of(output, step) for step in (STEPS - 1, STEPS))
    parameters = dict(loaded.model.named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in before)
    with torch.no_grad():
        for name, weights in before.items():
            parameters[name].copy_(weights)
    rows = train_rows(cell.form)
    loss = naive_loss(cell.form, rows, loaded.tokenizer, loaded.model, loaded.labels)
    assert training_losses(output)[-1] == pytest.approx(loss.item(), rel=1e-3)
    expected = torch.autograd.grad(
        loss, [parameters[name] for name in before], allow_unused=True, materialize_grads=True
    )
    # A key's bias, say, changes no softmax: what is found there is rounding.
    rounding = 1e-5 * torch.stack([gradient.norm() for gradient in expected]).norm()
    for (name, weights), gradient in zip(before.items(), expected, strict=True):
        off = ((weights - after[name]) / rate - gradient).norm()
        assert off <= 0.01 * gradient.norm() + rounding, name


def check_what_the_merge_changed(output: Path, tuned: dict[str, float], loss: float) -> None:
    """In manifest, card and page: the 4-bit base's numbers aren't the merged model's."""
    found = json.loads((output / "manifest.json").read_text())["merged"]["metrics"]
    assert found.keys() == tuned.keys()
    assert found["loss"]["merged"] == pytest.approx(loss, rel=1e-3)
    card, page = (
        (output / "README.md").read_text(),
        (output / "report" / "index.html").read_text(),
    )
    for name, each in found.items():
        assert each["change"] == pytest.approx(each["merged"] - tuned[name], abs=1e-9)
        cells = name, measured(each["merged"]), signed(each["change"])
        assert f"| {' | '.join(cells)} |" in card
        assert '<td>{}</td><td class="n">{}</td><td class="n">{}</td>'.format(*cells) in page


_FORMS = {form.name: form for group in GROUPS for form in group}
_MODEL, _METHOD = ("WrongArchitecture", "model.uri"), ("MethodNotSupported", "method.type")
REFUSED = [
    ("classes-in-words", "bert", "full", _MODEL),
    ("completion", "roberta", "lora", _MODEL),
    ("json", "deberta-v2", "lora", _MODEL),
    ("chat", "t5", "lora", _MODEL),
    ("chat", "gpt2", "lora", ("NoChatTemplate", "dataset.columns.messages")),
    ("tags", "bart", "lora", _MODEL),
    ("spans", "gemma3", "full", _MODEL),
    ("cosine", "t5", "lora", _MODEL),
    ("negatives", "bart", "full", _MODEL),
    ("classes", "bert", "prefix", _METHOD),
    ("classes", "llama", "prompt", _METHOD),
    ("classes", "t5", "prompt", _METHOD),
    ("tags", "llama", "prefix", _METHOD),
    ("spans", "bert", "prompt", _METHOD),
    ("contrastive", "gpt2", "prompt", _METHOD),
    ("cosine", "roberta", "prefix", _METHOD),
]


@pytest.mark.parametrize(
    ("form", "architecture", "method", "expected"), REFUSED, ids=lambda value: str(value)
)
def test_what_does_not_work_is_refused_before_anything_is_trained(
    form: str, architecture: str, method: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    spec = spec_of(Cell(_FORMS[form], architecture, method), tmp_path)
    with pytest.raises(TrainerError) as caught:
        Run(spec).execute()
    assert (caught.value.error.code, caught.value.error.param) == expected
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    assert not (tmp_path / "output" / "checkpoints").exists()


def test_every_supported_method_and_architecture_has_a_cell() -> None:
    for group in GROUPS:
        for kind in KINDS:
            run = [cell for cell in CELLS if cell.form in group and cell.kind == kind]
            names = architectures_of(group[0], kind)
            assert {cell.architecture for cell in run} == set(names)
            assert {cell.method for cell in run} == set(methods_of(group[0], kind) if names else ())
