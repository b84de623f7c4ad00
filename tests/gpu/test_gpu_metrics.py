"""The metrics of a published result, measured anew with the model that its card loads."""

from pathlib import Path

import pytest
from gpu.runs import FORMS, gpu_spec
from unit.trainer.run_cells import Cell
from unit.trainer.run_methods_support import load_by_card
from unit.trainer.tiny import tiny_folder

from luthier_trainer.data import prepare
from luthier_trainer.evaluation import metrics
from luthier_trainer.evaluation.measure import measure
from luthier_trainer.finetune.run import Run
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import load_tokenizer
from luthier_trainer.objectives.choose import choose


@pytest.mark.parametrize(
    ("form", "architecture", "method", "names"),
    [
        ("classes-in-words", "llama", "lora", ["loss", "accuracy", "f1"]),
        ("classes", "bert", "full", ["loss", "accuracy", "f1"]),
        ("completion", "qwen2", "full", ["loss", "perplexity", "exact_match", "bleu"]),
        ("summary", "t5", "lora", ["loss", "rouge"]),
        ("tags", "roberta", "lora", ["loss", "entity_f1"]),
    ],
)
def test_are_the_reported_ones_on_either_processor(
    form: str,
    architecture: str,
    method: str,
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell(FORMS[form], architecture, method)
    spec = gpu_spec(cell, tmp_path, precision="fp32", metrics=names, maxSteps=20)
    run = Run(spec)
    run.execute()
    assert run.state.evaluation
    folder = tiny_folder(architecture)
    examples = prepare.load(spec, tmp_path / "again")
    objective = choose(
        spec.fine_tuning, examples, load_tokenizer(folder), describe(folder), positions=256
    )
    values = metrics.chosen(spec.fine_tuning.evaluation.metrics, objective)
    items = objective.encode(examples.test)
    monkeypatch.chdir(tmp_path / "output")
    model = load_by_card(tmp_path / "output", cell).model
    for place in ("cpu", "cuda"):
        found = measure(
            model.to(place), objective, items, examples.test, values, batch_size=4
        ).values(values)
        assert found == pytest.approx(run.state.evaluation.tuned, rel=1e-3), place
