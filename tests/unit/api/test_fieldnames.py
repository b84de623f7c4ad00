"""Which field was meant."""

import pytest

from luthier_api import fieldnames
from luthier_api.adapterbundle import AdapterBundleSpec
from luthier_api.fieldnames import Path, meant
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.meta import Model
from luthier_api.optimizejob import OptimizeJobSpec
from luthier_api.platform import Platform

KINDS: tuple[type[Model], ...] = (FineTuneJobSpec, OptimizeJobSpec, AdapterBundleSpec)


@pytest.mark.parametrize(
    ("model", "path", "field"),
    [
        (FineTuneJobSpec, ("training", "max_steps"), "maxSteps"),
        (FineTuneJobSpec, ("training", "MaxSteps"), "maxSteps"),
        (FineTuneJobSpec, ("training", "per_device_train_batch_size"), "perDeviceBatchSize"),
        (FineTuneJobSpec, ("training", "lr"), "learningRate"),
        (FineTuneJobSpec, ("training", "fp16"), "precision"),
        (FineTuneJobSpec, ("training", "learnigRate"), "learningRate"),
        (FineTuneJobSpec, ("method", "lora", "r"), "rank"),
        (FineTuneJobSpec, ("method", "lora", "lora_alpha"), "alpha"),
        (FineTuneJobSpec, ("dataset", "val_set_size"), "evalFraction"),
        (FineTuneJobSpec, ("dataset", "mix", 0, "weigth"), "weight"),
        (FineTuneJobSpec, ("search", "space", "lora.rank", "lowe"), "low"),
        (FineTuneJobSpec, ("evaluation", "script", "config_map_ref"), "configMapRef"),
        # Of another place in the resource: with its path.
        (FineTuneJobSpec, ("lora",), "spec.method.lora"),
        (FineTuneJobSpec, ("method", "r"), "spec.method.lora.rank"),
        (FineTuneJobSpec, ("training", "evalFraction"), "spec.dataset.evalFraction"),
        (FineTuneJobSpec, ("training", "output_dir"), "spec.output.uri"),
        (OptimizeJobSpec, ("gates", "max_metric_drop"), "maxMetricDrop"),
        (OptimizeJobSpec, ("int4", "group_size"), "blockSize"),
        (OptimizeJobSpec, ("source", "model_name_or_path"), "modelUri"),
        (AdapterBundleSpec, ("adapters", 3, "fine_tune_job_ref"), "fineTuneJobRef"),
        (AdapterBundleSpec, ("model",), "spec.base.uri"),
    ],
)
def test_the_field_that_was_meant(model: type[Model], path: Path, field: str) -> None:
    assert meant(model, path, "spec") == f"did you mean {field}?"


def test_those_that_there_are_where_none_is_like_it() -> None:
    assert meant(FineTuneJobSpec, ("output", "zzz"), "spec") == "the fields here are: uri"
    assert meant(Platform, ("pools", 0, "node_selector")) == "did you mean nodeSelector?"
    assert meant(FineTuneJobSpec, ("x" * 1_000_000,)).startswith("the fields here are: ")


def test_every_name_of_another_tool_leads_to_a_field_that_there_is() -> None:
    known = {path for kind in KINDS for path in fieldnames._paths(kind)}
    assert {tuple(target.split(".")) for target in fieldnames._ELSEWHERE} <= known
