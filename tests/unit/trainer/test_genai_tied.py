"""Embeddings that are the output layer's too: stored once in packages of 8 bits, and right."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx.external_data_helper import ExternalDataInfo
from unit.trainer.bundle_support import index_of, make_adapter, order_maker
from unit.trainer.optimize_support import tiny_decoder
from unit.trainer.support import folder_of
from unit.trainer.tiny import tiny

from luthier_api.optimizejob import Optimizing
from luthier_trainer.bundle.run import BundleRun
from luthier_trainer.models.heads import Head
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.genai import tied
from luthier_trainer.packages.genai.build import GenaiBuilder
from luthier_trainer.packages.genai.runner import GenaiRunner

EMBEDDINGS = "model.embed_tokens.weight"
PAGE = 65_536
IDS = [5, 6, 7, 8, 9, 200, 201, 17]
Array = npt.NDArray[Any]


@pytest.fixture(autouse=True)
def _nothing_hidden(nothing_hidden: None) -> None:
    """onnxruntime-genai and peft are imported by the tests themselves."""


def package(model: Path, folder: Path) -> Path:
    """In int8, as an OptimizeJob makes it."""
    source = Source(model, Head("AutoModelForCausalLM"), "", 0)
    GenaiBuilder(Optimizing()).build(source, "int8", folder)
    return folder


@pytest.fixture
def unshared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes packages as the builder leaves them."""

    def make(name: str, build: Callable[[str, Path], Path]) -> Path:
        with monkeypatch.context() as patched:
            patched.setattr(tied, "share_embeddings", lambda _: False)
            return package(build(name, tmp_path / name), tmp_path / f"{name}-int8")

    return make


def weights(folder: Path) -> dict[str, tuple[Array, int]]:
    """Name → numbers and where they begin in the file."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    found = {}
    for it in model.graph.initializer:
        info = ExternalDataInfo(it)
        if it.external_data:
            onnx.external_data_helper.load_external_data_for_tensor(it, str(folder))
        found[it.name] = (onnx.numpy_helper.to_array(it), info.offset or 0)
    return found


def logits(folder: Path) -> Array:
    found: Array = GenaiRunner(folder, threads=2).logits([IDS])[0]
    return found


@pytest.mark.parametrize(("name", "build"), [("qwen2", tiny_decoder), ("gemma2", tiny)])
def test_tied_embeddings_are_stored_once(
    name: str,
    build: Callable[[str, Path], Path],
    unshared: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """gemma2 multiplies what it looked up, which the output layer doesn't."""
    before = unshared(name, build)
    after = Path(shutil.copytree(before, tmp_path / "shared"))
    assert tied.share_embeddings(after)
    was, now = weights(before), weights(after)
    sizes = [(folder / "model.onnx.data").stat().st_size for folder in (before, after)]
    assert sizes[0] - sizes[1] == was[EMBEDDINGS][0].nbytes // PAGE * PAGE
    assert EMBEDDINGS in was
    assert EMBEDDINGS not in now
    for key, (numbers, offset) in was.items():
        if key != EMBEDDINGS:
            assert np.array_equal(numbers, now[key][0]), key
            assert (offset - now[key][1]) % PAGE == 0, "its alignment is lost"
    # What is looked up is what was there, rounded to 8 bits.
    table, scales = now[f"{EMBEDDINGS}_Q8"][0], now[f"{EMBEDDINGS}_scales"][0]
    steps = scales.repeat(table.shape[1] // scales.shape[1], axis=1)
    rounded = (table.astype(np.float32) - 128) * steps
    assert np.abs(rounded - was[EMBEDDINGS][0]).max() <= 1.001 * np.abs(steps).max()
    # And that is what the graph does: the same with those numbers in fp32 in its stead.
    put(rounded, before)
    assert np.abs(logits(after) - logits(before)).max() <= 1e-4


def put(embeddings: Array, folder: Path) -> None:
    """Overwrite the embeddings of a package of the builder's."""
    data = np.memmap(folder / "model.onnx.data", mode="r+", dtype=np.uint8)
    start = weights(folder)[EMBEDDINGS][1]
    found = np.frombuffer(embeddings.astype(np.float32).tobytes(), np.uint8)
    data[start : start + len(found)] = found
    data.flush()


def test_those_that_differ_stay_as_they_are(unshared: Callable[..., Path]) -> None:
    """Untied ones; and tied ones of which a single number is another's."""
    untied, almost = unshared("llama", tiny_decoder), unshared("qwen2", tiny_decoder)
    embeddings = weights(almost)[EMBEDDINGS][0].copy()
    embeddings[-1, -1] += 0.1
    put(embeddings, almost)
    for folder in (untied, almost):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert not tied.share_embeddings(folder)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_builder_of_packages_shares_them(tmp_path: Path) -> None:
    found = weights(package(tiny_decoder("qwen2", tmp_path / "qwen2"), tmp_path / "int8"))
    assert EMBEDDINGS not in found
    assert f"{EMBEDDINGS}_Q8" in found
    options = GenaiBuilder(Optimizing()).options
    assert options("int8") != options("fp32"), "a package of before isn't this one"


def test_adapters_on_a_base_that_shares_them_are_proven(tmp_path: Path) -> None:
    base = tiny_decoder("qwen2", tmp_path / "qwen2")
    adapters = {
        name: make_adapter(base, tmp_path / name, seed, r=4, target_modules=["q_proj", "up_proj"])
        for seed, name in enumerate(("one", "two"))
    }
    order = order_maker(base, tmp_path)(adapters, bundling={"precision": "int8"})
    BundleRun(order).execute()
    assert EMBEDDINGS not in weights(folder_of(order) / "model")
    index = index_of(order)
    assert not index["leftOut"]
    assert [part["name"] for part in index["adapters"]] == ["one", "two"]
    assert all(part["proof"]["isolated"] for part in index["adapters"])
