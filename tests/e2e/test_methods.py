"""Each method and task by `kubectl apply`: all at once, on tiny models, each to its artifact."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.runs import Json, Run
from e2e.specs import BASE, TEMPLATE, rows
from e2e.tenants import namespace_for
from unit.trainer.tiny import tiny

from luthier_cluster import Cluster

LOSS = """\
def loss(outputs, batch):
    return (outputs.logits.float() ** 2).mean()
"""


CHAT: Json = {
    "task": "generation",
    "dataset": {"columns": {"messages": "messages"}},
    "evaluation": {"metrics": ["exact_match", "rouge", "perplexity"], "maxNewTokens": 4},
}
ENCODER: Json = {
    "model": {"uri": "s3://models/tiny-bert"},
    "task": "classification",
    "dataset": {"columns": {"text": "text", "label": "label"}},
    "training": {"evalEverySteps": 4, "earlyStopping": {"metric": "accuracy"}},
    "evaluation": {"metrics": ["accuracy", "f1", "loss"]},
}
TAGS: Json = {
    "model": {"uri": "s3://models/tiny-bert"},
    "task": "extraction",
    "dataset": {
        "uri": "configmap://rows/train.jsonl",
        "columns": {"tokens": "tokens", "tags": "tags"},
    },
    "evaluation": {"metrics": ["entity_f1", "loss"]},
}
SUMMARY: Json = {
    "model": {"uri": "s3://models/tiny-t5"},
    "task": "summarization",
    "dataset": {"columns": {"prompt": "text", "completion": "label"}},
    "evaluation": {"metrics": ["rouge", "bleu", "loss"], "maxNewTokens": 4},
}
PAIRS: Json = {
    "model": {"uri": "s3://models/tiny-bert"},
    "task": "similarity",
    "dataset": {"columns": {"first": "text", "second": "other", "label": "score"}},
    "training": {"similarity": {"objective": "in_batch_negatives"}},
    "evaluation": {"metrics": ["loss"]},
}


def preferring(objective: str) -> Json:
    """Of answers in pairs; by kto of single ones."""
    columns = {"prompt": "text", "chosen": "label", "rejected": "other"}
    if objective == "kto":
        columns = {"prompt": "text", "completion": "label", "label": "good"}
    return {
        "task": "preference",
        "dataset": {"columns": columns},
        "training": {"preference": {"objective": objective}},
        "evaluation": {"metrics": ["reward_accuracy", "reward_margin", "loss"], "maxNewTokens": 4},
    }


OWN_LOSS: Json = {
    **TEMPLATE,
    "task": "generation",
    "training": {
        "loss": {"configMapRef": {"name": "rows", "key": "loss.py"}, "entrypoint": "loss"}
    },
}
# name → what differs from the base, files of the artifact. Together they have each method, each
# task and each kind of model.
CASES: dict[str, tuple[Json, list[str]]] = {
    "qlora-merged": (
        {**TEMPLATE, "task": "classification", "method": {"type": "qlora", "merge": True}},
        ["adapter/adapter_model.safetensors", "model/model.safetensors"],
    ),
    "pairs-full": (
        {**PAIRS, "method": {"type": "full"}},
        ["model/model.safetensors", "model/config.json", "model/tokenizer.json"],
    ),
    "tags-of-a-configmap-adapter": (
        {**TAGS, "method": {"type": "adapter", "adapter": {"placement": "houlsby"}}},
        ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    ),
    "chat-ia3-merged": (
        {**CHAT, "method": {"type": "ia3", "merge": True}},
        ["adapter/adapter_model.safetensors", "model/model.safetensors", "report/sheet.html"],
    ),
    "seq2seq-prefix": (
        {**SUMMARY, "method": {"type": "prefix", "virtualTokens": {"count": 5}}},
        ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    ),
    "prompt-loss-of-ones-own": (
        {**OWN_LOSS, "method": {"type": "prompt", "virtualTokens": {"count": 5}}},
        ["adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
    ),
    "preferences-dpo": (
        preferring("dpo"),
        ["adapter/adapter_model.safetensors", "report/sheet.html", "report/data.html"],
    ),
    "preferences-kto-full": (
        {**preferring("kto"), "method": {"type": "full"}},
        ["model/model.safetensors", "report/sheet.html"],
    ),
    "encoder-lora": (
        ENCODER,
        ["adapter/adapter_model.safetensors", "report/index.html", "report/data.html"],
    ),
}
# The same methods and tasks in other pairs.
REPEATED: dict[str, tuple[Json, list[str]]] = {
    "full": (
        {**TEMPLATE, "task": "classification", "method": {"type": "full"}},
        ["model/model.safetensors", "model/config.json", "model/tokenizer.json"],
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
    "chat": (CHAT, ["adapter/adapter_model.safetensors", "report/sheet.html"]),
    "encoder": (
        {**ENCODER, "method": {"type": "full"}},
        ["model/model.safetensors", "report/index.html", "report/data.html"],
    ),
    "tags-of-a-configmap": (TAGS, ["adapter/adapter_model.safetensors"]),
    "seq2seq": (SUMMARY, ["adapter/adapter_model.safetensors"]),
    "pairs": (PAIRS, ["adapter/adapter_model.safetensors"]),
    **{
        f"preferences-{objective}": (preferring(objective), ["adapter/adapter_model.safetensors"])
        for objective in ("ipo", "orpo", "kto", "simpo")
    },
    "loss-of-ones-own": (OWN_LOSS, ["adapter/adapter_model.safetensors"]),
}
ALL = CASES | REPEATED


def base_of(changes: Json) -> Json:
    """A method without LoRA takes no LoRA block."""
    kind = changes.get("method", {}).get("type", "lora")
    return BASE if kind in ("lora", "qlora") else {**BASE, "method": {}}


@pytest.fixture(scope="module")
def runs(
    luthier: Cluster,
    s3: Any,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Run]]:
    """All that this session tests, applied together."""
    content = "".join(json.dumps(row) + "\n" for row in rows(40))
    s3.put_object(Bucket="datasets", Key="colours/train.jsonl", Body=content.encode())
    for name in ("bert", "t5"):
        folder = tiny(name, tmp_path_factory.mktemp(name))
        for path in Path(folder).iterdir():
            s3.upload_file(str(path), "models", f"tiny-{name}/{path.name}")
    chosen = [
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__)
    ]
    with namespace_for(luthier, "methods") as namespace:
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "rows", "namespace": namespace},
            "data": {"train.jsonl": content, "loss.py": LOSS},
        }
        luthier.kubectl("apply", "-f", "-", input=json.dumps(config_map))
        found = {}
        for name in chosen:
            changes, _ = ALL[name]
            found[name] = Run(luthier, namespace, name, s3, base_of(changes))
            found[name].apply(changes)
        yield found


@pytest.mark.parametrize(
    "name", [*CASES, *(pytest.param(name, marks=pytest.mark.matrix) for name in REPEATED)]
)
def test_reaches_its_artifact(runs: dict[str, Run], name: str) -> None:
    run, (changes, files) = runs[name], ALL[name]
    run.wait("Ready", within=600)
    status, uri = run.status, run.status["artifact"]["uri"]
    keys = run.objects(f"{uri}/")
    _, _, prefix = uri.removeprefix("s3://").partition("/")
    for file in [*files, "README.md", "manifest.json", "report/loss.png"]:
        assert f"{prefix}/{file}" in keys, sorted(keys)
    wanted = changes.get("evaluation", BASE["evaluation"])["metrics"]
    for metric in {"rouge1" if metric == "rouge" else metric for metric in wanted}:
        assert metric in status["evaluation"]["tuned"], status["evaluation"]
        assert metric in status["evaluation"]["base"], status["evaluation"]
    assert status["dataset"]["train"] == 32
    assert status["estimate"]["memoryBytes"] > 0
    assert status["resolved"]["perDeviceBatchSize"] == "4"
