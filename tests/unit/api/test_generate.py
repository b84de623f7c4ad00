"""What is generated is what is committed, and comes through Helm as it was meant."""

import re
from pathlib import Path

import pytest
import yaml

from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.generate import chart_template, files
from luthier_api.platform import Platform
from luthier_api.reference import rows
from luthier_api.structural import structural_schema

ROOT = Path(__file__).parents[3]
FILES = files()


@pytest.mark.parametrize("name", FILES.keys())
def test_committed_as_generated(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name], "run python -m luthier_api.generate"


def test_the_chart_has_the_same_crds_and_keeps_them() -> None:
    template = chart_template()
    # The one action that Helm finds in it is the condition; other braces are quoted.
    body = re.sub(r"\{\{- (if \.Values\.crds\.enabled|end) \}\}", "", template)
    rendered = re.sub(r'\{\{ "(\{\{|\}\})" \}\}', r"\1", body)
    assert "{{ and }} are literal braces" in re.sub(r"\s+", " ", rendered)
    for resource, document in zip(CUSTOM_RESOURCES, yaml.safe_load_all(rendered), strict=True):
        assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert document == resource.crd()


def test_reference_rows_name_every_field() -> None:
    for resource in CUSTOM_RESOURCES:
        page = FILES[f"docs/reference/{resource.kind.lower()}.md"]
        for row in rows(structural_schema(resource.spec)):
            assert f"| `{row.path}` |" in page


def test_every_field_of_the_platform_is_described() -> None:
    for row in rows(structural_schema(Platform)):
        assert row.meaning, row.path


def test_reference_tables_keep_their_shape() -> None:
    """A bar or a line break in a text would break the table."""
    for name, page in FILES.items():
        if name.startswith("docs/"):
            # Of fields five columns; of reasons two.
            bars = 3 if name.endswith("reasons.md") else 6
            for line in page.splitlines():
                if line.startswith("|"):
                    assert len(re.findall(r"(?<!\\)\|", line)) == bars, line
