"""Whole optimisations of a tiny fine-tuned model: what is published, and what it is worth."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract.golden_documents import manifest_of
from unit.trainer.optimize_support import fine_tuned, order_maker, tiny_decoder
from unit.trainer.support import folder_of
from unit.trainer.tiny import tiny

from luthier_api.result import ExitCode, OptimizeResult
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.errors import TrainerError
from luthier_trainer.main import run_of
from luthier_trainer.optimize.run import Optimization
from luthier_trainer.packages.genai.build import GenaiBuilder

# A run, and three packages of it, are made first.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory, colours: Path) -> Path:
    """A LoRA on a tiny Llama."""
    place = tmp_path_factory.mktemp("artifact")
    return fine_tuned(tiny_decoder("llama", place / "llama"), colours, place)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, artifact: Path
) -> tuple[OptimizeOrder, OptimizeResult]:
    """All precisions of a CPU; the gate of quality keeps fp32 in."""
    order = order_maker(artifact, tmp_path_factory.mktemp("finished"))(
        gates={"metric": "accuracy", "maxMetricDrop": 1.0}
    )
    return order, run_of(order).execute()  # type: ignore[return-value]


def test_all_candidates_are_measured_and_the_smallest_is_published(
    finished: tuple[OptimizeOrder, OptimizeResult],
) -> None:
    order, result = finished
    assert [it.precision for it in result.candidates] == ["fp32", "int8", "int4"]
    exact, int8, int4 = result.candidates
    assert result.baseline
    assert exact.logits_difference is not None
    assert exact.logits_difference <= 1e-3
    assert exact.metric_delta == 0
    assert exact.perplexity == pytest.approx(result.baseline.perplexity, abs=1e-3)
    assert exact.logits_difference < (int8.logits_difference or 0) < (int4.logits_difference or 0)
    for it in (result.baseline, *result.candidates):
        assert it.metric is not None
        for value in (it.size_bytes, it.tokens_per_second, it.first_token_ms, it.memory_bytes):
            assert value
            assert value > 0
    smallest = min(result.candidates, key=lambda it: it.size_bytes or 0)
    assert [it.verdict for it in result.candidates].count("Chosen") == 1
    assert smallest.verdict == "Chosen"
    assert result.artifact
    assert (result.artifact.precision, result.artifact.format) == (smallest.precision, "genai")
    manifest = (folder_of(order) / "manifest.json").read_bytes()
    assert result.artifact.manifest_sha256 == hashlib.sha256(manifest).hexdigest()
    assert json.loads(manifest).keys() == manifest_of("OptimizeJob").keys()
    for name, file in json.loads(manifest)["files"].items():
        content = (folder_of(order) / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_source_is_measured_as_its_run_reported(
    finished: tuple[OptimizeOrder, OptimizeResult], artifact: Path
) -> None:
    """The same rows by the same code: the merged model's accuracy is the adapter's."""
    reported = json.loads((artifact / "manifest.json").read_bytes())["result"]["evaluation"]
    baseline = finished[1].baseline
    assert baseline
    assert baseline.metric == pytest.approx(reported["tuned"]["accuracy"], abs=1e-6)
    assert baseline.perplexity == pytest.approx(reported["tuned"]["perplexity"], rel=1e-4)


def test_plain_genai_runs_the_published_package(
    finished: tuple[OptimizeOrder, OptimizeResult], artifact: Path
) -> None:
    """Without any of our code; its tokenizer is the fine-tuning's."""
    import onnxruntime_genai as og
    from transformers import AutoTokenizer

    folder = folder_of(finished[0]) / "model"
    model = og.Model(str(folder))
    prompt = "Text: w7 1001 meadow\nColour:"
    ids = [int(token) for token in og.Tokenizer(model).encode(prompt)]
    expected = AutoTokenizer.from_pretrained(artifact / "adapter")
    assert ids == expected(prompt, add_special_tokens=False)["input_ids"]
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + 8, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array([ids], dtype=np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    new = generator.get_sequence(0)[len(ids) :]
    assert 1 <= len(new) <= 8
    assert (folder / "chat_template.jinja").exists()
    ends = json.loads((folder / "genai_config.json").read_bytes())["model"]["eos_token_id"]
    assert expected.eos_token_id in ends


def test_people_get_a_card_and_a_page_that_needs_no_network(
    finished: tuple[OptimizeOrder, OptimizeResult],
) -> None:
    order, result = finished
    card = (folder_of(order) / "README.md").read_text()
    page = (folder_of(order) / "report" / "index.html").read_text()
    for text in (card, page):
        for it in result.candidates:
            assert it.precision in text
        assert "Chosen" in text
    assert page.count("<svg") == 7
    assert 'class="chosen"' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    document = json.loads((folder_of(order) / "report" / "candidates.json").read_bytes())
    assert document["rows"] == 30
    assert [it["precision"] for it in document["candidates"]] == ["fp32", "int8", "int4"]
    evaluation = document["candidates"][0]["evaluation"]
    assert set(evaluation["tuned"]) == {"accuracy", "f1", "loss", "perplexity"}
    assert document["candidates"][0]["timings"][0]["prompt_tokens"] == 16


def test_a_finished_output_gives_its_result_again(
    finished: tuple[OptimizeOrder, OptimizeResult],
) -> None:
    order, result = finished
    again = Optimization(order).execute()
    assert again.artifact == result.artifact
    assert again.candidates == result.candidates


def test_another_resource_gets_the_finished_result_of_the_same_order(
    finished: tuple[OptimizeOrder, OptimizeResult],
) -> None:
    order, result = finished
    other = order.model_copy(update={"run": order.run.model_copy(update={"uid": "uid-2"})})
    before = (folder_of(order) / "manifest.json").stat().st_mtime_ns
    assert Optimization(other).execute().artifact == result.artifact
    assert (folder_of(order) / "manifest.json").stat().st_mtime_ns == before


def test_another_revision_takes_what_was_built_and_measured(
    finished: tuple[OptimizeOrder, OptimizeResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gates are of no account for packages and measurements."""
    order, before = finished

    def fail(*_: Any) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(GenaiBuilder, "build", fail)
    newer = order.model_copy(
        update={
            "run": order.run.model_copy(update={"revision": "r2-00000000"}),
            "output": order.output.replace("/r1", "/r2"),
            "shape_hash": "1" * 64,
            "optimizing": order.optimizing.model_copy(update={"objective": "Fastest"}),
        }
    )
    result = Optimization(newer).execute()
    assert [it.size_bytes for it in result.candidates] == [
        it.size_bytes for it in before.candidates
    ]
    fastest = max(result.candidates, key=lambda it: it.tokens_per_second or 0)
    assert fastest.verdict == "Chosen"
    assert result.artifact
    assert result.artifact.precision == fastest.precision


def test_gates_that_nothing_keeps(artifact: Path, tmp_path: Path) -> None:
    order = order_maker(artifact, tmp_path)(precisions=["int4"], gates={"maxSize": "1k"})
    run = Optimization(order)
    with pytest.raises(TrainerError) as failure:
        run.execute()
    assert failure.value.exit_code == ExitCode.NOT_GOOD_ENOUGH
    assert failure.value.error.code == "GatesNotMet"
    assert "int4: Rejected, its size is" in failure.value.error.message
    assert run.result("Failed", failure.value).candidates[0].verdict == "Rejected"
    output = folder_of(order)
    assert (output / "report" / "index.html").exists()
    assert (output / "report" / "candidates.json").exists()
    assert not (output / "manifest.json").exists()
    assert not (output / "model").exists()
    assert not (output / "README.md").exists()


def test_a_device_that_is_not_here_is_built_for(artifact: Path, tmp_path: Path) -> None:
    order = order_maker(artifact, tmp_path)(
        target={"device": "cuda"}, precisions=["fp16"], gates={"maxSize": "1G"}
    )
    result = Optimization(order).execute()
    found = result.candidates[0]
    assert found.verdict == "Chosen"
    assert "built for cuda, which isn't here: not benchmarked" in (found.reason or "")
    assert found.tokens_per_second is None
    assert found.metric is None
    assert found.size_bytes
    config = json.loads((folder_of(order) / "model" / "genai_config.json").read_bytes())
    options = config["model"]["decoder"]["session_options"]["provider_options"]
    assert any("cuda" in option for option in options)


@pytest.mark.parametrize(
    ("name", "make", "tolerance"),
    [
        ("phi3", tiny_decoder, 1e-3),
        ("qwen3", tiny, 1e-3),
        # The builder's graph of it isn't transformers' to the last digit.
        ("gemma2", tiny, 3e-2),
    ],
)
def test_other_architectures_are_exact(
    name: str,
    make: Callable[[str, Path], Path],
    tolerance: float,
    colours: Path,
    tmp_path: Path,
) -> None:
    """phi3 has fused projections (qkv_proj, gate_up_proj), which the builder splits; gemma2 a
    sliding window, for which rows aren't padded."""
    trained = fine_tuned(make(name, tmp_path / name), colours, tmp_path)
    order = order_maker(trained, tmp_path)(
        precisions=["fp32"],
        gates={"metric": "accuracy", "maxMetricDrop": 0, "maxLogitsDifference": tolerance},
    )
    result = Optimization(order).execute()
    assert result.candidates[0].verdict == "Chosen", result.candidates[0]


def test_answers_in_words_are_those_of_the_source(colours: Path, tmp_path: Path) -> None:
    """Generated in batches of prompts of many lengths."""
    trained = fine_tuned(
        tiny_decoder("qwen2", tmp_path / "qwen2"),
        colours,
        tmp_path,
        task="extraction",
        dataset={
            "template": None,
            "columns": {"prompt": "text", "completion": "label"},
        },
        metrics=["exact_match", "loss"],
        evaluation={"maxNewTokens": 8},
    )
    order = order_maker(trained, tmp_path)(
        precisions=["fp32"], gates={"metric": "exact_match", "maxMetricDrop": 0}
    )
    result = Optimization(order).execute()
    found = result.candidates[0]
    assert found.verdict == "Chosen", found
    told = (found.metric_delta, found.metric_low, found.metric_high)
    assert told == (0, None, None), "each answer is the same"
    assert (found.metric or 0) > 0.5, "and they are right"


def test_rows_of_the_loaded_package_do_not_depend_on_their_batch(
    finished: tuple[OptimizeOrder, OptimizeResult],
) -> None:
    from luthier_trainer.packages.genai.runner import GenaiRunner

    runner = GenaiRunner(folder_of(finished[0]) / "model", threads=2)
    model = runner.as_model()
    rows = [[5, 6, 7], [9, 10, 11, 12, 13, 14], [20]]
    ids = torch.tensor([row + [0] * (6 - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (6 - len(row)) for row in rows])
    together = model(input_ids=ids, attention_mask=mask).logits
    for index, row in enumerate(rows):
        alone = torch.from_numpy(runner.logits([row]))[0]
        # The order of sums may depend on how many rows there are.
        torch.testing.assert_close(together[index, : len(row)], alone, rtol=1e-5, atol=1e-5)
    # A row that has ended is followed by padding until all have; alone, by nothing.
    texts = [_before_end(ids, runner.ends) for ids in runner.continued(rows, 5)]
    assert texts == [_before_end(runner.continued([row], 5)[0], runner.ends) for row in rows]


def _before_end(ids: list[int], ends: list[int]) -> list[int]:
    return ids[: next((index for index, token in enumerate(ids) if token in ends), len(ids))]


def test_int4_takes_its_options(artifact: Path, tmp_path: Path) -> None:
    """They are the builder's own names; older ones are silently ignored by it."""
    sizes = {}
    for block in (16, 32):
        order = order_maker(artifact, tmp_path / str(block))(
            precisions=["int4"], int4={"algorithm": "rtn", "blockSize": block}
        )
        sizes[block] = Optimization(order).execute().candidates[0].size_bytes or 0
        manifest = json.loads((folder_of(order) / "manifest.json").read_bytes())
        assert manifest["package"]["options"]["block_size"] == str(block)
    assert sizes[16] > sizes[32], "more scales"


def test_heads_that_its_attention_can_not_have(colours: Path, tmp_path: Path) -> None:
    """Those of 8 numbers: refused before anything is built."""
    trained = fine_tuned(tiny("llama", tmp_path / "llama"), colours, tmp_path)
    with pytest.raises(TrainerError) as failure:
        Optimization(order_maker(trained, tmp_path)()).execute()
    assert failure.value.error.code == "ArchitectureNotSupported"
    assert "heads of 8" in failure.value.error.message


def test_an_adapter_that_stays_apart(artifact: Path, tmp_path: Path) -> None:
    """The base with its adapter answers as the merged model; without it, as the base."""
    import onnxruntime_genai as og
    from transformers import AutoModelForCausalLM

    order = order_maker(artifact, tmp_path)(
        adapter="Separate",
        precisions=["fp32", "int8"],
        objective="Fastest",
        gates={"metric": "accuracy", "maxMetricDrop": 0.2, "maxLogitsDifference": 0.001},
    )
    result = Optimization(order).execute()
    exact = result.candidates[0]
    assert exact.verdict == "Chosen", result.candidates
    folder = folder_of(order) / "model"
    model = og.Model(str(folder))
    assert (folder / "adapter.onnx_adapter").exists()
    ids = [5, 6, 7, 8]
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=8)
    generator = og.Generator(model, params)
    generator.append_tokens(np.array([ids], dtype=np.int32))
    manifest = json.loads((artifact / "manifest.json").read_bytes())
    base = AutoModelForCausalLM.from_pretrained(
        manifest["baseModel"]["uri"].removeprefix("file://"), dtype=torch.float32
    )
    with torch.inference_mode():
        expected = base(torch.tensor([ids])).logits.numpy()
    assert np.abs(np.array(generator.get_output("logits")) - expected).max() <= 1e-3
