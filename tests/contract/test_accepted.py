"""Valid manifests are accepted, and stored with the defaults that the reference names."""

import json
from typing import Any

import pytest
from contract.applied import answers
from contract.manifests import (
    ADAPTER_BUNDLE,
    FINE_TUNE_JOB,
    OPTIMIZE_JOB,
    REMOVED,
    changed,
)
from contract.right_combinations import RIGHT_COMBINATIONS

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cluster import Cluster

SPLITS = {"spec.dataset.uri": "s3://datasets/phrases", "spec.dataset.evalFraction": REMOVED}

ACCEPTED = {
    "minimal": FINE_TUNE_JOB,
    "search": changed(
        FINE_TUNE_JOB,
        {
            "spec.evaluation": {"metrics": ["accuracy"]},
            "spec.search": {
                "strategy": "tpe",
                "trials": 20,
                "parallelism": 4,
                "seed": 7,
                "objective": {"metric": "accuracy", "direction": "maximize"},
                "space": {
                    "learningRate": {"type": "float", "low": 1e-6, "high": 1e-3, "log": True},
                    "lora.rank": {"type": "int", "low": 8, "high": 64, "step": 8},
                    "perDeviceBatchSize": {"type": "choice", "values": [8, 16, 32]},
                    "method.type": {"type": "choice", "names": ["lora", "ia3"]},
                },
                "prune": {"strategy": "asha", "reduction": 3, "minSteps": 20},
                "maxFailedTrials": 5,
                "stopAfter": {"trialsWithoutGain": 8},
            },
        },
    ),
    "generation": changed(
        FINE_TUNE_JOB, {"spec.task": "generation", "spec.dataset.template": "{text}"}
    ),
    "literal braces": changed(
        FINE_TUNE_JOB, {"spec.dataset.template": '{{"text": "{phrase}"}} → {{{tone}}}'}
    ),
    "columns as people call them": changed(
        FINE_TUNE_JOB,
        {"spec.dataset.template": r"{Größe: 1. Satz} {a-b.c (d)} {\0} {why\?\!} {a\{b\}}"},
    ),
    "tab-separated": changed(FINE_TUNE_JOB, {"spec.dataset.uri": "s3://datasets/phrases.tsv.gz"}),
    "column twice in the prompt": changed(
        FINE_TUNE_JOB, {"spec.dataset.template": "{phrase} {phrase} {{tone}} {tone} {{end}}"}
    ),
    "output beside the model": changed(FINE_TUNE_JOB, {"spec.output.uri": "s3://models/smollm2b"}),
    "prompt without a column": changed(
        FINE_TUNE_JOB,
        {
            "spec.task": "generation",
            "spec.dataset.template": "Write a joke.\n{joke}",
            "spec.dataset.lossOn": "Completion",
        },
    ),
    "files of this machine": changed(
        FINE_TUNE_JOB,
        {"spec.model.uri": "file:///models/smollm2", "spec.dataset.uri": "file:///data/a.csv"},
    ),
    "head and tail": changed(
        FINE_TUNE_JOB,
        {**SPLITS, "spec.dataset.train": "train[:90%]", "spec.dataset.eval": "train[90%:]"},
    ),
    "rows, all three": changed(
        FINE_TUNE_JOB,
        {
            **SPLITS,
            "spec.dataset.train": "train[:4096]",
            "spec.dataset.eval": "train[4096:4224]",
            "spec.dataset.test": "train[-300:]",
        },
    ),
    "tail of the end": changed(
        FINE_TUNE_JOB,
        {**SPLITS, "spec.dataset.train": "train[:-300]", "spec.dataset.test": "train[-300:]"},
    ),
    "slices of one file": changed(
        FINE_TUNE_JOB,
        {
            "spec.dataset.evalFraction": REMOVED,
            "spec.dataset.train": "train[10%:]",
            "spec.dataset.test": "train[:10%]",
        },
    ),
    "every field that is built": changed(
        FINE_TUNE_JOB,
        {
            "spec.dataset.stratifyBy": "tone",
            "spec.dataset.lossOn": "All",
            "spec.method": {
                "type": "lora",
                "lora": {
                    "rank": 8,
                    "alpha": 16.5,
                    "dropout": 0.05,
                    "targetModules": ["q_proj", "model.layers.0.mlp.up_proj"],
                    "modulesToSave": ["lm_head"],
                },
            },
            "spec.training": {
                "epochs": 1.5,
                "learningRate": 2.0e-4,
                "scheduler": "constant_with_warmup",
                "warmupRatio": 0.03,
                "optimizer": "adafactor",
                "weightDecay": 0.01,
                "maxGradNorm": 0,
                "perDeviceBatchSize": 4,
                "gradientAccumulationSteps": 2,
                "gradientCheckpointing": "Always",
                "precision": "bf16",
                "maxLength": 512,
                "packing": "Never",
                "dataloaderWorkers": 0,
                "seed": 4294967295,
                "logEverySteps": 1,
                "evalEverySteps": 50,
                "saveEverySteps": 10,
            },
            "spec.evaluation": {
                "metrics": ["accuracy", "f1", "loss", "perplexity"],
                "batchSize": 1,
                "maxSamples": 5,
            },
            "spec.checkpoints": {"keepLast": 1},
            "spec.storage": {"secretName": "luthier-s3", "serviceAccountName": "trainer"},
            "spec.placement": {"pool": "cpu", "gpus": 1, "queueName": "team-a", "priority": "high"},
            "spec.limits": {
                "activeDeadlineSeconds": 86400,
                "maxRestarts": 0,
                "ttlSecondsAfterFinished": 0,
            },
            "spec.suspend": True,
        },
    ),
    **{name: changed(FINE_TUNE_JOB, changes) for name, changes in RIGHT_COMBINATIONS.items()},
    "OptimizeJob": OPTIMIZE_JOB,
    "OptimizeJob with gates": changed(
        OPTIMIZE_JOB,
        {
            "spec.target": {"device": "cpu", "provider": "CPUExecutionProvider"},
            "spec.precisions": ["int8", "int4"],
            "spec.gates": {"metric": "accuracy", "maxMetricDrop": 0.01, "maxSize": "1.5Gi"},
        },
    ),
    "AdapterBundle": ADAPTER_BUNDLE,
    "AdapterBundle that refuses what doesn't fit": changed(
        ADAPTER_BUNDLE,
        {
            "spec.onIncompatible": "Fail",
            "spec.maxMetricDrop": 0.01,
            "spec.keepLast": 2,
            "spec.precision": "int4",
            "spec.int4": {"blockSize": 64, "symmetric": False},
        },
    ),
    "OptimizeJob of an adapter on a hub's model": changed(
        OPTIMIZE_JOB,
        {
            "spec.source": {
                "modelUri": "hf://org/model",
                "revision": "main",
                "tokenSecretRef": {"name": "hub", "key": "token"},
                "adapterUri": "s3://artifacts/adapter",
            },
            "spec.objective": "Fastest",
            "spec.adapter": "Separate",
            "spec.gates": {
                "metric": "accuracy",
                "maxMetricDrop": 0.01,
                "maxMemory": "1Gi",
                "whenUndecided": "Accept",
            },
            "spec.evaluation": {
                "task": "classification",
                "dataset": {
                    "uri": "s3://datasets/rows",
                    "template": "{text} {label}",
                    "test": "test",
                },
                "metrics": ["accuracy"],
            },
        },
    ),
}


