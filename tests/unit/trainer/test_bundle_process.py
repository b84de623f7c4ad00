"""Bundles by the trainer's own process: exit codes, SIGTERM, and packages in S3."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.bundle_support import (
    SHAPES,
    MakeOrder,
    index_of,
    make_adapter,
    make_base,
    order_maker,
)
from unit.trainer.support import Operator, Seaweed, TrainerProcess, folder_of
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_api.optimizejob import SourceRef
from luthier_api.progress import ProgressReport
from luthier_api.result import BundleResult, ExitCode
from luthier_api.runspec import BundleOrder, ProgressTarget, S3Access
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.storage.open import open_store

# A build takes seconds alone, and minutes on a busy machine.
_SECONDS = 900
pytestmark = pytest.mark.timeout(2 * _SECONDS)

Start = Callable[..., TrainerProcess]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"), tiny_tokenizer_of("llama"))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("adapters")
    names = ("plain", "narrow")
    return {name: make_adapter(base, place / name, **SHAPES[name]) for name in names}


@pytest.fixture
def make(base: Path, tmp_path: Path) -> MakeOrder:
    return order_maker(base, tmp_path)


def uploaded(s3: Any, folder: Path, prefix: str, bucket: str = "artifacts") -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder)}")
    return f"s3://{bucket}/{prefix}"


def in_s3(seaweed: Seaweed, order: BundleOrder) -> ObjectStore:
    return open_store(order.output, seaweed.access(), "output.uri")


def test_in_s3_a_package_is_built_from_the_one_before(
    make: MakeOrder,
    base: Path,
    adapters: dict[str, Path],
    start_warm_trainer: Start,
    operator: Operator,
    s3: Any,
    seaweed: Seaweed,
    tmp_path: Path,
) -> None:
    place = f"bundles-{os.getpid()}"
    uris = {n: uploaded(s3, folder, f"{place}/adapters/{n}") for n, folder in adapters.items()}
    base_uri = uploaded(s3, base, f"{place}/base", "models")
    dora = make_adapter(base, tmp_path / "dora", r=4, target_modules=["q_proj"], use_dora=True)
    uris["dora"] = uploaded(s3, dora, f"{place}/adapters/dora")
    common: dict[str, Any] = {
        "storage": S3Access(endpoint=seaweed.endpoint, retry_seconds=30),
        "bundling": {"base": {"uri": base_uri}, "precision": "int4"},
        "progress": ProgressTarget(url=operator.url, interval_seconds=0.2),
    }

    def order(number: int, **fields: Any) -> BundleOrder:
        sources = {name: SourceRef(uri=uri) for name, uri in uris.items()}
        output = f"s3://artifacts/{place}/answers/r{number}"
        return make(dict(sources), generation=number, output=output, **{**common, **fields})

    first = order(1)
    process = start_warm_trainer(first)
    assert process.wait(_SECONDS) == ExitCode.SUCCEEDED, process.log.read_text()
    result = BundleResult.model_validate(process.result())
    assert {end.name: end.code for end in result.adapters} == {
        "plain": None,
        "narrow": None,
        "dora": "Dora",
    }
    assert result.artifact
    assert result.artifact.uri == first.output
    reports = [ProgressReport.model_validate(body) for _, _, body in operator.requests]
    stages = list(dict.fromkeys(report.progress.stage for report in reports))
    assert stages[-1] == "Done"
    assert "Building" in stages
    # One that is out is told before the others are built.
    early = next(report for report in reports if report.progress.stage == "Building")
    assert [(end.name, end.included) for end in early.adapters] == [("dora", False)]

    newer = make_adapter(base, tmp_path / "newer", seed=7, **SHAPES["narrow"])
    uris["narrow"] = uploaded(s3, newer, f"{place}/adapters/newer")
    del uris["dora"]
    second = order(2, previous=first.output)
    process = start_warm_trainer(second)
    assert process.wait(_SECONDS) == ExitCode.SUCCEEDED, process.log.read_text()
    found = BundleResult.model_validate(process.result())
    assert found.proof
    assert (found.proof.adapters, found.proof.rebuilt) == (2, 1)
    log = process.log.read_text()
    assert "stage: Building" not in log
    assert "copied" in log
    stores = [in_s3(seaweed, each) for each in (first, second)]
    sizes = [
        {it.key: it.size for it in store.entries() if it.key.startswith(("model/", "adapters/"))}
        for store in stores
    ]
    assert sizes[0] == sizes[1]
    for key in ("model/model.onnx", "model/model.onnx.data", "adapters/plain.onnx_adapter"):
        assert stores[0].read(key) == stores[1].read(key)
    key = "adapters/narrow.onnx_adapter"
    assert stores[0].read(key) != stores[1].read(key)


def test_none_that_fits_is_told_by_the_exit_code(
    make: MakeOrder, base: Path, start_warm_trainer: Start, tmp_path: Path
) -> None:
    bias = make_adapter(base, tmp_path / "bias", r=4, target_modules=["q_proj"], bias="all")
    process = start_warm_trainer(make({"bias": bias}))
    assert process.wait(_SECONDS) == ExitCode.UNSUPPORTED, process.log.read_text()
    result = process.result()
    assert result["error"]["code"] == "NoAdapterLeft"
    assert result["adapters"][0]["code"] == "Bias"
    assert "set bias to none" in result["adapters"][0]["message"]


def test_another_device_is_refused_at_once(
    make: MakeOrder, adapters: dict[str, Path], start_warm_trainer: Start
) -> None:
    process = start_warm_trainer(make(dict(adapters), bundling={"target": {"device": "cuda"}}))
    assert process.wait(_SECONDS) == ExitCode.UNSUPPORTED
    assert process.result()["error"]["param"] == "target.device"
    assert "stage: Loading" not in process.log.read_text()


@pytest.mark.parametrize("stage", ["Checking", "Building", "Proving"])
def test_an_interruption_leaves_nothing_published(
    make: MakeOrder, adapters: dict[str, Path], start_warm_trainer: Start, stage: str
) -> None:
    order = make(dict(adapters))
    process = start_warm_trainer(order)
    process.wait_for(f"stage: {stage}", _SECONDS)
    if stage == "Building":
        # It begins with imports, and with nothing to end: until a builder has made its folder.
        scratch = Path(order.scratch_dir)
        process.wait_until(lambda: any(scratch.glob("luthier-*/package/model")), _SECONDS)
        assert builders(order)
    process.signal(signal.SIGTERM)
    assert process.wait(_SECONDS) == ExitCode.INTERRUPTED, process.log.read_text()
    assert process.result()["outcome"] == "Interrupted"
    left = {path.name for path in folder_of(order).rglob("*") if path.is_file()}
    assert "manifest.json" not in left
    assert not [name for name in left if name.endswith((".onnx", ".onnx_adapter"))]
    records = list((folder_of(order) / "attempts").iterdir())
    assert json.loads(records[0].read_text())["outcome"] == "Interrupted"
    assert not any(Path(order.scratch_dir).glob("luthier-*"))
    assert builders(order) == []


def builders(order: BundleOrder) -> list[str]:
    """Pids of the builders that work below the order's scratch folder."""
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and _builds(pid, order)]


def _builds(pid: str, order: BundleOrder) -> bool:
    try:
        command = Path("/proc", pid, "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return "models.builder" in command and order.scratch_dir in command


def test_a_quantised_bundle_keeps_the_effect_of_its_adapters(
    make: MakeOrder, adapters: dict[str, Path], start_warm_trainer: Start
) -> None:
    order = make(dict(adapters), bundling={"precision": "int8"})
    process = start_warm_trainer(order)
    assert process.wait(_SECONDS) == ExitCode.SUCCEEDED, process.log.read_text()
    index = index_of(order)
    assert not index["leftOut"]
    assert [part["name"] for part in index["adapters"]] == list(adapters)
    for part in index["adapters"]:
        assert part["proof"]["isolated"]
        assert part["proof"]["baseDifference"] > 1e-3  # it is quantised
        assert part["proof"]["kept"] == pytest.approx(1, abs=0.5)
