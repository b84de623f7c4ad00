"""Renders the chart with real Helm."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier_cluster import binaries

CHART = Path(__file__).resolve().parents[3] / "charts" / "luthier"
IMAGES: dict[str, Any] = {
    "image": {"repository": "registry.example.com/operator"},
    "trainerImage": {"repository": "registry.example.com/trainer"},
}

Json = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> Path:
    return binaries.ensure(binaries.HELM)


@pytest.fixture
def render(helm: Path, tmp_path: Path) -> Callable[..., list[Json]]:
    """The chart's objects for the values `IMAGES | values`; ValueError with Helm's words."""

    def run(**values: Any) -> list[Json]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(IMAGES | values))
        done = subprocess.run(
            [helm, "template", "luthier", CHART, "--namespace", "luthier-system",
             "--kube-version", "1.34.4", "--values", file],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ValueError(done.stderr)
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run
