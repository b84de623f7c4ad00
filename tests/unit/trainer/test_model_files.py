"""What a model's files tell before anything is loaded: quantised, cut off, missing, misnamed."""

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier_api.methods import Method
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.files import check_files, main_type, stored_bytes

WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1, "I32": 4, "I64": 8}
LAYER = "model.layers.0."
WEIGHTS = {
    "model.embed_tokens.weight": ("BF16", [8, 4]),
    f"{LAYER}self_attn.q_proj.weight": ("BF16", [4, 4]),
    f"{LAYER}mlp.up_proj.weight": ("BF16", [8, 4]),
    f"{LAYER}input_layernorm.weight": ("F32", [4]),
}
Weights = dict[str, tuple[str, list[int]]]


def write_weights(path: Path, weights: Weights) -> Path:
    """A safetensors file of zeros."""
    head, offset = {}, 0
    for name, (kind, shape) in weights.items():
        size = WIDTHS[kind]
        for each in shape:
            size *= each
        head[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    return path


def model(folder: Path, weights: Weights = WEIGHTS, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    write_weights(folder / "model.safetensors", weights)
    return folder


def sharded(folder: Path, names: tuple[str, ...] = ("model-00001-of-00002.safetensors",)) -> Path:
    """The first of two shards, and an index of both."""
    model(folder).joinpath("model.safetensors").unlink()
    for name in names:
        write_weights(folder / name, WEIGHTS)
    places = {name: f"model-0000{n % 2 + 1}-of-00002.safetensors" for n, name in enumerate(WEIGHTS)}
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def refused(folder: Path, method: dict[str, Any] | None = None) -> TrainerError:
    with pytest.raises(TrainerError) as caught:
        check_files(folder, Method.model_validate(method or {}))
    return caught.value


def test_a_whole_model_is_taken(tmp_path: Path) -> None:
    folder = model(tmp_path)
    check_files(folder, Method())
    assert main_type(folder) == "BF16"
    assert stored_bytes(folder) > 2 * (32 + 16 + 32)


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "fp8", "activation_scheme": "dynamic"},
        {"quant_method": "fbgemm_fp8"},
        {"quant_method": "eetq"},
        {"quant_method": "hqq", "quant_config": {}},
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        {"load_in_8bit": True},
        {"quant_method": "mxfp4"},
        {"quant_method": "one-of-tomorrow"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "place",
    [
        lambda it: {"quantization_config": it},
        lambda it: {"text_config": {"quantization_config": it}},
        lambda it: {"compression_config": it},
    ],
)
def test_a_quantised_model_is_told_by_its_config(
    settings: dict[str, Any], place: Callable[[Any], dict[str, Any]], tmp_path: Path
) -> None:
    error = refused(model(tmp_path, **place(settings))).error
    assert (error.code, error.param) == ("ModelUnusable", "model.uri")
    assert "take the unquantised model" in error.message
    assert str(settings.get("quant_method", "load_in_8bit")) in error.message


@pytest.mark.parametrize(
    "extra",
    [
        {f"{LAYER}mlp.up_proj.qweight": ("I32", [1, 8])},
        {f"{LAYER}mlp.up_proj.weight": ("F8_E4M3", [8, 4])},
        {f"{LAYER}mlp.up_proj.weight": ("I8", [8, 4])},
        {f"{LAYER}mlp.up_proj.weight": ("U8", [16, 1])},
        {f"{LAYER}mlp.experts.gate_up_proj_blocks": ("U8", [2, 4, 2])},
        {f"{LAYER}mlp.up_proj.weight_packed": ("I32", [8, 1])},
    ],
    ids=str,
)
def test_and_by_its_weights_where_the_config_says_nothing(extra: Weights, tmp_path: Path) -> None:
    message = refused(model(tmp_path, {**WEIGHTS, **extra})).error.message
    assert "take the unquantised model" in message
    assert next(iter(extra)) in message


@pytest.mark.parametrize("none", [None, {}])
def test_settings_of_nothing_are_no_quantisation(none: Any, tmp_path: Path) -> None:
    check_files(model(tmp_path, quantization_config=none), Method())


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    error = refused(sharded(tmp_path)).error
    assert error.code == "ModelUnusable"
    assert "names 2 files, and 1 aren't there: model-00002-of-00002" in error.message
    check_files(
        sharded(tmp_path, tuple(f"model-0000{n}-of-00002.safetensors" for n in (1, 2))), Method()
    )


def test_shards_without_an_index(tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / "model.safetensors.index.json").unlink()
    assert "index.json isn't there" in refused(folder).error.message
    (folder / "model.safetensors.index.json").write_text("{")
    assert "can't be read" in refused(folder).error.message


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda whole: whole[:-5], "is cut off: it has"),
        (lambda whole: whole[:100], "cut off (100 bytes)"),
        (lambda whole: whole[:5], "cut off (5 bytes)"),
        (lambda _: b"", "cut off (0 bytes)"),
        (lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (lambda whole: whole[:8] + b"x" * (len(whole) - 8), "head that can't be read"),
    ],
)
def test_a_file_that_is_not_whole(
    spoil: Callable[[bytes], bytes], words: str, tmp_path: Path
) -> None:
    path = model(tmp_path) / "model.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    error = refused(tmp_path).error
    assert words in error.message
    assert "model.safetensors" in error.message
    assert "upload the model's folder again" in error.message


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (model(tmp_path) / "model.safetensors").rename(tmp_path / "adapter_model.safetensors")
    assert "name the base" in refused(tmp_path).error.message


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({f"_orig_mod.{name}": it for name, it in WEIGHTS.items()}, "has '_orig_mod' in its name"),
        ({f"module.{name}": it for name, it in WEIGHTS.items()}, "has 'module' in its name"),
        ({name: (kind, [0]) for name, (kind, _) in WEIGHTS.items()}, "is empty, its shape [0]"),
    ],
)
def test_one_saved_from_a_compiled_or_sharded_model(
    weights: Weights, words: str, tmp_path: Path
) -> None:
    error = refused(model(tmp_path, weights), {"lora": {"targetModules": ["q_proj"]}}).error
    assert (error.code, error.param) == ("ModelUnusable", "model.uri")
    assert words in error.message
    assert "save it again from the plain one" in error.message


