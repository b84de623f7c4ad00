"""Bundles: what is in one, what is proven of it, and what people read."""

import hashlib
import json
from pathlib import Path

import pytest
from contract.golden_documents import manifest_of
from unit.trainer.bundle_built import Built, parts_of
from unit.trainer.bundle_support import SHAPES, index_of

from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.errors import TrainerError

# onnxruntime-genai and peft are imported by the tests themselves.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("nothing_hidden")]


def test_every_adapter_is_in_it_and_proven(built: Built) -> None:
    ends = {end.name: end.included for end in built.result.adapters}
    assert ends == dict.fromkeys([*SHAPES, "colours"], True)
    summary = built.result.proof
    assert summary
    assert (summary.adapters, summary.rebuilt, summary.isolated) == (6, 6, True)
    assert summary.logits_difference is not None
    assert summary.logits_difference <= 1e-3
    index = index_of(built.order)
    for part in index["adapters"]:
        found = part["proof"]
        assert found["isolated"] is True
        assert found["logitsDifference"] <= 1e-3
        assert found["effect"] > 100 * found["logitsDifference"]  # it would show otherwise
        assert found["kept"] == pytest.approx(1, abs=1e-3)
    ranks = {part["name"]: part["ranks"] for part in index["adapters"]}
    assert ranks["patterns"] == [4, 8, 12]
    assert ranks["stabilized"] == [16]
    one = next(part for part in index["adapters"] if part["name"] == "one-layer")
    assert (one["layers"], one["targetModules"]) == (1, ["o_proj", "up_proj"])


def test_the_manifest_is_true_to_the_files(built: Built) -> None:
    manifest = json.loads((built.package / "manifest.json").read_text())
    assert manifest.keys() == manifest_of("AdapterBundle").keys()
    assert built.result.artifact
    assert built.result.artifact.uri == built.order.output
    lying = {
        path.relative_to(built.package).as_posix()
        for path in built.package.rglob("*")
        if path.is_file()
    }
    bookkeeping = {"manifest.json", "claim.json"}
    assert {key for key in lying - bookkeeping if not key.startswith("attempts/")} == set(
        manifest["files"]
    )
    for key, file in manifest["files"].items():
        data = (built.package / key).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (file["sha256"], file["bytes"])
    assert manifest["result"]["outcome"] == "Succeeded"
    assert manifest["run"]["kind"] == "AdapterBundle"
    assert manifest["customCode"] is False


def test_the_adapter_of_a_run_keeps_its_metric(built: Built) -> None:
    parts = parts_of(built.order)
    found = parts["colours"]["proof"]["measured"]
    manifest = json.loads((Path(built.trained.uri[7:]) / "manifest.json").read_text())
    reported = manifest["result"]["evaluation"]["tuned"]["accuracy"]
    assert (found["metric"], found["split"], found["examples"]) == ("accuracy", "test", 30)
    assert found["reported"] == reported
    assert found["value"] == pytest.approx(reported)
    assert parts["colours"]["baseVerified"] is True
    assert parts["plain"]["baseVerified"] is False
    assert "manifest" in parts["plain"]["proof"]["notMeasured"]


def test_the_readme_names_adapters_and_both_ways(built: Built) -> None:
    text = (built.package / "README.md").read_text()
    for words in ("`colours`", "accuracy", "from luthier_bundle import Bundle", "og.Generator("):
        assert words in text


def test_a_finished_bundle_gives_its_result_again(built: Built) -> None:
    again = BundleRun(built.order).execute()
    assert again.artifact == built.result.artifact
    assert again.adapters == built.result.adapters


def test_another_resource_gets_the_finished_bundle_of_the_same_order(built: Built) -> None:
    """Where it could have made it: neither the base nor an adapter is out of its reach."""
    run = built.order.run.model_copy(update={"uid": "uid-2"})
    other = built.order.model_copy(update={"run": run})
    assert BundleRun(other).execute().artifact == built.result.artifact
    for roots in ([], [str(built.base)]):
        with pytest.raises(TrainerError):
            BundleRun(other.model_copy(update={"file_roots": roots})).execute()
