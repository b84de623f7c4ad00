"""A package: what is in it, how it runs without us, and what can't become one."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime_genai
import pytest
import torch
from unit.trainer.cells import LABELS
from unit.trainer.objectives_support import tokenizer_of
from unit.trainer.plain_support import (
    CAUSAL,
    CLASSES,
    SEQ2SEQ,
    TAGS,
    VECTORS,
    batch,
    opened,
    package,
    source_of,
)
from unit.trainer.tiny import ARCHITECTURES, tiny_folder

from luthier_api.optimizejob import Optimizing
from luthier_api.training import Similarity
from luthier_trainer.data.examples import Pair
from luthier_trainer.errors import Interrupted, TrainerError
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.packages.onnx import package as packaging
from luthier_trainer.packages.onnx.build import OnnxBuilder, unfit
from luthier_trainer.packages.onnx.route import GENAI_ARCHITECTURES, route
from luthier_trainer.pod.interrupt import Interrupt

ALL = [
    ("bert", CLASSES),
    ("bert", TAGS),
    ("bert", VECTORS),
    ("gpt2", CAUSAL),
    ("t5", SEQ2SEQ),
    ("bart", SEQ2SEQ),
]
# As on a machine that has neither.
_ALONE = "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"


@pytest.mark.parametrize(("architecture", "auto_class"), ALL)
def test_readme_runs_it_with_onnxruntime_and_tokenizers(architecture: str, auto_class: str) -> None:
    folder = package(source_of(architecture, auto_class))
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    code = found[1]
    assert len([line for line in code.splitlines() if line]) <= 15
    assert max(map(len, code.splitlines())) <= 100
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE + code], cwd=folder, capture_output=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stdout.strip() or auto_class == SEQ2SEQ


def test_readme_says_what_the_model_says() -> None:
    """GPT-2 goes on as transformers would."""
    source = source_of("gpt2", CAUSAL)
    folder = package(source)
    found = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    ran = subprocess.run(
        [sys.executable, "-c", found[1].replace("tokenizer.decode(ids[len(asked) :])", "ids")],
        cwd=folder,
        capture_output=True,
        timeout=120,
    )
    ids = json.loads(ran.stdout)
    model = source.load()
    from transformers import AutoTokenizer

    prompt = AutoTokenizer.from_pretrained(folder)("Once upon a time", return_tensors="pt")
    expected = model.generate(**prompt, do_sample=False, max_new_tokens=128, pad_token_id=0)
    assert ids == expected[0].tolist()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_readme_compares_texts_as_pytorch_does(pooling: Any) -> None:
    source = source_of("bert", VECTORS, pooling=pooling)
    folder = package(source)
    readme = (folder / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found
    ran = subprocess.run(
        [sys.executable, "-c", _ALONE + found[1]], cwd=folder, capture_output=True, timeout=120
    )
    objective = Pairs(tokenizer_of("bert"), 64, Similarity(pooling=pooling))
    items = objective.encode([Pair("A first text.", "And a second one.", 1.0, "x:1")])
    (expected,) = objective.predict(source.load(), items, answers=True)
    assert float(ran.stdout) == pytest.approx(expected.answer, abs=1e-5)
    assert f"A text's vector, `{pooling}`, is" in readme
    layout = json.loads((folder / "luthier.json").read_text())
    assert layout["pooling"] == pooling
    names = [each["name"] for each in layout["graphs"]["model"]["outputs"]]
    assert names == ["last_hidden_state", pooling]


@pytest.mark.parametrize(("architecture", "auto_class"), ALL)
def test_what_is_in_it(architecture: str, auto_class: str) -> None:
    folder = package(source_of(architecture, auto_class))
    files = {file.name for file in folder.iterdir()}
    graphs = {"encoder.onnx", "decoder.onnx"} if auto_class == SEQ2SEQ else {"model.onnx"}
    assert files >= {
        *("config.json", "tokenizer.json", "tokenizer_config.json", "luthier.json", "README.md"),
        *graphs,
    }
    assert not any(file.endswith((".data", ".safetensors")) for file in files)
    layout = json.loads((folder / "luthier.json").read_text())
    assert layout["autoClass"] == auto_class
    assert layout["precision"] == "fp32"
    assert {each["file"] for each in layout["graphs"].values()} == graphs
    labelled = auto_class in (CLASSES, TAGS)
    assert layout["labels"] == (list(LABELS) if labelled else [])
    if labelled:
        config = json.loads((folder / "config.json").read_text())
        assert config["id2label"] == {str(i): label for i, label in enumerate(LABELS)}
    for file in graphs:  # the exporter notes lines of source with their paths
        content = (folder / file).read_bytes()
        assert b"site-packages" not in content
        assert str(Path(__file__).parents[3]).encode() not in content
        assert b"stack_trace" not in content


def test_inputs_are_told() -> None:
    layout = json.loads((package(source_of("gpt2", CAUSAL)) / "luthier.json").read_text())
    graph = layout["graphs"]["model"]
    assert graph["inputs"][:5] == [
        {"name": "input_ids", "type": "int64", "shape": ["rows", "tokens"]},
        {"name": "attention_mask", "type": "int64", "shape": ["rows", "all_tokens"]},
        {"name": "position_ids", "type": "int64", "shape": ["rows", "tokens"]},
        {"name": "logits_to_keep", "type": "int64", "shape": ["kept"]},
        {"name": "past_key_values.0.key", "type": "float32", "shape": ["rows", 4, "past", 8]},
    ]
    assert graph["outputs"][0]["shape"][:2] == ["rows", "kept"]
    assert len(graph["inputs"]) == 4 + 4
    assert len(graph["outputs"]) == 1 + 4


def test_large_weights_lie_beside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packaging, "_ONE_FILE_BYTES", 1000)
    source = source_of("bert", CLASSES)
    made = OnnxBuilder(Optimizing(), Interrupt(grace_seconds=1))
    folder = tmp_path / "package"
    made.build(source, "int8", folder)
    assert (folder / "model.onnx.data").stat().st_size > 20_000
    ids, mask = batch(source.load(), [5, 3])
    found = made.open(folder, 1).as_model()(input_ids=ids, attention_mask=mask).logits
    expected = opened(source, "int8")(input_ids=ids, attention_mask=mask).logits
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_cannot_be_built_says_so(tmp_path: Path) -> None:
    source = source_of("bert", CLASSES)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in source.folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"nothing of the kind")
    from dataclasses import replace

    made = OnnxBuilder(Optimizing(), Interrupt(grace_seconds=1))
    with pytest.raises(TrainerError, match="ModelUnusable"):
        made.build(replace(source, folder=broken, digest="x"), "fp32", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_stop_is_heeded(tmp_path: Path) -> None:
    interrupt = Interrupt(grace_seconds=1)
    made = OnnxBuilder(Optimizing(), interrupt)
    with interrupt.deferred():
        interrupt._on_signal(signal.SIGTERM, None)
    with pytest.raises(Interrupted):
        made.build(source_of("bert", CLASSES), "fp32", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_list_is_that_of_the_builder() -> None:
    """Of the onnxruntime-genai that is installed: a newer one may know more."""
    text = (Path(onnxruntime_genai.__file__).parent / "models" / "builder.py").read_text()
    known = set(re.findall(r'config\.architectures\[0\] == "(\w+ForCausalLM)"', text))
    own_code = {"InternLM2ForCausalLM", "Phi3SmallForCausalLM", "Phi3VForCausalLM"}
    own_code |= {"Phi4MMForCausalLM", "VideoChatFlashQwenForCausalLM"}
    assert known - own_code - {"PhiMoEForCausalLM"} == GENAI_ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_routes(architecture: str) -> None:
    config = json.loads((tiny_folder(architecture) / "config.json").read_text())
    generates = architecture in ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3")
    assert route(config, CAUSAL) == ("genai" if generates else "onnx")
    assert route(config, CAUSAL, bottleneck=True) == "onnx"
    assert route({**config, "architectures": None}, CAUSAL) == route(config, CAUSAL)
    for auto_class in (CLASSES, TAGS, VECTORS, SEQ2SEQ):
        assert route(config, auto_class) == "onnx"


def test_what_has_no_such_graph_is_refused_with_a_remedy() -> None:
    for model_type in ("mamba", "bloom"):
        refusal = unfit({"model_type": model_type}, CAUSAL)
        assert refusal
        assert "position_ids" in refusal
        assert "take a model" in refusal
    for model_type in ("gpt2", "llama", "gpt_neox", "opt"):
        assert unfit({"model_type": model_type}, CAUSAL) is None
    separate = Optimizing.model_validate({"adapter": "Separate"})
    made = OnnxBuilder(separate, Interrupt(grace_seconds=1))
    assert "set adapter to Merge" in str(made.refuses(source_of("bert", CLASSES)))
    assert OnnxBuilder(Optimizing(), Interrupt(1)).refuses(source_of("bert", CLASSES)) is None


def test_options_tell_what_shapes_a_package() -> None:
    made: Any = OnnxBuilder(Optimizing(), Interrupt(grace_seconds=1))
    told = made.options("int4")
    assert {
        "algorithm": "k_quant_mixed",
        "blockSize": 32,
        "symmetric": True,
    }.items() <= told.items()
    assert len({json.dumps(made.options(each)) for each in ("fp32", "int8", "int4")}) == 3
