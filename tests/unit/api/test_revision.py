"""The hash rule: what shapes the result moves it, and an upgrade never does.

A changed literal here means that every stored resource would be trained anew.
"""

from typing import Any

import pytest

from luthier_api.adapterbundle import AdapterBundleSpec, Bundling
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.optimizejob import Optimizing, SourceRef
from luthier_api.revision import (
    attempt_hash,
    bundle_hash,
    optimize_hash,
    revision_name,
    revision_number,
    shape_hash,
)
from luthier_api.training import Training

OUTPUT = "s3://artifacts/models"


def _minimal() -> dict[str, Any]:
    return {
        "model": {"uri": "s3://models/smollm2"},
        "task": "classification",
        "dataset": {
            "uri": "s3://datasets/phrases.jsonl",
            "template": "{phrase}\nTone: {tone}",
            "evalFraction": 0.1,
        },
        "training": {"maxSteps": 100},
    }


def _with(part: str, **fields: Any) -> dict[str, Any]:
    spec = _minimal()
    spec[part] = spec.get(part, {}) | fields
    return spec


GOLDEN: dict[str, tuple[dict[str, Any], str]] = {
    "minimal": (
        _minimal(),
        "bd1711ad51aee7135a1f4265a489e07a13d52f941b665a31aa3463ff927b4737",
    ),
    "other task": (
        _minimal() | {"task": "generation"},
        "0e587095e5722c169155b0e2468b821edd8b170759dca968a657c118e0c26c28",
    ),
    "other model": (
        _with("model", uri="s3://models/other"),
        "34a300c2961f0df37183fdb0da3efb0ef29507d3cb99a0a2f69c60cd190dc0d3",
    ),
    "model revision": (
        _with("model", uri="hf://org/model", revision="9213176"),
        "b0bf25274e2c66d78734da77e946a2348b3c216094e011a109d962635d08f20d",
    ),
    "other template": (
        _with("dataset", template="{phrase} → {tone}"),
        "edc37b799d07a6da6bbd8bad391cdd8b052fbe98adbbf6941cf6aeacf15315e1",
    ),
    "other splits": (
        _with("dataset", train="train[:80%]", evalFraction=0.2, stratifyBy="tone"),
        "78c8288c4c6da20132743c6cfcf2a8f87630416a9673696a94f17119fa11523d",
    ),
    "loss on all": (
        _with("dataset", lossOn="All"),
        "d36703ec8fdf37304b2882a861c8876c2a1a07ad339f19e6bd7fbee10175dd0d",
    ),
    "search": (
        _minimal()
        | {
            "search": {
                "strategy": "tpe",
                "objective": {"metric": "eval_loss", "direction": "minimize"},
                "space": {"lora.rank": {"type": "int", "low": 8, "high": 64, "step": 8}},
                # How it is carried out.
                "parallelism": 4,
                "maxFailedTrials": 2,
                "again": True,
            }
        },
        "e6f5ae89103ec36bc986c2ff2ce0b3aa84a23b18770b9eb966785adaa2ccf285",
    ),
    "rank": (
        _with("method", lora={"rank": 8, "alpha": 16}),
        "700a7539468dd38fbbb2301a651af4a8e83fa1da4c5d7b8671ea74c34785b6b7",
    ),
    "modules": (
        _with("method", lora={"targetModules": ["q_proj", "v_proj"]}),
        "4e3b71862d5476fc118f6403943623bdb98fd0aa8e4a2f5c8b12eeeafb22dd1e",
    ),
    "epochs": (
        _with("training", maxSteps=None, epochs=1.5),
        "e0d6a4022c224b94b16316bdd8e3ed5058c85052d0c1b373f896b5eaa1f57500",
    ),
    "learning rate": (
        _with("training", learningRate=1e-6),
        "5a04e364d239486bf91874d699e10e4fa422aa527ad7fa561e4d76f8b07016ac",
    ),
    "seed": (
        _with("training", seed=7),
        "f94814af1d0213d2fa6e30c413b8fbc4e6320103030cc0359df307a793628da2",
    ),
    "metrics": (
        _with("evaluation", metrics=["accuracy", "f1"]),
        "3c87a2aafe0efbd5c06f017860841e75ea115915a6a920169d9b09bc450478d2",
    ),
}