@pytest.mark.parametrize(
    "name",
    [
        "../elsewhere/x.safetensors",
        "/elsewhere/x.safetensors",
        "below/x.safetensors",
        "..",
        "",
        "pytorch_model.bin",
        "x\0.safetensors",
        "x\\y.safetensors",
        "x" * 5000 + ".safetensors",
        "\ud800.safetensors",
        None,
        7,
        {"a": "x.safetensors"},
    ],
)
def test_an_index_names_files_beside_it_alone(name: Any, tmp_path: Path) -> None:
    """However well they could be read."""
    elsewhere = tmp_path / "elsewhere"
    for each in (elsewhere, tmp_path / "model" / "below"):
        each.mkdir(parents=True)
        write_weights(each / "x.safetensors", WEIGHTS)
    folder = sharded(tmp_path / "model")
    write_weights(folder / "pytorch_model.bin", WEIGHTS)
    if name == "/elsewhere/x.safetensors":
        name = str(elsewhere / "x.safetensors")
    index = {"weight_map": {"a.weight": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    error = refused(folder).error
    assert (error.code, error.param) == ("ModelUnusable", "model.uri")
    assert "which is no file beside it" in error.message
    assert len(error.message) < 500


@pytest.mark.parametrize("name", ["other.safetensors", "o.safetensors.index.json", 7])
def test_a_config_names_no_weights_of_its_own(name: Any, tmp_path: Path) -> None:
    """transformers would load those, and we look at others."""
    assert (
        "transformers_weights" in refused(model(tmp_path, transformers_weights=name)).error.message
    )


def _headed(head: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head


@pytest.mark.parametrize(
    "head",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, "x"]}}',
        b'{"a": {"dtype": "F32", "shape": 3, "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": 3, "shape": [], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": ["x", 1], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}',
        b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, NaN]}}',
        b'{"a": 1}',
        b"[]",
    ],
)
def test_a_strange_head(head: bytes, tmp_path: Path) -> None:
    (model(tmp_path) / "model.safetensors").write_bytes(_headed(head))
    assert "head that can't be read" in refused(tmp_path).error.message
    with pytest.raises(TrainerError):
        main_type(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json"])
@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"weight_map":' * 50_000, b"\xff", b"[]"])
def test_strange_documents(data: bytes, name: str, tmp_path: Path) -> None:
    folder = sharded(tmp_path)
    (folder / name).write_bytes(data)
    refused(folder)


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "config.json"])
def test_a_document_that_is_too_long_is_never_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sharded(tmp_path)
    with (folder / name).open("r+b") as file:
        file.truncate(50_000_000)
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_text", None)
    monkeypatch.setattr(
        Path, "read_bytes", lambda it: pytest.fail("read") if it.name == name else read(it)
    )
    refused(folder)


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("wrong", ["query", "mlp.wup_proj", "input_layernorm"])
def test_a_wrong_target_module(method: str, wrong: str, tmp_path: Path) -> None:
    wish = {"type": method, "lora": {"targetModules": ["q_proj", wrong]}}
    error = refused(model(tmp_path), wish).error
    assert (error.code, error.param) == ("UnknownModule", "method.lora.targetModules")
    assert error.message == f"the model has no linear layer {wrong!r}; it has: q_proj, up_proj"


@pytest.mark.parametrize(
    "names", [["q_proj"], ["self_attn.q_proj"], ["model.layers.0.mlp.up_proj"], ["all-linear"]]
)
def test_right_ones(names: list[str], tmp_path: Path) -> None:
    check_files(model(tmp_path), Method.model_validate({"lora": {"targetModules": names}}))


def test_names_that_transformers_changes_are_left_to_it(tmp_path: Path) -> None:
    weights = {**WEIGHTS, f"{LAYER}mlp.experts.0.w1.weight": ("BF16", [8, 4])}
    wish = Method.model_validate({"lora": {"targetModules": ["gate_up_proj"]}})
    check_files(model(tmp_path, weights), wish)


def test_it_is_told_without_torch() -> None:
    code = (
        "import sys\n"
        "from luthier_trainer.models.files import check_files\n"
        "import luthier_trainer.finetune.run\n"
        "assert not {'torch', 'transformers'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
