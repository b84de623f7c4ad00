"""Every manifest of ours that a reader may copy, in examples and docs, is accepted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract.applied import answers

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


MANIFESTS = _manifests()


@pytest.fixture(scope="module")
def said(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What `kubectl apply` says against each.

    As text: numbers are kubectl's to read. An example's namespace needn't exist here.
    """
    here = [
        re.sub(r"\bnamespace: [a-z0-9-]+", "namespace: default", case.values[0])
        for case in MANIFESTS
    ]
    return answers(control_plane, here, tmp_path_factory.mktemp("documented"))


@pytest.mark.parametrize("number", range(len(MANIFESTS)), ids=[str(case.id) for case in MANIFESTS])
def test_accepted(said: list[str], number: int) -> None:
    assert said[number] == ""


def test_there_are_examples() -> None:
    assert len(MANIFESTS) >= 1
