"""Each method and task by `kubectl apply`: all at once, on tiny models, each to its artifact."""

import json
from pathlib import Path
from typing import Any

import pytest
from e2e.runs import Json, Run
from unit.trainer.tiny import tiny

from luthier_cluster import Cluster
from luthier_demo import tenant

NAMESPACE = "methods"
COLOURS = ("red", "green", "blue")
LOSS = """\
def loss(outputs, batch):
    return (outputs.logits.float() ** 2).mean()
"""


def rows(count: int) -> list[Json]:
    """Rows with a column for every form of example."""
    found = []
    for number in range(count):
        colour = COLOURS[number % 3]
        text = f"thing number {number} is {colour}"
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": colour}]
        found.append(
            {
                "text": text,
                "label": colour,
                "messages": turns,
                "tokens": text.split(),
                "tags": ["O"] * 4 + ["B-COLOUR"],
                "other": f"{colour} is number {number + 3}",
                "score": 1.0,
            }
        )
    return found


TEMPLATE = {"dataset": {"template": "{text}\nColour: {label}"}}
# name → what differs from the base, files of the artifact
CASES: dict[str, tuple[Json, list[str]]] = {
    "full": (
        {**TEMPLATE, "task": "classification", "method": {"type": "full"}},
        ["model/model.safetensors", "model/config.json", "model/tokenizer.json"],
    ),
    "qlora-merged": (
        {**TEMPLATE, "task": "classification", "method": {"type": "qlora", "merge": True}},
        ["adapter/adapter_model.safetensors", "model/model.safetensors"],
    ),
    "adapter": (
        {
            **TEMPLATE,
            "task": "classification",
            "method": {"type": "adapter", "adapter": {"placement": "houlsby"}},
        },
        ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    ),
    "ia3-merged": (
        {**TEMPLATE, "task": "classification", "method": {"type": "ia3", "merge": True}},
        ["adapter/adapter_model.safetensors", "model/model.safetensors"],
    ),
    "prefix": (
        {
            **TEMPLATE,
            "task": "classification",
            "method": {"type": "prefix", "virtualTokens": {"count": 5}},
        },
        ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    ),
    "prompt": (
        {
            **TEMPLATE,
            "task": "generation",
            "method": {"type": "prompt", "virtualTokens": {"count": 5}},
            "evaluation": {"metrics": ["exact_match", "loss"], "maxNewTokens": 4},
        },
        ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    ),
    "chat": (
        {
            "task": "generation",
            "dataset": {"columns": {"messages": "messages"}},
            "evaluation": {"metrics": ["exact_match", "rouge", "perplexity"], "maxNewTokens": 4},
        },
        ["adapter/adapter_model.safetensors", "report/sheet.html"],
    ),
    "encoder": (
        {
            "model": {"uri": "s3://models/tiny-bert"},
            "task": "classification",
            "dataset": {"columns": {"text": "text", "label": "label"}},
            "method": {"type": "full"},
            "training": {"evalEverySteps": 4, "earlyStopping": {"metric": "accuracy"}},
            "evaluation": {"metrics": ["accuracy", "f1", "loss"]},
        },
        ["model/model.safetensors", "report/index.html", "report/data.html"],
    ),
    "tags-of-a-configmap": (
        {
            "model": {"uri": "s3://models/tiny-bert"},
            "task": "extraction",
            "dataset": {
                "uri": "configmap://rows/train.jsonl",
                "columns": {"tokens": "tokens", "tags": "tags"},
            },
            "evaluation": {"metrics": ["entity_f1", "loss"]},
        },
        ["adapter/adapter_model.safetensors"],
    ),
    "seq2seq": (
        {
            "model": {"uri": "s3://models/tiny-t5"},
            "task": "summarization",
            "dataset": {"columns": {"prompt": "text", "completion": "label"}},
            "evaluation": {"metrics": ["rouge", "bleu", "loss"], "maxNewTokens": 4},
        },
        ["adapter/adapter_model.safetensors"],
    ),
    "pairs": (
        {
            "model": {"uri": "s3://models/tiny-bert"},
            "task": "similarity",
            "dataset": {"columns": {"first": "text", "second": "other", "label": "score"}},
            "training": {"similarity": {"objective": "in_batch_negatives"}},
            "evaluation": {"metrics": ["loss"]},
        },
        ["adapter/adapter_model.safetensors"],
    ),
    "loss-of-ones-own": (
        {
            **TEMPLATE,
            "task": "generation",
            "training": {
                "loss": {"configMapRef": {"name": "rows", "key": "loss.py"}, "entrypoint": "loss"}
            },
        },
        ["adapter/adapter_model.safetensors"],
    ),
}
BASE: Json = {
    "model": {"uri": "s3://models/tiny"},
    "dataset": {"uri": "s3://datasets/colours", "evalFraction": 0.2},
    "method": {"type": "lora", "lora": {"rank": 4}},
    "training": {"maxSteps": 12, "learningRate": 1e-3, "perDeviceBatchSize": 4, "maxLength": 64},
    "evaluation": {"metrics": ["loss"]},
    "output": {"uri": "s3://artifacts/models"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 800},
}


def base_of(changes: Json) -> Json:
    """A method without LoRA takes no LoRA block."""
    kind = changes.get("method", {}).get("type", "lora")
    return BASE if kind in ("lora", "qlora") else {**BASE, "method": {}}


@pytest.fixture(scope="module")
def runs(luthier: Cluster, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All of them, applied together."""
    content = "".join(json.dumps(row) + "\n" for row in rows(40))
    s3.put_object(Bucket="datasets", Key="colours/train.jsonl", Body=content.encode())
    for name in ("bert", "t5"):
        folder = tiny(name, tmp_path_factory.mktemp(name))
        for path in Path(folder).iterdir():
            s3.upload_file(str(path), "models", f"tiny-{name}/{path.name}")
    tenant.create(luthier, NAMESPACE)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rows", "namespace": NAMESPACE},
        "data": {"train.jsonl": content, "loss.py": LOSS},
    }
    luthier.kubectl("apply", "-f", "-", input=json.dumps(config_map))
    found = {
        name: Run(luthier, NAMESPACE, name, s3, base_of(changes))
        for name, (changes, _) in CASES.items()
    }
    for name, run in found.items():
        run.apply(CASES[name][0])
    return found


@pytest.mark.parametrize("name", CASES)
def test_reaches_its_artifact(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    run.wait("Ready", within=600)
    status, uri = run.status, run.status["artifact"]["uri"]
    keys = run.objects(f"{uri}/")
    _, _, prefix = uri.removeprefix("s3://").partition("/")
    for file in [*CASES[name][1], "README.md", "manifest.json", "report/loss.png"]:
        assert f"{prefix}/{file}" in keys, sorted(keys)
    wanted = CASES[name][0].get("evaluation", BASE["evaluation"])["metrics"]
    for metric in {"rouge1" if metric == "rouge" else metric for metric in wanted}:
        assert metric in status["evaluation"]["tuned"], status["evaluation"]
        assert metric in status["evaluation"]["base"], status["evaluation"]
    assert status["dataset"]["train"] == 32
    assert status["estimate"]["memoryBytes"] > 0
    assert status["resolved"]["perDeviceBatchSize"] == "4"
