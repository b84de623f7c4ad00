"""`learningRate: auto`: a rate and a warm-up that suit the method."""

from typing import Any

import pytest
from pydantic import ValidationError

from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.finetuning import FineTuning
from luthier_api.revision import shape_hash
from luthier_api.training import Training
from luthier_trainer.errors import TrainerError
from luthier_trainer.training.rate import notes, rate_of, with_rate
from luthier_trainer.training.schedule import schedule_options


def training(**changes: Any) -> Training:
    return Training.model_validate({"maxSteps": 10, "learningRate": "auto", **changes})


@pytest.mark.parametrize(
    ("method", "kind", "low", "high"),
    [
        ("full", "decoder", 1e-5, 5e-5),
        ("full", "encoder", 1e-5, 5e-5),
        ("full", "encoder-decoder", 1e-5, 5e-5),
        ("lora", "decoder", 1e-4, 3e-4),
        ("qlora", "encoder", 1e-4, 3e-4),
        ("adapter", "decoder", 1e-4, 2e-3),
        ("ia3", "decoder", 1e-2, 0.1),
        ("prefix", "decoder", 1e-2, 0.1),
        ("prompt", "encoder-decoder", 1e-2, 0.1),
    ],
)
def test_by_what_is_trained(method: Any, kind: Any, low: float, high: float) -> None:
    found = with_rate(training(), method, kind)
    assert low <= rate_of(found) <= high
    assert 0 < found.warmup_ratio <= 0.1
    told = notes(training(), found)
    assert float(told["learningRate"]) == rate_of(found)
    assert float(told["warmupRatio"]) == found.warmup_ratio


def test_what_is_written_stays() -> None:
    given = training(learningRate=3e-4)
    assert with_rate(given, "full", "decoder") is given
    assert notes(given, given) == {}
    assert with_rate(training(warmupRatio=0.2), "lora", "decoder").warmup_ratio == 0.2


def test_lion_steps_by_the_rate_itself() -> None:
    lion = with_rate(training(optimizer="paged_lion_8bit"), "lora", "decoder")
    assert rate_of(lion) < rate_of(with_rate(training(), "lora", "decoder")) / 2


@pytest.mark.parametrize(("method", "rate"), [("full", 1e-6), ("lora", 1e-5)])
def test_preferences_take_far_less(method: Any, rate: float) -> None:
    found = with_rate(training(), method, "decoder", preference=True)
    assert rate_of(found) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("settings", "warmup"),
    [
        ({"scheduler": "constant"}, 0),
        ({"scheduler": "reduce_lr_on_plateau", "evalEverySteps": 1}, 0),
        ({"scheduler": "warmup_stable_decay", "schedulerOptions": {"decayRatio": 0.98}}, 0.02),
    ],
)
def test_the_warm_up_fits_the_schedule(settings: dict[str, Any], warmup: float) -> None:
    settings = {"maxSteps": 100, **settings}
    found = with_rate(training(**settings), "lora", "decoder")
    assert found.warmup_ratio == pytest.approx(warmup)
    Training.model_validate(found.to_json())
    assert schedule_options(found, 100) is not None


def test_a_lowest_rate_above_what_auto_comes_to_is_refused() -> None:
    options = {"scheduler": "cosine_with_min_lr", "schedulerOptions": {"minLearningRate": 1e-4}}
    assert rate_of(with_rate(training(**options), "lora", "decoder")) > 1e-4
    with pytest.raises(TrainerError, match="2e-05 here, and minLearningRate") as caught:
        with_rate(training(**options), "full", "decoder")
    assert caught.value.error.param == "training.schedulerOptions.minLearningRate"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("fast", "valid number"),
        ("Auto", "valid number"),
        (True, "valid number"),
        (0, "greater than 0"),
        (2, "less than or equal to 1"),
        ({}, "valid number"),
    ],
)
def test_other_words_and_numbers_are_refused(value: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        training(learningRate=value)


def test_what_a_schema_cannot_compare_is_refused_when_it_is_read() -> None:
    options = {"scheduler": "cosine_with_min_lr", "schedulerOptions": {"minLearningRate": 0.1}}
    with pytest.raises(ValidationError, match="set it below learningRate"):
        training(learningRate=0.1, **options)
    with pytest.raises(ValidationError, match="sgd has no rate"):
        training(optimizer="sgd")


def test_the_schema_takes_numbers_and_the_word() -> None:
    spec = next(r for r in CUSTOM_RESOURCES if r.kind == "FineTuneJob").schema()["properties"]
    node = spec["spec"]["properties"]["training"]["properties"]["learningRate"]
    assert "type" not in node
    assert node["x-kubernetes-preserve-unknown-fields"] is True
    assert (node["minimum"], node["exclusiveMinimum"], node["maximum"]) == (0, True, 1)
    assert (node["pattern"], node["default"]) == ("^auto$", 2e-4)


def test_the_default_is_left_out_of_the_hash_and_auto_is_in_it() -> None:
    def hashed(**fields: Any) -> str:
        spec = {
            "model": {"uri": "s3://m/base"},
            "task": "generation",
            "dataset": {"uri": "s3://d/rows.jsonl", "template": "{text}"},
            "training": {"maxSteps": 1, **fields},
        }
        return shape_hash(FineTuning.model_validate(spec), "s3://a/models")

    assert hashed() == hashed(learningRate=2e-4) != hashed(learningRate="auto")
    assert training().to_json()["learningRate"] == "auto"
