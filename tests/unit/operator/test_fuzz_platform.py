"""Whatever stands in luthier.yaml: read, or told with the file's name and the wrong field."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from unit.operator.test_fuzz_reports import JSON

from luthier_api.platform import Platform, Pool
from luthier_operator.config import ConfigError, load_platform

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
POOL: dict[str, Any] = {"name": "cpu", "image": "trainer:1"}
GOOD: dict[str, Any] = {"defaultPool": "cpu", "pools": [POOL]}
FIELDS = [field.alias or name for name, field in Platform.model_fields.items()]
OF_POOL = [field.alias or name for name, field in Pool.model_fields.items()]
DOCUMENTS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=3).map(
    lambda more: GOOD | more
) | st.dictionaries(st.sampled_from(OF_POOL), JSON, max_size=3).map(
    lambda more: GOOD | {"pools": [POOL | more]}
)


def load(text: bytes) -> Platform | None:
    """What is in it, or None where the error names the file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        try:
            return load_platform(Path(file.name))
        except ConfigError as error:
            told = str(error)
    assert told.startswith(file.name)
    assert len(told) < 20_000
    return None


@QUICK
@given(DOCUMENTS)
@example(GOOD)
def test_a_document_is_read_or_told(document: dict[str, Any]) -> None:
    read = load(yaml.safe_dump(document, allow_unicode=True).encode(errors="replace"))
    assert read is not None or document != GOOD


@QUICK
@given(st.binary(max_size=500) | st.text(max_size=500).map(lambda it: it.encode(errors="replace")))
@example(b"\xff\xfe")
@example(b"[" * 1_000)
@example(b"{" * 1_000)
@example(b"a: &a [*a]")
@example(b"a: !!python/object/apply:os.system [true]")
@example(b"? {}\n: 1")
@example(b"2001-99-99")
@example(b"x: 0b_")
@example(b"\x00")
def test_text_that_is_no_configuration(text: bytes) -> None:
    assert load(text) is None


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 30)
)


@pytest.mark.timeout(60)
def test_a_document_that_names_itself_again_and_again() -> None:
    assert load(BOMB.encode()) is None