@pytest.fixture(scope="module")
def said(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `kubectl apply` says against each."""
    manifests = [json.dumps(manifest) for manifest in ACCEPTED.values()]
    found = answers(control_plane, manifests, tmp_path_factory.mktemp("accepted"))
    return dict(zip(ACCEPTED, found, strict=True))


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(said: dict[str, str], name: str) -> None:
    assert said[name] == ""


@pytest.mark.parametrize("number", ["1e-6", "2.0e-4", "1"])
def test_yaml_numbers_are_numbers(control_plane: Cluster, number: str) -> None:
    stored = _dry_run(control_plane, _yaml_with_rate(number))
    assert stored["spec"]["training"]["learningRate"] == float(number)


def test_stored_with_the_defaults_of_the_models(control_plane: Cluster) -> None:
    stored = _dry_run(control_plane, json.dumps(FINE_TUNE_JOB))["spec"]
    expected = FineTuneJobSpec.model_validate(FINE_TUNE_JOB["spec"]).to_json()
    assert stored == expected
    assert stored["method"]["lora"]["targetModules"] == ["auto"]
    assert stored["limits"] == {"maxRestarts": 5}


def test_defaults_fill_half_written_objects(control_plane: Cluster) -> None:
    manifest = changed(FINE_TUNE_JOB, {"spec.method": {"lora": {"rank": 4}}})
    stored = _dry_run(control_plane, json.dumps(manifest))["spec"]
    assert stored["method"] == {
        "type": "lora",
        "lora": {
            "rank": 4,
            "alpha": 32,
            "dropout": 0,
            "targetModules": ["auto"],
            "modulesToSave": [],
            "rankStabilized": False,
            "dora": False,
            "bias": "none",
            "rankPattern": {},
            "alphaPattern": {},
        },
        "merge": False,
    }


def test_server_side_apply_replaces_lists_and_choices(
    control_plane: Cluster, namespace: str
) -> None:
    """A list that had its default isn't merged with it, and maxSteps gives way to epochs."""
    first = changed(FINE_TUNE_JOB, {"metadata.namespace": namespace})
    second = changed(
        first,
        {
            "spec.training": {"epochs": 2},
            "spec.evaluation.metrics": ["accuracy"],
            "spec.method": {"lora": {"targetModules": ["q_proj"]}},
        },
    )
    for manifest in (first, second):
        control_plane.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(manifest))
    stored = json.loads(
        control_plane.kubectl("get", "ftj", "tone", "-n", namespace, "-o", "json").stdout
    )["spec"]
    assert stored["evaluation"]["metrics"] == ["accuracy"]
    assert stored["method"]["lora"]["targetModules"] == ["q_proj"]
    assert stored["training"]["epochs"] == 2
    assert "maxSteps" not in stored["training"]


def _dry_run(cluster: Cluster, document: str) -> dict[str, Any]:
    """What the API server would store."""
    done = cluster.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", input=document)
    stored: dict[str, Any] = json.loads(done.stdout)
    return stored


def _yaml_with_rate(number: str) -> str:
    """The number as a user types it, which no JSON encoder has touched."""
    manifest = changed(FINE_TUNE_JOB, {"spec.training.learningRate": "NUMBER"})
    return json.dumps(manifest).replace('"NUMBER"', number)
