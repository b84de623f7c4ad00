"""What `luthier convert` writes, the API server takes."""

import pytest
from contract.applied import answers
from unit.cli.converted import FILES, converted

from luthier_cluster import Cluster


@pytest.fixture(scope="module")
def said(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What `kubectl apply` says against the manifests of each file, comments and all."""
    manifests = [(name, text) for name in FILES for text in converted(name).yaml.split("\n---\n")]
    texts = [text.replace("namespace: team-a", "namespace: default") for _, text in manifests]
    found = answers(control_plane, texts, tmp_path_factory.mktemp("converted"))
    said: dict[str, list[str]] = {}
    for (name, _), message in zip(manifests, found, strict=True):
        said.setdefault(name, []).append(message)
    return said


@pytest.mark.parametrize("name", FILES)
def test_accepted(said: dict[str, list[str]], name: str) -> None:
    assert not any(said[name]), said[name]
