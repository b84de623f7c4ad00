"""Adapters that are left out of a bundle, and for how long."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from unit.trainer.bundle_built import Built
from unit.trainer.bundle_support import ALL, SHAPES, make_adapter, make_base, order_maker
from unit.trainer.support import folder_of
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_api.runspec import BundleOrder
from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.errors import TrainerError, from_exception
from luthier_trainer.packages.genai import adapterfile, graph

# onnxruntime-genai and peft are imported by the tests themselves.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("nothing_hidden")]


def test_one_that_fails_its_proof_is_left_out_and_not_tried_again(
    built: Built, tmp_path: Path, work: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = make_adapter(built.base, tmp_path / "newer", seed=7, **SHAPES["stabilized"])
    sources = {"plain": built.adapters["plain"], "wrong": newer}
    order = built.make(
        sources,
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=built.order.output,
    )
    with monkeypatch.context() as patch:
        patch.setattr(adapterfile, "scaling", lambda config, module: 1.01)  # alpha/√r is 4
        result = BundleRun(order).execute()
    ends = {end.name: end for end in result.adapters}
    assert ends["plain"].included
    assert (ends["wrong"].included, ends["wrong"].code) == (False, "NotEqual")
    assert not (folder_of(order) / "adapters" / "wrong.onnx_adapter").exists()
    assert work["proven"] == ["wrong"]

    third = built.make(
        sources, output=f"file://{tmp_path}/answers/r3-00000000", previous=order.output
    )
    again = BundleRun(third).execute()
    assert work["proven"] == ["wrong"]
    assert {end.name: end.code for end in again.adapters} == {"plain": None, "wrong": "NotEqual"}


def test_a_base_with_tokens_that_it_has_no_embedding_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is built; the rows of an adapter would end in an index error."""
    monkeypatch.setattr(graph, "build", lambda *_: pytest.fail("it builds"))
    tokenizer = tiny_tokenizer_of("llama")
    base = make_base(tmp_path / "base", tokenizer)
    adapter = make_adapter(base, tmp_path / "adapter", **SHAPES["plain"])
    tokenizer.add_tokens(["<|new|>"])
    tokenizer.save_pretrained(base)
    with pytest.raises(TrainerError, match="resize them") as caught:
        BundleRun(order_maker(base, tmp_path)({"plain": adapter})).execute()
    error = from_exception(caught.value, "AdapterBundle").error
    assert (error.code, error.param) == ("ModelUnusable", "base.uri")


def test_one_that_lost_of_its_metric_is_left_out(built: Built, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(built.trained.uri[7:], run)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["result"]["evaluation"]["tuned"]["accuracy"] += 0.2  # as if it had been better
    data = json.dumps(manifest).encode()
    (run / "manifest.json").write_bytes(data)
    better = SourceRef(
        uri=f"file://{run}", revision="r1-0", manifest_sha256=hashlib.sha256(data).hexdigest()
    )
    # Another file of the same weights: nothing is taken over.
    weights = run / "adapter" / "adapter_config.json"
    config = {**json.loads(weights.read_text()), "lora_dropout": 0.5}
    weights.write_text(json.dumps(config))
    manifest["files"]["adapter/adapter_config.json"]["sha256"] = hashlib.sha256(
        weights.read_bytes()
    ).hexdigest()
    data = json.dumps(manifest).encode()
    (run / "manifest.json").write_bytes(data)
    better = better.model_copy(update={"manifest_sha256": hashlib.sha256(data).hexdigest()})

    def order(number: int, allowed: float, previous: str) -> BundleOrder:
        return built.make(
            {"plain": built.adapters["plain"], "better": better},
            bundling={"maxMetricDrop": allowed},
            output=f"file://{tmp_path}/answers/r{number}-00000000",
            previous=previous,
        )

    strict = order(2, 0.1, built.order.output)
    ends = {end.name: end for end in BundleRun(strict).execute().adapters}
    assert ends["better"].code == "MetricDropped"
    assert "maxMetricDrop" in (ends["better"].message or "")

    # What was measured counts for the next package too, whatever it allows.
    same = BundleRun(order(3, 0.15, strict.output)).execute()
    assert {end.name: end.code for end in same.adapters}["better"] == "MetricDropped"
    mild = BundleRun(order(4, 0.3, strict.output)).execute()
    assert {end.name: end.code for end in mild.adapters}["better"] is None
    back = BundleRun(order(5, 0.1, f"file://{tmp_path}/answers/r4-00000000")).execute()
    assert {end.name: end.code for end in back.adapters}["better"] == "MetricDropped"


def test_fail_builds_nothing(built: Built, tmp_path: Path, work: dict[str, list[str]]) -> None:
    bad = make_adapter(built.base, tmp_path / "dora", r=4, target_modules=ALL, use_dora=True)
    order = built.make(
        {"plain": built.adapters["plain"], "bad": bad},
        bundling={"onIncompatible": "Fail"},
        output=f"file://{tmp_path}/answers/r2-00000000",
    )
    run = BundleRun(order)
    with pytest.raises(TrainerError, match="bad: Dora") as raised:
        run.execute()
    assert raised.value.exit_code == ExitCode.UNSUPPORTED
    assert work == {"built": [], "written": [], "proven": []}
    assert [end.code for end in run.result("Failed", raised.value).adapters] == ["Dora"]
    assert not (folder_of(order) / "manifest.json").exists()
