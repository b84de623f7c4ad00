"""What is optimised, fetched and verified: each thing that can be wrong with it has a clear error,
before anything is built."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer
from unit.trainer.optimize_support import QUICK, fine_tuned, order_maker, tiny_decoder
from unit.trainer.support import folder_of
from unit.trainer.tiny import tiny_folder

from luthier_api.result import ExitCode
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.errors import TrainerError, from_exception
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.run import Optimization

SHORT = {"training": {"maxSteps": 2, "saveEverySteps": 2}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    place = tmp_path_factory.mktemp("trained")
    return fine_tuned(tiny_decoder("llama", place / "base"), colours, place, **SHORT)


@pytest.fixture(scope="module")
def base(trained: Path) -> Path:
    """What `trained` was trained on, not to be changed."""
    manifest = json.loads((trained / "manifest.json").read_bytes())
    return Path(manifest["baseModel"]["uri"].removeprefix("file://"))


@pytest.fixture
def artifact(trained: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "artifact"))


def refusal(order: OptimizeOrder) -> TrainerError:
    run = Optimization(order)
    with pytest.raises(TrainerError) as failure:
        run.execute()
    output = folder_of(order)
    assert not (output / "manifest.json").exists()
    assert not (output / "model").exists()
    return failure.value


def by_uri(place: Path, model: Path, adapter: Path | None, **optimizing: Any) -> OptimizeOrder:
    document = {
        "run": {
            "kind": "OptimizeJob",
            "namespace": "team-a",
            "name": "fast",
            "uid": "u",
            "revision": "r1",
            "attempt": 1,
        },
        "shapeHash": "0" * 64,
        "output": f"file://{place}/fast/r1",
        "cacheDir": f"{place}/cache",
        "scratchDir": f"{place}/scratch",
        "fileRoots": ["/"],
        "optimizing": optimizing,
        "source": {"uri": f"file://{model}"},
        "adapterUri": f"file://{adapter}" if adapter else None,
    }
    return OptimizeOrder.model_validate(document)


def test_a_changed_manifest(artifact: Path, tmp_path: Path) -> None:
    order = order_maker(artifact, tmp_path)()
    (artifact / "manifest.json").write_text("{}")
    error = refusal(order)
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "SourceDamaged")
    assert "manifest.json: isn't the one that the FineTuneJob reported" in error.error.message
    assert error.error.param == "source.fineTuneJobRef"


def test_no_artifact(artifact: Path, tmp_path: Path) -> None:
    order = order_maker(artifact, tmp_path)()
    shutil.rmtree(artifact)
    error = refusal(order)
    assert (error.exit_code, error.error.code) == (ExitCode.NOT_FOUND, "SourceNotFound")


@pytest.mark.parametrize("how", ["missing", "truncated", "changed"])
def test_a_damaged_file(how: str, artifact: Path, tmp_path: Path) -> None:
    order = order_maker(artifact, tmp_path)()
    weights = artifact / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    if how == "missing":
        weights.unlink()
    else:
        weights.write_bytes(content[:-5] if how == "truncated" else content[:-1] + b"\x00")
    error = refusal(order)
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "SourceDamaged")
    assert "adapter/adapter_model.safetensors" in error.error.message


def test_another_base_than_the_adapter_was_trained_on(colours: Path, tmp_path: Path) -> None:
    base = tiny_decoder("llama", tmp_path / "base")
    artifact = fine_tuned(base, colours, tmp_path, **SHORT)
    tensors = load_file(base / "model.safetensors")
    name = next(iter(tensors))
    tensors[name] = tensors[name] + 1
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    error = refusal(order_maker(artifact, tmp_path)())
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "BaseChanged")


def test_other_data_than_the_run_reported_on(base: Path, colours: Path, tmp_path: Path) -> None:
    rows = Path(shutil.copytree(colours, tmp_path / "colours"))
    artifact = fine_tuned(base, rows, tmp_path, **SHORT)
    with (rows / "test.jsonl").open("a") as file:
        file.write('{"text": "one more tomato", "label": "red"}\n')
    error = refusal(order_maker(artifact, tmp_path)())
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "DatasetChanged")


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_a_method_that_can_not_be_merged(method: str, artifact: Path, tmp_path: Path) -> None:
    """Refused by its name, before the base is fetched."""
    manifest = json.loads((artifact / "manifest.json").read_bytes())
    manifest["spec"]["method"] = {"type": method}
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    error = refusal(order_maker(artifact, tmp_path)())
    assert (error.exit_code, error.error.code) == (ExitCode.UNSUPPORTED, "NotMergeable")
    assert method in error.error.message


def test_a_merged_run_needs_no_base(colours: Path, tmp_path: Path) -> None:
    base = tiny_decoder("llama", tmp_path / "base")
    method = {"type": "lora", "lora": {"rank": 4}, "merge": True}
    artifact = fine_tuned(base, colours, tmp_path, method=method, **SHORT)
    shutil.rmtree(base)
    found = fetch(order_maker(artifact, tmp_path)(), tmp_path / "fetched")
    assert found.adapter is None
    assert (found.model / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("optimizing", "code", "param"),
    [
        ({"precisions": ["bf16"]}, "PrecisionNotSupported", "precisions"),
        (
            {"target": {"device": "dml"}, "precisions": ["int8"]},
            "PrecisionNotSupported",
            "precisions",
        ),
        (
            {"gates": {"metric": "bleu", "maxMetricDrop": 0.1}},
            "GateNotMeasurable",
            "gates.metric",
        ),
        (
            {"gates": {"metric": "loss", "maxMetricDrop": 0.1}},
            "GateNotMeasurable",
            "gates.metric",
        ),
        ({"benchmark": {"promptTokens": [4096]}}, "BenchmarkTooLong", "benchmark.promptTokens"),
    ],
)
def test_what_can_not_be_done(
    optimizing: dict[str, Any], code: str, param: str, artifact: Path, tmp_path: Path
) -> None:
    error = refusal(order_maker(artifact, tmp_path)(**optimizing))
    assert (error.exit_code, error.error.code) == (ExitCode.UNSUPPORTED, code)
    assert error.error.param == param


def test_no_model_at_the_uri(tmp_path: Path) -> None:
    error = refusal(by_uri(tmp_path, tmp_path / "nowhere", None))
    assert (error.exit_code, error.error.code) == (ExitCode.NOT_FOUND, "ModelNotFound")
    assert error.error.param == "source.modelUri"


def test_half_a_model_at_the_uri(base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: len(content) // 2])
    error = refusal(by_uri(tmp_path, model, None))
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "BrokenSafetensors")


@pytest.mark.parametrize("how", ["quantised", "a shard is missing", "a token has no row"])
def test_a_model_at_the_uri_that_is_refused_before_it_is_loaded(
    how: str, base: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    config = json.loads((model / "config.json").read_bytes())
    if how == "quantised":
        config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    elif how == "a shard is missing":
        shard = "model-00001-of-00002.safetensors"
        (model / "model.safetensors").rename(model / shard)
        index = {"weight_map": {"a": shard, "b": shard.replace("1", "2", 1)}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.add_tokens([f"<|new-{n}|>" for n in range(config["vocab_size"])])
        tokenizer.save_pretrained(model)
    (model / "config.json").write_text(json.dumps(config))
    error = from_exception(refusal(by_uri(tmp_path, model, None)), "OptimizeJob").error
    assert error.code == "ModelUnusable"
    told = {
        "quantised": ("quant_method gptq", "source.modelUri"),
        "a shard is missing": ("00002-of-00002", "source.modelUri"),
        "a token has no row": ("resize them", "source"),
    }
    words, param = told[how]
    assert words in error.message
    assert error.param == param


def test_no_adapter_at_the_uri(trained: Path, base: Path, tmp_path: Path) -> None:
    """The artifact's folder in place of the adapter's in it."""
    error = refusal(by_uri(tmp_path, base, trained))
    assert (error.exit_code, error.error.code) == (ExitCode.NOT_FOUND, "AdapterNotFound")
    assert f"name its folder file://{trained}/adapter" in error.error.message


def test_half_an_adapter_at_the_uri(artifact: Path, base: Path, tmp_path: Path) -> None:
    weights = artifact / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    error = refusal(by_uri(tmp_path, base, artifact / "adapter"))
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "BrokenSafetensors")
    assert error.error.param == "source.adapterUri"


def test_a_model_with_a_weight_that_is_no_number(base: Path, tmp_path: Path) -> None:
    """Without gates, too: it would be given out as a model that answers as its source does."""
    model = Path(shutil.copytree(base, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    error = refusal(by_uri(tmp_path, model, None, precisions=["fp32"], benchmark=QUICK))
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "SourceNotFinite")
    assert f"file://{model}" in error.error.message


def test_an_adapter_of_another_base_at_the_uri(artifact: Path, tmp_path: Path) -> None:
    """A Qwen3 has wider heads."""
    error = refusal(by_uri(tmp_path, tiny_folder("qwen3"), artifact / "adapter"))
    assert (error.exit_code, error.error.code) == (ExitCode.DATA, "AdapterOfAnotherBase")
    assert "_proj is " in error.error.message


def test_an_adapter_with_the_configuration_of_another_one(
    artifact: Path, base: Path, tmp_path: Path
) -> None:
    config = artifact / "adapter" / "adapter_config.json"
    document = json.loads(config.read_bytes())
    rank = document["r"]
    for wrong, words in (
        ({"r": 2 * rank}, f"has rank {rank}, and adapter_config.json says rank {2 * rank}"),
        ({"r": 3, "rank_pattern": {"[": 2}}, "is no pattern"),
        ({"r": None}, "no usable rank"),
    ):
        config.write_text(json.dumps({**document, **wrong}))
        error = refusal(by_uri(tmp_path, base, artifact / "adapter"))
        assert (error.exit_code, error.error.code) == (ExitCode.UNSUPPORTED, "AdapterUnusable")
        assert words in error.error.message
        assert error.error.param == "source.adapterUri"


def test_an_adapter_of_a_method_that_is_not_merged(
    artifact: Path, base: Path, tmp_path: Path
) -> None:
    config = artifact / "adapter" / "adapter_config.json"
    document = json.loads(config.read_bytes())
    for kind, code in (("PREFIX_TUNING", "NotMergeable"), ("VERA", "AdapterNotSupported")):
        config.write_text(json.dumps({**document, "peft_type": kind}))
        error = refusal(by_uri(tmp_path, base, artifact / "adapter"))
        assert (error.exit_code, error.error.code) == (ExitCode.UNSUPPORTED, code)


def test_a_model_and_adapter_by_uri_without_rows(trained: Path, base: Path, tmp_path: Path) -> None:
    """Outputs, size and speed are measured; there are no rows for metrics."""
    order = by_uri(
        tmp_path,
        base,
        trained / "adapter",
        precisions=["fp32"],
        gates={"maxLogitsDifference": 0.001},
        benchmark={"promptTokens": [8], "newTokens": 2, "repeats": 1},
    )
    result = Optimization(order).execute()
    found = result.candidates[0]
    assert found.verdict == "Chosen", found
    assert found.perplexity is None
    assert found.tokens_per_second


def test_rows_of_its_own_for_a_model_by_uri(base: Path, colours: Path, tmp_path: Path) -> None:
    order = by_uri(
        tmp_path,
        base,
        None,
        precisions=["fp32"],
        gates={"metric": "accuracy", "maxMetricDrop": 0},
        benchmark={"promptTokens": [8], "newTokens": 2, "repeats": 1},
        evaluation={
            "task": "classification",
            "dataset": {
                "uri": f"file://{colours}",
                "template": "Text: {text}\nColour: {label}",
                "test": "test",
            },
            "metrics": ["accuracy"],
            "maxSamples": 20,
        },
    )
    result = Optimization(order).execute()
    assert result.candidates[0].verdict == "Chosen", result.candidates[0]
    assert result.baseline
    assert result.baseline.metric is not None
    assert torch.isfinite(torch.tensor(result.baseline.perplexity))
    card = (folder_of(order) / "README.md").read_text()
    first = re.search(r"^prompt = '(Text: .+)\\nColour:'$", card, re.MULTILINE)
    assert first, card
    rows = [json.loads(line) for line in (colours / "test.jsonl").read_text().splitlines()]
    assert first[1].removeprefix("Text: ") in {row["text"] for row in rows}
    assert "The prompt is the template's text before its last column" in card
    labels = {row["label"] for row in rows}
    told = re.search(r"^Its answers are (.+)\. The run", card, re.MULTILINE)
    assert told
    assert set(told[1].replace("`", "").split(", ")) == labels
