"""Adapters and a base by their files: what is refused or left out, and what that ends."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from unit.trainer.bundle_support import BASE, CONFIG, DIGEST, order_maker, tensors

from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_trainer.bundle.fetch import locate
from luthier_trainer.bundle.members import examine
from luthier_trainer.bundle.membership import Membership
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.header import BrokenFileError, read_header
from luthier_trainer.packages.genai.base import read_base


def saved(folder: Path, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: np.zeros(it.shape, np.float32) for key, it in tensors().items()}
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    return folder


def artifact(folder: Path, base_digest: str = DIGEST, method: str = "lora") -> SourceRef:
    """What a FineTuneJob publishes, as far as a bundle looks at it."""
    saved(folder / "adapter")
    files = {
        f"adapter/{path.name}": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (folder / "adapter").iterdir()
    }
    manifest = {
        "baseModel": {"digest": base_digest},
        "spec": {"method": {"type": method}},
        "files": files if method == "lora" else {},
    }
    return written(folder, manifest)


def written(folder: Path, manifest: dict[str, Any]) -> SourceRef:
    data = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return SourceRef(uri=f"file://{folder}", revision="r1-0", manifest_sha256=digest)


def examined(tmp_path: Path, *sources: SourceRef, fail: bool = False) -> Membership:
    order = order_maker(tmp_path, tmp_path)(
        {f"a{i}": it for i, it in enumerate(sources)},
        bundling={"onIncompatible": "Fail" if fail else "Skip"},
    )
    membership = Membership(order, lambda ends: None)
    examine(order, BASE, "base-key", None, membership, tmp_path / "fetched")
    membership.check()
    return membership


def codes(membership: Membership) -> list[str]:
    return [part.code for part in membership.left_out]


def damage_weights(folder: Path) -> None:
    path = folder / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"oops")


def damage_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def lose_weights(folder: Path) -> None:
    (folder / "adapter" / "adapter_model.safetensors").unlink()


def lose_all(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (damage_weights, "DigestMismatch"),
        (damage_manifest, "DigestMismatch"),
        (lose_weights, "FileMissing"),
        (lose_all, "AdapterNotFound"),
    ],
)
def test_an_artifact_must_be_what_was_published(
    tmp_path: Path, damage: Callable[[Path], None], code: str
) -> None:
    source = artifact(tmp_path / "run")
    damage(tmp_path / "run")
    assert codes(examined(tmp_path, source, artifact(tmp_path / "good"))) == [code]


def test_a_run_tells_the_base_that_it_trained_on(tmp_path: Path) -> None:
    wrong = artifact(tmp_path / "run", base_digest="sha256:" + "b" * 64)
    within = SourceRef(uri=f"{wrong.uri}/adapter")  # the manifest above it says the same
    membership = examined(tmp_path, wrong, within, artifact(tmp_path / "good"))
    assert codes(membership) == ["WrongBase", "WrongBase"]


def test_a_run_of_another_method_is_no_adapter(tmp_path: Path) -> None:
    full = artifact(tmp_path / "run", method="full")
    membership = examined(tmp_path, full, artifact(tmp_path / "good"))
    assert codes(membership) == ["NotLora"]
    assert "full" in membership.left_out[0].message


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("adapter_model.safetensors", b"", "BrokenWeights"),
        ("adapter_model.safetensors", b"\xff" * 100, "BrokenWeights"),
        ("adapter_model.safetensors", b"\x02\0\0\0\0\0\0\0[]", "BrokenWeights"),
        ("adapter_config.json", b"{", "BrokenConfig"),
        ("adapter_config.json", b"[]", "BrokenConfig"),
        ("adapter_config.json", None, "FileMissing"),
    ],
)
def test_broken_files_are_told(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    folder = saved(tmp_path / "adapter")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    membership = examined(tmp_path, SourceRef(uri=f"file://{folder}"), artifact(tmp_path / "good"))
    assert codes(membership) == [code]


def test_half_an_upload_is_no_file(tmp_path: Path) -> None:
    path = saved(tmp_path) / "adapter_model.safetensors"
    assert len(read_header(path)) == 8
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BrokenFileError, match="bytes"):
        read_header(path)


def test_one_that_is_unfit_ends_the_run_where_that_is_asked_for(tmp_path: Path) -> None:
    bad = SourceRef(uri=f"file://{saved(tmp_path / 'bad', {'use_dora': True})}")
    with pytest.raises(TrainerError, match="a0: Dora") as raised:
        examined(tmp_path, bad, artifact(tmp_path / "good"), fail=True)
    assert raised.value.exit_code == ExitCode.UNSUPPORTED
    assert raised.value.error.code == "IncompatibleAdapter"


def test_the_remedy_is_told_however_many_are_unfit(tmp_path: Path) -> None:
    bad = SourceRef(uri=f"file://{tmp_path / ('no-such-folder-' * 10)}")
    with pytest.raises(TrainerError) as raised:
        examined(tmp_path, *[bad] * 12, artifact(tmp_path / "good"), fail=True)
    message = raised.value.error.message
    assert message.startswith("12 adapters can't be in the bundle")
    assert "set onIncompatible to Skip" in message
    assert "a0: FileMissing" in message


def test_a_bundle_of_none_is_no_bundle(tmp_path: Path) -> None:
    bad = SourceRef(uri=f"file://{saved(tmp_path / 'bad', {'use_dora': True})}")
    with pytest.raises(TrainerError, match=r"NoAdapterLeft.*a0: Dora") as raised:
        examined(tmp_path, bad)
    assert raised.value.exit_code == ExitCode.UNSUPPORTED


def test_storage_that_denies_is_no_fault_of_the_adapter(tmp_path: Path) -> None:
    order = order_maker(tmp_path, tmp_path)({"a": tmp_path}, file_roots=[])
    with pytest.raises(TrainerError, match="FileNotAllowed"):
        locate(order.adapters[0], order, "adapters[0].uri")


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "ArchitectureNotSupported"),
        ({"architectures": None}, "ArchitectureNotSupported"),
        (
            {"architectures": ["LlamaForCausalLM"], "quantization_config": {"bits": 4}},
            "ModelUnusable: the model is quantised",
        ),
        (
            {"architectures": ["LlamaForCausalLM"], "compression_config": {"format": "x"}},
            "ModelUnusable: the model is quantised",
        ),
        ({"architectures": ["LlamaForCausalLM"]}, "ModelUnusable: .*no weights of layers"),
    ],
)
def test_a_base_that_cannot_have_adapters_is_refused(
    tmp_path: Path, config: dict[str, Any], code: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"wte.weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(TrainerError, match=code) as raised:
        read_base(tmp_path, "s3://models/base", DIGEST)
    assert raised.value.exit_code == ExitCode.UNSUPPORTED
    assert raised.value.error.param == "base.uri"


def test_a_base_without_one_of_its_shards_is_refused(tmp_path: Path) -> None:
    """Else adapters of the layers in it are, whose fault it isn't."""
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    layer = "model.layers.{}.self_attn.q_proj.weight"
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    save_file({layer.format(0): np.zeros((2, 2), np.float32)}, tmp_path / shards[0])
    index = {"weight_map": {layer.format(number): shards[number] for number in (0, 1)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(TrainerError, match=f"aren't there: {shards[1]}") as raised:
        read_base(tmp_path, "s3://models/base", DIGEST)
    assert raised.value.error.param == "base.uri"


def test_a_base_tells_its_layers_by_its_headers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    weights = {
        "model.layers.0.self_attn.q_proj.weight": np.zeros((16, 8), np.float32),
        "model.layers.0.input_layernorm.weight": np.zeros(8, np.float32),
        "model.embed_tokens.weight": np.zeros((10, 8), np.float32),
    }
    save_file(weights, tmp_path / "model.safetensors")
    base = read_base(tmp_path, "s3://models/base", DIGEST)
    assert base.modules == {"model.layers.0.self_attn.q_proj": (8, 16)}