@pytest.mark.parametrize(("spec", "expected"), GOLDEN.values(), ids=GOLDEN.keys())
def test_golden(spec: dict[str, Any], expected: str) -> None:
    assert shape_hash(FineTuning.model_validate(spec), OUTPUT) == expected


def test_all_golden_hashes_differ() -> None:
    assert len({expected for _, expected in GOLDEN.values()}) == len(GOLDEN)


def test_defaults_written_out_change_nothing() -> None:
    """As the API server stores them, and as an exporter may write them back."""
    short = FineTuning.model_validate(_minimal())
    full = FineTuning.model_validate(short.to_json())
    assert shape_hash(full, OUTPUT) == shape_hash(short, OUTPUT)


def test_a_field_added_later_changes_nothing() -> None:
    class LaterTraining(Training):
        new_knob: int = 7

    class LaterFineTuning(FineTuning):
        training: LaterTraining
        new_object: dict[str, int] = {}

    now = FineTuning.model_validate(_minimal())
    assert shape_hash(LaterFineTuning.model_validate(_minimal()), OUTPUT) == shape_hash(now, OUTPUT)
    used = LaterFineTuning.model_validate(_with("training", newKnob=8))
    assert shape_hash(used, OUTPUT) != shape_hash(now, OUTPUT)


OPERATIONAL = {
    "training": {
        "dataloaderWorkers": 0,
        "gradientCheckpointing": "Always",
        "logEverySteps": 1,
        "parallel": "fsdp",
        "saveEverySteps": 7,
    },
    "evaluation": {"batchSize": 4},
}


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, fields in OPERATIONAL.items() for name in fields]
)
def test_how_a_run_is_carried_out_shapes_nothing(part: str, name: str) -> None:
    changed = FineTuning.model_validate(_with(part, **{name: OPERATIONAL[part][name]}))
    assert shape_hash(changed, OUTPUT) == GOLDEN["minimal"][1]


def test_every_other_field_of_the_training_shapes() -> None:
    """One added later, too, unless it is told apart in revision.py."""
    others: dict[str, Any] = {
        "learningRate": 0.5,
        "scheduler": "linear",
        "warmupRatio": 0.5,
        "optimizer": "sgd",
        "weightDecay": 0.5,
        "maxGradNorm": 2,
        "perDeviceBatchSize": 2,
        "precision": "fp32",
        "gradientAccumulationSteps": 2,
        "maxLength": 64,
        "packing": "Never",
        "seed": 7,
        "groupByLength": False,
        "dropout": 0.5,
        "labelSmoothing": 0.5,
        "evalEverySteps": 5,
        "neftuneNoiseAlpha": 5,
        "similarity": {},
        "preference": {},
        "classification": {},
        "earlyStopping": {},
        "schedulerOptions": {},
        "maxSteps": 7,
        "epochs": 2,
        "loss": {"configMapRef": {"name": "a", "key": "b"}, "entrypoint": "c"},
    }
    fields = {field.alias for field in Training.model_fields.values()}
    assert fields == others.keys() | OPERATIONAL["training"].keys()
    hashes = {
        shape_hash(FineTuning.model_validate(_with("training", **{name: value})), OUTPUT)
        for name, value in others.items()
    }
    assert len(hashes | {GOLDEN["minimal"][1]}) == len(others) + 1


def test_the_batch_of_an_evaluation_shapes_where_it_is_part_of_the_loss() -> None:
    own = _with("training", similarity={"objective": "in_batch_negatives"})
    hashes = {
        shape_hash(FineTuning.model_validate(own | {"evaluation": {"batchSize": size}}), OUTPUT)
        for size in (4, 8)
    }
    assert len(hashes) == 2


OPTIMIZING: dict[str, Any] = {
    "evaluation": {"task": "classification", "dataset": _minimal()["dataset"]}
}
SOURCE = SourceRef(uri="s3://artifacts/models/team/tone/r1-00000000", revision="r1-00000000")


