"""A bundle where there was one before: what is taken from it, and what becomes of it."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from unit.trainer.bundle_built import Built, Genai, by_peft, ids_of, parts_of
from unit.trainer.bundle_support import SHAPES, index_of, make_adapter
from unit.trainer.support import folder_of

from luthier_trainer.bundle.previous import Previous, read_previous
from luthier_trainer.bundle.run import BundleRun

# onnxruntime-genai and peft are imported by the tests themselves.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("nothing_hidden")]


def test_only_what_changed_is_built_and_proven(
    built: Built, tmp_path: Path, work: dict[str, list[str]]
) -> None:
    newer = make_adapter(built.base, tmp_path / "newer", seed=7, **SHAPES["narrow"])
    order = built.make(
        {**built.sources, "narrow": newer},
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=built.order.output,
    )
    result = BundleRun(order).execute()

    assert work == {"built": [], "written": ["narrow"], "proven": ["narrow"]}
    assert result.proof
    assert (result.proof.adapters, result.proof.rebuilt) == (6, 1)
    before, now = parts_of(built.order), parts_of(order)
    assert {name for name in now if now[name] != before[name]} == {"narrow"}
    assert index_of(order)["base"] == index_of(built.order)["base"]
    # It stands alone: the package before isn't needed any more.
    genai, ids = Genai(folder_of(order)), ids_of(built)
    assert np.abs(genai.logits(ids, "narrow") - by_peft(built, ids, newer)).max() <= 1e-3
    plain = by_peft(built, ids, built.adapters["plain"])
    assert np.abs(genai.logits(ids, "plain") - plain).max() <= 1e-3
    manifest = json.loads((folder_of(order) / "manifest.json").read_text())
    for key, file in manifest["files"].items():
        data = (folder_of(order) / key).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]


def test_names_and_members_change_without_any_building(
    built: Built, tmp_path: Path, work: dict[str, list[str]]
) -> None:
    order = built.make(
        {"renamed": built.adapters["plain"], "colours": built.trained},
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=built.order.output,
    )
    result = BundleRun(order).execute()
    assert work == {"built": [], "written": [], "proven": []}
    assert result.proof
    assert (result.proof.adapters, result.proof.rebuilt) == (2, 0)
    assert set(parts_of(order)) == {"renamed", "colours"}
    ids = ids_of(built)
    wanted = by_peft(built, ids, built.adapters["plain"])
    assert np.abs(Genai(folder_of(order)).logits(ids, "renamed") - wanted).max() <= 1e-3


def test_a_base_that_was_overwritten_is_built_anew(
    built: Built, tmp_path: Path, work: dict[str, list[str]]
) -> None:
    before = tmp_path / "before"
    shutil.copytree(built.package, before)
    data = before / "model" / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[1000] ^= 255
    data.write_bytes(bytes(content))
    newer = make_adapter(built.base, tmp_path / "newer", seed=7, **SHAPES["narrow"])
    order = built.make(
        {"plain": built.adapters["plain"], "narrow": newer},
        output=f"file://{tmp_path}/answers/r2-00000000",
        previous=f"file://{before}",
    )
    BundleRun(order).execute()
    assert len(work["built"]) == 1
    assert work["proven"] == ["narrow"]
    ids, genai = ids_of(built), Genai(folder_of(order))
    for name, folder in {"plain": built.adapters["plain"], "narrow": newer}.items():
        assert np.abs(genai.logits(ids, name) - by_peft(built, ids, folder)).max() <= 1e-3


def test_only_whole_parts_are_taken_over(built: Built, tmp_path: Path) -> None:
    before = tmp_path / "before"
    shutil.copytree(built.package, before)
    index = index_of(built.order)
    parts = parts_of(built.order)

    def previous() -> Previous | None:
        return read_previous(f"file://{before}", built.order)

    whole = previous()
    assert whole
    assert whole.base(index["base"]["key"])
    assert whole.base("another key") is None
    assert whole.adapter(parts["plain"]["key"])

    data = before / "model" / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    (before / parts["plain"]["file"]).unlink()
    half = previous()
    assert half
    assert half.base(index["base"]["key"]) is None
    assert half.adapter(parts["plain"]["key"]) is None
    assert half.adapter(parts["narrow"]["key"])

    text = (before / "index.json").read_text()
    (before / "index.json").write_text(text.replace("narrow", "broad"))
    assert previous() is None  # it isn't what was published
    (before / "index.json").write_text(text)
    (before / "manifest.json").unlink()
    assert previous() is None
    assert read_previous(None, built.order) is None


def test_old_packages_go_once_the_new_one_is_there(built: Built, tmp_path: Path) -> None:
    place = tmp_path / "answers"
    for name in ("r1-a", "r2-b", "r3-c", "r4-d"):
        shutil.copytree(built.package, place / name)
    shutil.copytree(built.package, tmp_path / "others" / "r1-a")
    foreign = json.loads((place / "r2-b" / "claim.json").read_text())
    (place / "r2-b" / "claim.json").write_text(json.dumps({**foreign, "uid": "another"}))
    expendable = [
        f"file://{place}/r4-d",  # in use
        f"file://{place}/r3-c",
        f"file://{place}/r2-b",  # another resource's
        f"file://{place}/r1-a",
        f"file://{place}/r0-gone",
        f"file://{tmp_path}/others/r1-a",  # not this bundle's place
        f"file://{place}",
    ]
    order = built.make(
        {"plain": built.adapters["plain"]},
        output=f"file://{place}/r5-e",
        previous=f"file://{place}/r4-d",
        expendable=expendable,
    )
    BundleRun(order).execute()
    left = {path.relative_to(place).parts[0] for path in place.rglob("*") if path.is_file()}
    assert left == {"r2-b", "r4-d", "r5-e"}
    assert (tmp_path / "others" / "r1-a" / "manifest.json").exists()
    assert (place / "r4-d" / "manifest.json").exists()
