"""What is made of a result in which code of the user's took part says so, too."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.trainer.bundle_index import PART, index
from unit.trainer.optimize_support import order_maker

from luthier_api.optimizejob import Candidate
from luthier_api.runspec import AdapterOrder
from luthier_trainer.bundle.fetch import locate
from luthier_trainer.bundle.index import AdapterPart
from luthier_trainer.bundle.parts import taken_part
from luthier_trainer.bundle.readme import readme
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.publish import manifest_details
from luthier_trainer.pages.optimizecard import card
from luthier_trainer.pages.summary import Summary
from luthier_trainer.pod.usercode import made_with_code

CODE = {"configMapRef": {"name": "mine", "key": "loss.py"}, "entrypoint": "loss"}
TUNING: dict[str, Any] = {
    "model": {"uri": "s3://b/m"},
    "task": "generation",
    "dataset": {"uri": "s3://b/d"},
    "method": {"type": "lora"},
    "training": {"maxSteps": 1},
}
BY_SPEC = {"spec": {**TUNING, "training": {"maxSteps": 1, "loss": CODE}}}
SAYS_SO = {"spec": TUNING, "customCode": True}
WITHOUT = {"spec": TUNING, "customCode": False}


@pytest.mark.parametrize(
    ("manifest", "marked"),
    [
        (SAYS_SO, True),
        (BY_SPEC, True),  # of a version that didn't say
        ({"spec": {"evaluation": {"script": CODE}}, "customCode": False}, True),
        (WITHOUT, False),
        ({}, False),
        ({"spec": [["training", "loss"]]}, False),
        ({"spec": {"training": "loss", "evaluation": None}}, False),
    ],
)
def test_a_manifest_tells(manifest: dict[str, Any], marked: bool) -> None:
    assert made_with_code(manifest) is marked


def artifact(folder: Path, manifest: dict[str, Any]) -> Path:
    """Of a run: all that is looked at before weights."""
    files = {}
    for name in (
        "model/config.json",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
        files[name] = {"sha256": hashlib.sha256(b"{}").hexdigest(), "bytes": 2}
    document = {"files": files, "baseModel": {"digest": "d"}, "datasetDigest": "e", **manifest}
    (folder / "manifest.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("manifest", "marked"), [(SAYS_SO, True), (BY_SPEC, True), (WITHOUT, False)]
)
def test_a_package(manifest: dict[str, Any], marked: bool, tmp_path: Path) -> None:
    order = order_maker(artifact(tmp_path / "artifact", manifest), tmp_path)()
    found = fetch(order, tmp_path / "fetched")
    assert found.custom_code is marked
    summary = Summary(
        order=order,
        baseline=Candidate(precision="fp32"),
        timings=(),
        seconds=0.0,
        tried=[],
        chosen="int8",
        format="onnx",
        options={},
        machine="m",
        custom_code=found.custom_code,
    )
    assert ("code of the user's own" in card(summary, [])) is marked

    job: Any = SimpleNamespace(order=order, wanted=order.optimizing, fetched=found)
    loaded: Any = SimpleNamespace(
        source=SimpleNamespace(digest="d"),
        builder=SimpleNamespace(format="onnx", options=lambda _: {}),
    )
    assert manifest_details(job, loaded, "int8")["customCode"] is marked


@pytest.mark.parametrize(
    ("manifest", "marked"), [(SAYS_SO, True), (BY_SPEC, True), (WITHOUT, False)]
)
@pytest.mark.parametrize("before", [True, False])
def test_a_bundle(manifest: dict[str, Any], marked: bool, before: bool, tmp_path: Path) -> None:
    """Whatever the bundle before said of the adapter that is taken from it."""
    folder = artifact(tmp_path / "artifact", manifest)
    order = order_maker(folder, tmp_path)()
    wanted = AdapterOrder.model_validate({"name": "new", "source": {"uri": f"file://{folder}"}})
    located = locate(wanted, order.model_copy(update={"file_roots": ["/"]}), "adapters")
    taken = AdapterPart.model_validate({**PART, "custom_code": before})
    member: Any = SimpleNamespace(name="new", taken=taken, located=located, ask=None)
    part = taken_part(member)
    assert part.custom_code is marked
    text = readme(
        "team/bundle", index(part.to_json()), {"model": {"context_length": 9, "decoder": {}}}
    )
    assert ("Code of the user's own ran in the runs that trained `new`" in text) is marked
