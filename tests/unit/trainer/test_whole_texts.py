"""A package's tokenizer.json neither cuts a text nor pads it, whatever its model was saved with:
programs that read the file alone would do so without a word."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.plain_support import VECTORS, source_of
from unit.trainer.tiny import tiny_folder

from luthier_api.optimizejob import Optimizing
from luthier_trainer.models.save import keep_texts_whole
from luthier_trainer.packages.genai.builder import finish
from luthier_trainer.packages.onnx.build import OnnxBuilder
from luthier_trainer.pod.interrupt import Interrupt

TEXT = "tomato meadow é 你 " * 20


def truncating(folder: Path) -> Path:
    """As sentence-transformers and others save a tokenizer after training."""
    from tokenizers import Tokenizer

    path = str(folder / "tokenizer.json")
    found = Tokenizer.from_file(path)
    found.enable_truncation(8)
    found.enable_padding(length=200)
    found.save(path)
    assert len(found.encode(TEXT).ids) == 200
    return folder


def plain(model: Path, package: Path) -> None:
    source = replace(source_of("bert", VECTORS), folder=model)
    OnnxBuilder(Optimizing(), Interrupt(grace_seconds=1)).build(source, "fp32", package)


def genai(model: Path, package: Path) -> None:
    """What is done once its builder has written the package."""
    shutil.copytree(model, package)
    (package / "genai_config.json").write_text(json.dumps({"model": {"eos_token_id": 0}}))
    finish(model, package, "fp32", "cpu")


@pytest.mark.parametrize(("architecture", "build"), [("bert", plain), ("llama", genai)])
def test_packages(architecture: str, build: Callable[[Path, Path], None], tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = tiny_folder(architecture)
    model = truncating(Path(shutil.copytree(folder, tmp_path / "model")))
    build(model, tmp_path / "package")
    found = Tokenizer.from_file(str(tmp_path / "package" / "tokenizer.json"))
    expected = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert found.encode(TEXT).ids == expected.encode(TEXT).ids


@pytest.mark.parametrize("document", [{"truncation": None, "padding": None}, {}])
def test_a_file_that_is_right_stays(document: dict[str, Any], tmp_path: Path) -> None:
    keep_texts_whole(tmp_path)  # some models have no such file
    text = json.dumps(document, indent=7)
    (tmp_path / "tokenizer.json").write_text(text)
    keep_texts_whole(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == text
