"""Files of strangers, by hypothesis: read, or refused by an error of ours; in bounded time."""

import json
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.trainer.bundle_support import BASE, CONFIG
from unit.trainer.publishers import with_header
from unit.trainer.test_bundle_members import saved

from luthier_trainer.bundle.index import Index
from luthier_trainer.errors import TrainerError
from luthier_trainer.models.configfile import read_json
from luthier_trainer.models.header import BrokenFileError, read_header
from luthier_trainer.packages.genai import compat
from luthier_trainer.packages.genai.base import read_base
from luthier_trainer.packages.genai.modules import parse_peft_key
from luthier_trainer.packages.genai.unfit import UnfitError
from luthier_trainer.pages.howto import section
from luthier_trainer.published.adapterconfig import (
    AdapterConfig,
    ConfigError,
    read_config,
    resolved,
)
from luthier_trainer.published.ask import parse as read_ask

SOME = settings(
    max_examples=150,
    deadline=timedelta(seconds=20),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NUMBERS = st.integers() | st.floats() | st.integers(-(10**40), 10**40) | st.booleans()
LEAVES = st.none() | NUMBERS | st.text(max_size=30)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
PATTERNS = st.text(alphabet="aq_.*+?()[]{}|^$\\d", max_size=24)
FIELDS = st.sampled_from([*AdapterConfig.model_fields, "use_dora", "bias", "init_lora_weights"])
VALUES = JSON | st.dictionaries(PATTERNS, NUMBERS, max_size=3) | PATTERNS


def config_of(folder: Path, content: bytes) -> Path:
    path = folder / "adapter_config.json"
    path.write_bytes(content)
    return path


@SOME
@given(st.dictionaries(FIELDS, VALUES, max_size=4))
def test_any_configuration_is_fit_or_unfit(fields: dict[str, Any]) -> None:
    """And if it is fit, peft gets no pattern."""
    with tempfile.TemporaryDirectory() as name:
        folder = saved(Path(name))
        tensors = read_header(folder / "adapter_model.safetensors")
        modules = [found[0] for key in tensors if (found := parse_peft_key(key))]
        path = config_of(folder, json.dumps({**CONFIG, **fields}).encode())
        try:
            config = resolved(read_config(path), modules)
            compat.check(compat.Adapter("a", config, tensors), BASE)
        except (ConfigError, UnfitError):
            return
    assert set(config["rank_pattern"]) | set(config["alpha_pattern"]) <= set(modules)
    assert not isinstance(config.get("target_modules"), str)


@SOME
@given(st.binary(max_size=200) | JSON.map(lambda it: json.dumps(it).encode()))
def test_any_bytes_as_a_configuration(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = config_of(Path(name), content)
        (Path(name) / "config.json").write_bytes(content)
        with suppress(ConfigError):
            read_config(path)
        with suppress(ValueError):
            read_json(path)
        with suppress(TrainerError):
            read_base(Path(name), "s3://b/m", "sha256:0")
        if (asked := read_ask(content)) is not None:
            assert section(asked)


ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "I8", "F4"]) | LEAVES,
        "shape": st.lists(st.integers(-2, 9) | LEAVES, max_size=4) | JSON,
        "data_offsets": st.lists(st.integers(-8, 99) | LEAVES, max_size=3) | JSON,
    }
)


@SOME
@given(
    st.dictionaries(st.text(max_size=9), ENTRIES | JSON, max_size=4).map(
        lambda it: json.dumps(it).encode()
    )
    | st.binary(max_size=99),
    st.integers(0, 99),
)
def test_any_header_holds_what_it_says_or_is_broken(content: bytes, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = with_header(Path(name, "a.safetensors"), content, size)
        try:
            found = read_header(path)
        except BrokenFileError:
            return
    assert all(side >= 0 for tensor in found.values() for side in tensor.shape)


@SOME
@given(JSON | st.fixed_dictionaries({"base": JSON, "adapters": JSON}))
def test_any_index_of_a_package_before(document: Any) -> None:
    """pydantic's own error is what its reader takes for "build everything anew"."""
    try:
        Index.model_validate_json(json.dumps(document))
    except ValueError:
        return
