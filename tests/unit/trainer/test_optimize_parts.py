"""The parts of an optimisation by themselves: one candidate, its measurement, what is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.optimize_support import QUICK
from unit.trainer.plain_support import CLASSES, source_of

from luthier_api.optimizejob import Benchmark, Candidate, Optimizing
from luthier_api.result import ExitCode
from luthier_trainer.errors import Superseded, TrainerError
from luthier_trainer.optimize.cachekeys import package_key, source_key
from luthier_trainer.optimize.candidate import Workbench
from luthier_trainer.optimize.evaluator import Evaluator
from luthier_trainer.optimize.load import Loaded
from luthier_trainer.optimize.measured import Measured
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.optimize.publish import none_passed
from luthier_trainer.packages.onnx.build import OnnxBuilder
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.storage.filestore import FileStore


class Broken(OnnxBuilder):
    """Its packages can't be loaded."""

    def build(self, source: Any, precision: str, folder: Path) -> None:
        super().build(source, precision, folder)
        (folder / "model.onnx").write_bytes(b"no graph")


class Forbidden(OnnxBuilder):
    def build(self, source: Any, precision: str, folder: Path) -> None:
        raise AssertionError("built again")


def workbench(place: Path, make: type[OnnxBuilder] = OnnxBuilder, **changes: Any) -> Workbench:
    """For a tiny classifier, without rows; its cache is in `place`."""
    source = source_of("bert", CLASSES)
    builder = make(Optimizing(), Interrupt(grace_seconds=1))
    loaded = Loaded(source, builder, ["fp32"], rows=None, ordinary=range(5, 60), begin=())
    cache = PackageCache(FileStore(place / "cache"), "uid-1")
    evaluator = Evaluator(loaded, Benchmark.model_validate(QUICK), cache, lambda: None, place)
    found = Workbench(
        source=source,
        builder=builder,
        here=True,
        cache=cache,
        evaluator=evaluator,
        stage=lambda _: None,
        fence=lambda: None,
        folder=place / "candidates",
    )
    return replace(found, **changes)


def left(place: Path) -> list[Path]:
    return list((place / "candidates").glob("fp*"))


def test_a_candidate_is_built_and_measured_once(tmp_path: Path) -> None:
    stages: list[str] = []
    found = workbench(tmp_path, stage=stages.append).candidate("fp32", "key")
    assert stages == ["Building fp32", "Measuring fp32"]
    assert found.size_bytes > 0
    assert found.outputs is not None
    assert found.predictions is None
    assert len(found.timings) == 1
    assert left(tmp_path) == []

    again = workbench(tmp_path, Forbidden, stage=stages.append).candidate("fp32", "key")
    assert len(stages) == 2
    assert again.to_json() == found.to_json()
    assert isinstance(workbench(tmp_path).evaluator.known("key"), Measured)
    assert workbench(tmp_path).evaluator.known("another") is None


def test_what_does_not_run_here_is_built_alone(tmp_path: Path) -> None:
    found = workbench(tmp_path, here=False).candidate("fp32", "key")
    assert found.outputs is None
    assert found.timings == ()
    listing = workbench(tmp_path).cache.listing("key")
    assert listing
    assert sum(file["bytes"] for file in listing.values()) == found.size_bytes
    assert workbench(tmp_path, Forbidden, here=False).candidate("fp32", "key") == found


def test_what_cannot_be_loaded_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainerError) as caught:
        workbench(tmp_path, Broken).candidate("fp32", "key")
    assert caught.value.error.code == "DoesNotRun"
    assert left(tmp_path) == []


def test_a_pod_that_was_replaced_keeps_nothing(tmp_path: Path) -> None:
    def fence() -> None:
        raise Superseded

    with pytest.raises(Superseded):
        workbench(tmp_path, fence=fence).candidate("fp32", "key")
    assert workbench(tmp_path).cache.listing("key") is None
    with pytest.raises(Superseded):
        replace(workbench(tmp_path).evaluator, fence=fence).keep("key", Measured(1))
    assert workbench(tmp_path).evaluator.known("key") is None


def test_whatever_shapes_a_package_is_in_its_key() -> None:
    source = source_of("bert", CLASSES)
    builder = OnnxBuilder(Optimizing(), Interrupt(grace_seconds=1))
    symmetric = Optimizing.model_validate({"int4": {"symmetric": False}})
    keys = [
        source_key(source),
        source_key(replace(source, digest="sha256:other")),
        package_key(source, builder, "int4", "cpu"),
        package_key(source, builder, "int8", "cpu"),
        package_key(source, builder, "int4", "cuda"),
        package_key(replace(source, digest="sha256:other"), builder, "int4", "cpu"),
        package_key(source, OnnxBuilder(symmetric, Interrupt(grace_seconds=1)), "int4", "cpu"),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[2] == package_key(source, builder, "int4", "cpu")


def test_why_there_is_nothing_to_publish() -> None:
    failed = Candidate(precision="int8", verdict="Failed", reason="BuildFailed: x")
    rejected = Candidate(precision="int4", verdict="Rejected", reason="its size is 2")
    assert none_passed([failed]).error.code == "BuildFailed"
    found = none_passed([failed, rejected])
    assert (found.error.code, found.exit_code) == ("GatesNotMet", ExitCode.NOT_GOOD_ENOUGH)
    assert "int8: Failed, BuildFailed: x; int4: Rejected, its size is 2" in found.error.message
