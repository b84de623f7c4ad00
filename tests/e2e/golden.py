"""An example of the demo's, applied as it stands: the one run of a model that people use."""

from pathlib import Path
from typing import Any

import yaml

from luthier_cluster import Cluster
from luthier_demo import content, tenant

TESTS = "test_golden_path.py"
NAMESPACE = "team-a"
EXAMPLE = "wordclass"


def file(example: str = EXAMPLE) -> Path:
    return content.EXAMPLES / example / "finetunejob.yaml"


def manifest(example: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file(example).read_text())
    return found


def apply(cluster: Cluster, example: str = EXAMPLE) -> None:
    """Can be repeated."""
    tenant.create(cluster, NAMESPACE)
    cluster.kubectl("apply", "-f", str(file(example)))
