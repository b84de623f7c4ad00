"""Whoever publishes an adapter decides about that adapter alone: it is left out, or refused, with
the remedy, and nothing else ends or hangs for it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.bundle_support import LINEAR
from unit.trainer.publishers import (
    HOSTILE,
    SLOW,
    base_folder,
    optimized,
    published,
    renamed,
    with_header,
)
from unit.trainer.test_bundle_members import artifact, codes, examined

from luthier_api.optimizejob import SourceRef
from luthier_api.result import ExitCode
from luthier_trainer.bundle import members
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.header import BrokenFileError, read_header
from luthier_trainer.packages.genai.base import read_base
from luthier_trainer.published.adapterconfig import ConfigError, read_config, resolved

ROUND = ("rank_pattern", "alpha_pattern")


def of(folder: Path) -> SourceRef:
    return SourceRef(uri=f"file://{folder}")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_configuration_that_is_none_costs_its_adapter_alone(tmp_path: Path, name: str) -> None:
    bad = published(tmp_path / "bad", HOSTILE[name])
    membership = examined(tmp_path, of(bad), artifact(tmp_path / "good"))
    assert codes(membership) == ["BrokenConfig"]
    assert "save the adapter again" in membership.left_out[0].message
    refused = optimized(bad, base_folder(tmp_path / "base"))
    assert isinstance(refused, TrainerError)
    assert refused.exit_code == ExitCode.UNSUPPORTED, "it isn't tried again"
    assert refused.error.code == "AdapterUnusable"
    assert "adapter_config.json" in refused.error.message


@pytest.mark.parametrize("field", ROUND)
def test_a_pattern_that_never_ends_is_ended(tmp_path: Path, field: str) -> None:
    bad = published(tmp_path / "bad", {field: {SLOW: 4}})
    started = time.monotonic()
    membership = examined(tmp_path, of(bad), artifact(tmp_path / "good"))
    assert codes(membership) == ["BrokenConfig"]
    assert "name modules instead" in membership.left_out[0].message
    assert isinstance(optimized(bad, base_folder(tmp_path / "base")), TrainerError)
    assert time.monotonic() - started < 60, "it would be years"


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": SLOW},
        {"target_modules": ["q_proj"], "exclude_modules": SLOW},
        {"layers_to_transform": [0], "layers_pattern": SLOW, "target_modules": ["q_proj"]},
        {"target_modules": r".*\.(q_proj|down_proj)"},
    ],
)
def test_patterns_of_where_it_sits_are_not_run_at_all(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    """Its weights tell where; peft reads their names."""
    bad = published(tmp_path / "a", fields)
    membership = examined(tmp_path, of(bad), artifact(tmp_path / "good"))
    assert codes(membership) == []
    read = json.loads((tmp_path / "fetched" / "a0" / "adapter_config.json").read_bytes())
    for config in (read, optimized(bad, base_folder(tmp_path / "base"))):
        assert isinstance(config, dict)
        assert config["target_modules"] == sorted(LINEAR)[1:] or set(
            config["target_modules"]
        ) <= set(LINEAR)
        assert SLOW not in json.dumps(config)


def test_patterns_become_the_names_that_they_mean(tmp_path: Path) -> None:
    patterns = {r"layers\.[01]\.self_attn\..*": 2, "q_proj": 3, "^nothing": 9}
    folder = published(tmp_path, {"rank_pattern": patterns, "alpha_pattern": {"down_proj": 0.5}})
    config = resolved(read_config(folder / "adapter_config.json"), LINEAR)
    attention = [name for name in LINEAR if "self_attn" in name]
    assert config["rank_pattern"] == dict.fromkeys(attention, 2), "the first that matches"
    down = [name for name in LINEAR if name.endswith("down_proj")]
    assert config["alpha_pattern"] == dict.fromkeys(down, 0.5)
    broken = read_config(published(tmp_path, {"rank_pattern": {"(": 2}}) / "adapter_config.json")
    with pytest.raises(ConfigError, match="no pattern"):
        resolved(broken, LINEAR)


def _prefixed(name: str, shape: Any) -> Any:
    return name.replace("model.layers", "_orig_mod.model.layers"), shape


@pytest.mark.parametrize(
    "rename",
    [
        _prefixed,
        lambda name, shape: (f"module.{name}", shape),
        lambda name, shape: (name.replace("model.layers", "_fsdp_wrapped_module.layers"), shape),
        lambda name, shape: (name.replace(".self_attn", "._checkpoint_wrapped_module"), shape),
        lambda name, shape: (name, (0,)),
        lambda name, shape: (name, (0, shape[1])),
    ],
)
def test_weights_of_a_compiled_or_sharded_model_say_so(tmp_path: Path, rename: Any) -> None:
    bad = renamed(tmp_path / "bad", rename)
    membership = examined(tmp_path, of(bad), artifact(tmp_path / "good"))
    assert codes(membership) == ["WrappedWeights"]
    remedy = "saved from a compiled or sharded model: save it again from the plain one"
    assert remedy in membership.left_out[0].message
    refused = optimized(bad, base_folder(tmp_path / "base"))
    assert isinstance(refused, TrainerError)
    assert remedy in refused.error.message


def test_whatever_a_library_raises_is_told_of_its_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = published(tmp_path / "bad", {"r": 4})
    check = members.compat.check

    def checked(adapter: Any, base: Any) -> None:
        if adapter.name == "a0":
            raise AttributeError("of some library")
        check(adapter, base)

    monkeypatch.setattr(members.compat, "check", checked)
    membership = examined(tmp_path, of(bad), artifact(tmp_path / "good"))
    assert codes(membership) == ["BrokenConfig"]
    assert "of some library" in membership.left_out[0].message


def header(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b'{"a": ' + b"[" * 100_000, 0),
        (header(a={"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}), 4),
        (header(a={"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}), 16),
        (header(a={"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}), 4),
        (header(a={"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}), 4),
        (header(a={"dtype": 3, "shape": [1], "data_offsets": [0, 4]}), 4),
        (header(a={"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}), 4),
        (header(a={"dtype": "F32", "shape": [1], "data_offsets": [0]}), 4),
        (header(a={"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}), 4),
        (header(a=[]), 0),
        (
            header(  # overlapping
                a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                b={"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            ),
            12,
        ),
        (header(a={"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}), 12),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, content: bytes, size: int) -> None:
    with pytest.raises(BrokenFileError):
        read_header(with_header(tmp_path / "a.safetensors", content, size))


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"[]", b"\xff", b'{"architectures": {"a": 1}}', b'{"architectures": "x"}'],
)
def test_a_base_whose_configuration_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    for read in (lambda: read_base(tmp_path, "s3://b/m", "sha256:0"), lambda: describe(tmp_path)):
        with pytest.raises(TrainerError) as failure:
            read()
        assert failure.value.exit_code == ExitCode.UNSUPPORTED
