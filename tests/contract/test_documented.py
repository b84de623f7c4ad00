"""Every manifest of ours that a reader may copy, in examples and docs, is accepted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from luthier_api import GROUP
from luthier_cluster import Cluster

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SEPARATOR = re.compile(r"^---\s*$", re.MULTILINE)


def _texts() -> Iterator[tuple[str, str]]:
    """(where, YAML text)."""
    for path in sorted(ROOT.glob("examples/**/*.yaml")):
        yield str(path.relative_to(ROOT)), path.read_text()
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]:
        for number, block in enumerate(_BLOCK.findall(path.read_text()), start=1):
            yield f"{path.relative_to(ROOT)}, block {number}", block


def _manifests() -> list[Any]:
    return [
        pytest.param(manifest, id=where)
        for where, text in _texts()
        for manifest in _SEPARATOR.split(text)
        if re.search(rf"^apiVersion: {re.escape(GROUP)}/", manifest, re.MULTILINE)
    ]


@pytest.mark.parametrize("manifest", _manifests())
def test_accepted(control_plane: Cluster, manifest: str) -> None:
    """As text: numbers are kubectl's to read. An example's namespace needn't exist here."""
    here = re.sub(r"\bnamespace: [a-z0-9-]+", "namespace: default", manifest)
    control_plane.kubectl("apply", "--dry-run=server", "-f", "-", input=here)


def test_there_are_examples() -> None:
    assert len(_manifests()) >= 1
