"""From fine-tuned adapters to ONNX, by `kubectl apply`: one package, and a bundle of two."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.runs import Json, Run, eventually
from e2e.specs import BASE, TEMPLATE, rows
from e2e.tenants import namespace_for

from luthier_cluster import Cluster
from luthier_demo import answers, artifacts
from luthier_demo.answers import Question, Score

COLOURED = ((1, "green"), (2, "blue"), (3, "red"), (44, "green"))
TUNED: Json = {
    **TEMPLATE,
    "task": "classification",
    "dataset": {**TEMPLATE["dataset"], "uri": "s3://datasets/things"},
    "evaluation": {"metrics": ["accuracy", "loss", "perplexity"]},
}
PLACED: Json = {
    "output": {"uri": "s3://artifacts/packages"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 2400},
}
OPTIMIZE: Json = {
    **PLACED,
    "source": {"fineTuneJobRef": {"name": "red"}},
    "precisions": ["int8", "fp32"],
    "gates": {"maxPerplexityIncrease": 0.5, "maxSize": "1G"},
    "benchmark": {"promptTokens": [16], "newTokens": 8, "repeats": 2},
}
BUNDLE: Json = {
    **PLACED,
    "base": {"uri": "s3://models/tiny"},
    "precision": "fp32",
    "adapters": [
        {"name": "red", "fineTuneJobRef": {"name": "red"}},
        {"name": "blue", "fineTuneJobRef": {"name": "blue"}},
    ],
}


@pytest.fixture(scope="module")
def runs(luthier: Cluster, s3: Any) -> Iterator[dict[str, Run]]:
    """All applied together, those that wait for the others first."""
    content = "".join(json.dumps(row) + "\n" for row in rows(40))
    s3.put_object(Bucket="datasets", Key="things/train.jsonl", Body=content.encode())
    with namespace_for(luthier, "packages") as namespace:
        found = {
            "opt": Run(luthier, namespace, "opt", s3, OPTIMIZE, "OptimizeJob"),
            "both": Run(luthier, namespace, "both", s3, BUNDLE, "AdapterBundle"),
            "red": Run(luthier, namespace, "red", s3, BASE),
            "blue": Run(luthier, namespace, "blue", s3, BASE),
        }
        found["opt"].apply()
        found["both"].apply()
        eventually(
            "opt says what it waits for",
            lambda: found["opt"].condition("SourceReady").get("reason") == "SourceNotFound",
            within=60,
        )
        found["red"].apply(TUNED)
        found["blue"].apply({**TUNED, "method": {"lora": {"rank": 8}}, "training": {"seed": 7}})
        yield found


def downloaded(run: Run, uri: str, folder: Path) -> Path:
    """The files below a folder of S3, on this machine."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for key in run.objects(f"{uri}/"):
        path = folder / key.removeprefix(f"{prefix}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        run.s3.download_file(bucket, key, str(path))
    return folder


def generate(folder: Path, adapter: Path | None = None) -> list[int]:
    """Tokens by plain onnxruntime-genai."""
    import numpy as np
    import onnxruntime_genai as og

    model = og.Model(str(folder))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=16, do_sample=False)
    generator = og.Generator(model, parameters)
    if adapter:
        adapters = og.Adapters(model)
        adapters.load(str(adapter), "it")
        generator.set_active_adapter(adapters, "it")
    generator.append_tokens(np.array([5, 6, 7, 8], dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)]


def test_an_optimized_model_is_published(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["opt"]
    run.wait("Ready", within=800)
    status = run.status
    assert {it["precision"] for it in status["candidates"]} == {"int8", "fp32"}
    assert [it["verdict"] for it in status["candidates"]].count("Chosen") == 1
    assert status["source"]["revision"] == runs["red"].status["revision"]
    assert run.condition("GatesPassed")["status"] == "True"
    folder = downloaded(run, status["artifact"]["uri"], tmp_path)
    assert (folder / "report" / "index.html").exists()
    assert len(generate(folder / "model")) == 16


@pytest.fixture(scope="module")
def first(runs: dict[str, Run]) -> Json:
    """The bundle's status with its first package of both adapters."""
    run = runs["both"]
    runs["red"].wait("Ready", within=600)
    runs["blue"].wait("Ready", within=600)

    def complete() -> Json | None:
        status = run.status
        states = [it.get("state") for it in status.get("adapters", [])]
        return status if states == ["Included", "Included"] and status.get("current") else None

    try:
        return eventually("the bundle has both", complete, within=600)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.story()}") from None


def test_a_bundle_holds_both_adapters(runs: dict[str, Run], first: Json, tmp_path: Path) -> None:
    assert first["proof"]["isolated"] is True
    assert first["proof"]["logitsDifference"] < 1e-3
    folder = downloaded(runs["both"], first["current"]["uri"], tmp_path)
    index = json.loads((folder / "index.json").read_text())
    assert {it["name"] for it in index["adapters"]} == {"red", "blue"}


def test_the_demo_asks_each_adapter(s3: Any, first: Json, tmp_path: Path) -> None:
    """What an adapter says is right of that adapter; the same package isn't asked twice."""
    package, kept = tmp_path / "package", tmp_path / "answers.json"
    artifacts.download_all(s3, first["current"], package)
    bundle = answers.load(package)
    prompts = [f"thing number {number} is {colour}\nColour:" for number, colour in COLOURED]
    said = {
        name: [bundle.generate(name, prompt, max_new_tokens=4) for prompt in prompts]
        for name in (*bundle.adapters, None)
    }
    tasks = {
        name: [
            Question(prompt, answers.first_word(answer))
            for prompt, answer in zip(prompts, said[name], strict=True)
        ]
        for name in bundle.adapters
    }
    found = answers.scores(package, tasks, kept)
    assert set(found) == {
        Score(
            task,
            adapter,
            sum(map(answers.is_right, said[adapter], (each.label for each in tasks[task]))),
            len(prompts),
        )
        for task in tasks
        for adapter in said
    }
    assert {score.right for score in found if score.task == score.adapter} == {len(prompts)}
    written = kept.stat().st_mtime_ns
    assert answers.scores(package, tasks, kept) == found
    assert kept.stat().st_mtime_ns == written
    answers.scores(package, {"red": tasks["red"]}, kept)
    assert kept.stat().st_mtime_ns > written


def test_a_new_result_refreshes_the_bundle(runs: dict[str, Run], first: Json) -> None:
    run = runs["both"]
    before = first["current"]["uri"]
    runs["blue"].apply(
        {**TUNED, "method": {"lora": {"rank": 8}}, "training": {"seed": 8, "maxSteps": 14}}
    )

    def refreshed() -> bool:
        current = run.status["current"]["uri"]
        assert current, "the package in use stays until the next is proven"
        return bool(current != before)

    try:
        eventually("a package with the new result", refreshed, within=600)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{run.story()}") from None
    assert run.status["proof"]["rebuilt"] == 1
    assert before.rpartition("/")[0] == run.status["current"]["uri"].rpartition("/")[0]