@pytest.mark.parametrize(
    ("optimizing", "expected"),
    [
        ({}, "3244ecff1af6440cc83a2510f1c1ed25da8e94b872b83f3a568892af73443081"),
        (OPTIMIZING, "177d251490c165026ab0766a05c6e5539317e30977875b38b2ef5bf5b127d843"),
        (
            {"evaluation": OPTIMIZING["evaluation"] | {"batchSize": 4}},
            "177d251490c165026ab0766a05c6e5539317e30977875b38b2ef5bf5b127d843",
        ),
        (
            {"benchmark": {"repeats": 7}},
            "86b763168a72a45b8cd30eb3a20f701a180d210bdf19f1fcfafc78306af720d4",
        ),
    ],
    ids=["minimal", "rows", "batch of the evaluation", "benchmark"],
)
def test_golden_of_packages(optimizing: dict[str, Any], expected: str) -> None:
    assert optimize_hash(Optimizing.model_validate(optimizing), [SOURCE], OUTPUT) == expected


def test_golden_of_bundles() -> None:
    base = {"uri": "hf://org/model", "tokenSecretRef": {"name": "hub", "key": "token"}}
    found = bundle_hash(Bundling.model_validate({"base": base}), {"tone": SOURCE}, OUTPUT)
    assert found == "b4b2cb3880ed0683ac5b08410f2f1ce61a7b7b4e6a0c7bc2b407bd3c2f7048c4"


def _spec(**fields: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate(_minimal() | {"output": {"uri": OUTPUT}} | fields)


def test_golden_of_attempts() -> None:
    assert (
        attempt_hash(_spec()) == "bd1711ad51aee7135a1f4265a489e07a13d52f941b665a31aa3463ff927b4737"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"suspend": True},
        {"limits": {"ttlSecondsAfterFinished": 60}},
        {"limits": {"ttlSecondsAfterFinished": 60, "maxRestarts": 5}},
        {"deletionPolicy": "Delete"},
    ],
    ids=str,
)
def test_what_is_before_and_after_is_no_part_of_an_attempt(fields: dict[str, Any]) -> None:
    assert attempt_hash(_spec(**fields)) == attempt_hash(_spec())


@pytest.mark.parametrize(
    "fields",
    [
        {"training": {"maxSteps": 100, "dataloaderWorkers": 0}},
        {"evaluation": {"batchSize": 4}},
        {"placement": {"pool": "large"}},
        {"storage": {"secretName": "other"}},
        {"limits": {"activeDeadlineSeconds": 60}},
        {"limits": {"maxRestarts": 9}},
        {"checkpoints": {"keepLast": 1}},
        {"model": {"uri": "hf://a/b", "tokenSecretRef": {"name": "hub", "key": "token"}}},
    ],
    ids=str,
)
def test_what_an_attempt_may_end_otherwise_for_is_part_of_it(fields: dict[str, Any]) -> None:
    assert attempt_hash(_spec(**fields)) != attempt_hash(_spec())


def test_how_many_packages_are_kept_is_no_part_of_an_attempt() -> None:
    own = {
        "base": {"uri": "s3://models/a"},
        "adapters": [{"name": "tone", "uri": "s3://a/b"}],
        "output": {"uri": OUTPUT},
    }
    one, other = (AdapterBundleSpec.model_validate(own | {"keepLast": n}) for n in (3, 9))
    assert attempt_hash(one) == attempt_hash(other)


def test_how_a_hub_is_logged_in_to_changes_nothing() -> None:
    spec = _with("model", uri="hf://org/model")
    with_token = _with(
        "model", uri="hf://org/model", tokenSecretRef={"name": "hub", "key": "token"}
    )
    hashes = {shape_hash(FineTuning.model_validate(s), OUTPUT) for s in (spec, with_token)}
    assert len(hashes) == 1


def test_the_place_of_the_output_shapes() -> None:
    tuning = FineTuning.model_validate(_minimal())
    assert shape_hash(tuning, OUTPUT) != shape_hash(tuning, OUTPUT + "2")


def test_names() -> None:
    assert revision_name(3, "5f2c1e9a" + "0" * 56) == "r3-5f2c1e9a"
    assert revision_number("r12-5f2c1e9a") == 12
    for wrong in ("3-5f2c1e9a", "r-5f2c1e9a", "r3", "r3-", "rx-5f2c1e9a"):
        with pytest.raises(ValueError, match="not a revision"):
            revision_number(wrong)
