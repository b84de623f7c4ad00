"""What measuring takes of memory is expected, and told where it is too much."""

from typing import Any

import pytest
import torch
from unit.trainer.cells import FP32, source, spec
from unit.trainer.objectives_support import tokenizer_of
from unit.trainer.test_estimate import language_model, settings
from unit.trainer.test_output_layer import peak_of
from unit.trainer.training_runs import Causal, llama, rows

from luthier_trainer.data.examples import Completion
from luthier_trainer.errors import TrainerError, measuring
from luthier_trainer.evaluation.measure import mean_loss
from luthier_trainer.evaluation.memory import evaluation_bytes
from luthier_trainer.methods.apply import tune
from luthier_trainer.objectives import outputlayer
from luthier_trainer.objectives.outputlayer import remember_plain_head
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tokens import compact
from luthier_trainer.training.resolve import resolve

VOCABULARY = 400


def items_of(count: int, targets: int = 40) -> list[Any]:
    return [compact([9] * 8, [7] * targets, False) for _ in range(count)]


def test_logits_of_a_batch_are_counted() -> None:
    model = tune(spec("lora"), source("llama"), FP32).model
    objective = language_model(tokenizer_of("llama"))
    vocabulary = model.get_output_embeddings().out_features

    def expected(batch_size: int) -> int:
        return evaluation_bytes(model, objective, items_of(64), batch_size, 0, torch.float32)

    more = expected(32) - expected(16)
    assert more > 16 * 40 * vocabulary * 4
    items, measured = items_of(32), []
    for batch_size in (16, 32):
        measured.append(
            peak_of(lambda size=batch_size: mean_loss(model, objective, items, batch_size=size))
        )
        assert expected(batch_size) == pytest.approx(measured[-1], rel=0.25)


def test_in_parts_the_batch_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tune(spec("lora"), source("llama"), FP32).model
    objective = language_model(tokenizer_of("llama"))
    whole = evaluation_bytes(model, objective, items_of(64), 64, 0, torch.float32)
    monkeypatch.setattr(outputlayer, "_PART", 64 * VOCABULARY)
    remember_plain_head(model, None)
    parts = evaluation_bytes(model, objective, items_of(64), 64, 0, torch.float32)
    assert parts < 0.6 * whole


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_other_models_have_an_estimate_too(kind: str) -> None:
    from array import array

    from luthier_trainer.objectives.classifier import Classed, Classifier

    model = tune(spec("lora"), source(kind), FP32).model
    tokenizer = tokenizer_of(kind)
    if kind == "t5":
        objective: Any = Seq2Seq(tokenizer, 64)
        items: Any = objective.encode([Completion("the sky", "blue", "", "r")] * 4)
    else:
        objective = Classifier(tokenizer, ("a", "b"), 64)
        items = [Classed(array("i", [9] * 12), 0, 0)] * 4
    assert evaluation_bytes(model, objective, items, 4, 16, torch.float32) > 0
    assert evaluation_bytes(model, objective, [], 4, 16, torch.float32) == 0


def test_it_is_part_of_what_a_training_needs(capsys: pytest.CaptureFixture[str]) -> None:
    def expected(evaluation: int) -> int:
        given = settings(perDeviceBatchSize=2, gradientCheckpointing="Never")
        found = resolve(llama(), Causal(), rows(8), given, FP32, 10**10, evaluation=evaluation)
        assert found.estimate.memory_bytes
        return found.estimate.memory_bytes

    plain = expected(0)
    assert "warning" not in capsys.readouterr().err
    assert expected(2 * 10**10) > 2 * 10**10 > plain
    assert "GB: lower evaluation.batchSize" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 12.60 GiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes"),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_a_lack_of_memory_while_measuring_names_the_batch_of_the_evaluation(
    error: Exception,
) -> None:
    with pytest.raises(TrainerError, match="Measuring 16 rows at a time") as caught, measuring(16):
        raise error
    assert caught.value.error.code == "OutOfMemory"
    assert caught.value.error.param == "evaluation.batchSize"


def test_other_errors_are_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), measuring(16):
        raise RuntimeError("shapes don't fit")
