"""Patterns mean in Python what they mean to the API server."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from luthier_api import meta
from luthier_api.dataset import SplitExpression
from luthier_api.methods import TargetModule
from luthier_api.optimizejob import Size
from luthier_api.uris import Uri

TEXTS = {
    "a": (meta.Name, meta.ObjectName, meta.DataKey, meta.Column, meta.Identifier, TargetModule),
    "1Gi": (Size,),
    "train[:9%]": (SplitExpression,),
    "s3://bucket/a": (Uri,),
}


@pytest.mark.parametrize(
    ("text", "kind"), [(text, kind) for text, kinds in TEXTS.items() for kind in kinds]
)
def test_a_line_break_at_the_end_is_none_of_a_name(text: str, kind: Any) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(text) == text
    with pytest.raises(ValidationError):
        adapter.validate_python(f"{text}\n")


def test_an_end_is_the_very_end() -> None:
    assert meta.search(r"^(a|b$)", "b")
    assert not meta.search(r"^(c|b$)", "b\n")
    assert meta.search(r"b\$", "b$")


def test_a_dollar_in_a_class_is_a_dollar() -> None:
    assert meta.search(r"^[a$]$", "$")
    assert meta.search(r"^[]$]+$", "]$")
    assert meta.search(r"a\\$", "a\\")
    assert not meta.search(r"^[^$]$", "$")
