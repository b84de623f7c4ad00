"""A bundle answers as peft does, whoever asks it, and whatever was asked before."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from unit.trainer.bundle_built import Built, Genai, by_peft, ids_of
from unit.trainer.bundle_support import SHAPES

# onnxruntime-genai and peft are imported by the tests themselves.
pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("nothing_hidden")]


def test_plain_genai_answers_as_peft_does(built: Built) -> None:
    ids, genai = ids_of(built), Genai(built.package)
    adapters = {**built.adapters, "colours": Path(built.trained.uri[7:]) / "adapter"}
    answers = {name: genai.logits(ids, name) for name in adapters}
    for name, folder in adapters.items():
        wanted = by_peft(built, ids, folder)
        assert np.abs(answers[name] - wanted).max() <= 1e-3
        others = [answers[other] for other in adapters if other != name]
        assert min(np.abs(other - wanted).max() for other in others) > 1e-2


def test_without_an_adapter_the_base_answers(built: Built) -> None:
    ids = ids_of(built)
    assert np.abs(Genai(built.package).logits(ids) - by_peft(built, ids)).max() <= 1e-3


def test_nothing_leaks_from_one_adapter_to_the_next(built: Built) -> None:
    ids, genai = ids_of(built), Genai(built.package)
    names = [None, *SHAPES, "colours"]
    before = {name: genai.logits(ids, name) for name in names}
    for first in names:
        for second in names:
            genai.logits(ids[: len(ids) // 2], first)
            assert np.array_equal(genai.logits(ids, second), before[second])


LOADER = """
import json, sys
from luthier_bundle import Bundle
bundle = Bundle(".")
options = {"max_new_tokens": 8}
said = {str(name): bundle.generate(name, "Text: 7 meadow", **options)
        for name in [None, *bundle.adapters, "plain", None]}
said["chat"] = bundle.generate("plain", [{"role": "user", "content": "hello"}], **options)
said["long"] = bundle.generate("plain", "Text: 7", max_new_tokens=10_000)
said["pieces"] = list(bundle.stream("plain", "Text: 7 meadow", **options))
try:
    bundle.generate("nobody", "x")
except KeyError as error:
    said["missing"] = str(error)
print(json.dumps(said), bundle.adapters)
sys.stdout.flush()
print("luthier_trainer" in sys.modules, "torch" in sys.modules)
"""


def test_the_loader_in_the_package_needs_nothing_of_ours(built: Built, tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(built.package, copy)
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        cwd=copy,
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    line, imported = done.stdout.strip().splitlines()
    said, _ = json.JSONDecoder().raw_decode(line)
    assert imported == "False False"
    assert "".join(said["pieces"]) == said["plain"]
    assert said["chat"]
    assert said["long"]  # it ends where the model's context does
    assert "there are plain" in said["missing"]
    assert len({said[name] for name in ("None", "plain", "stabilized")}) == 3
    assert said["plain"] == _continued(built, "Text: 7 meadow", 8)


def _continued(built: Built, text: str, count: int) -> str:
    """Greedily, by peft; its tokens as the tokenizer reads them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built.base)
    asked: list[int] = tokenizer(text)["input_ids"]
    ids = list(asked)
    for _ in range(count):
        ids.append(int(by_peft(built, ids, built.adapters["plain"])[-1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    answer: str = tokenizer.decode(ids[len(asked) :], skip_special_tokens=True)
    return answer
