"""A full node with the chart installed, as `make demo` makes it, and namespaces to run in."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.runs import Json, Run

from luthier_cluster import Cluster
from luthier_demo import content, install, tenant

HERE = Path(__file__).parent

# A run of a few seconds on the tiny model. Steps enough for a fault to hit it in the middle.
TINY: Json = {
    "model": {"uri": "s3://models/tiny"},
    "task": "classification",
    "dataset": {
        "uri": "s3://datasets/wordnet",
        "template": "{gloss}\nCategory: {label}",
        "test": "test[:50]",
    },
    "method": {"type": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
    "training": {
        "maxSteps": 1200,
        "learningRate": 1e-3,
        "perDeviceBatchSize": 4,
        "maxLength": 64,
        "logEverySteps": 20,
        "saveEverySteps": 100,
    },
    "evaluation": {"metrics": ["accuracy", "loss"]},
    "output": {"uri": "s3://artifacts/models"},
    "limits": {"activeDeadlineSeconds": 600},
}


@pytest.fixture(scope="session")
def full_cluster() -> Iterator[Cluster]:
    """A full node of its own: a running demo is left alone. LUTHIER_TEST_CLUSTER names one to
    reuse and keep, which spares a developer half a minute."""
    kept = os.environ.get("LUTHIER_TEST_CLUSTER")
    cluster = Cluster(kept or f"e2e-{os.getpid()}")
    try:
        cluster.up()
        yield cluster
    finally:
        if not kept:
            cluster.down()


@pytest.fixture(scope="session")
def s3(full_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client for the cluster's S3, which holds the models `smollm2…` and `tiny` and the data."""
    content.put_in_s3(full_cluster)
    tiny = tmp_path_factory.mktemp("tiny")
    script = HERE / "tiny_model.py"
    subprocess.run([sys.executable, script, content.model(), tiny], check=True, timeout=180)
    content.upload(full_cluster, tiny, "models", "tiny")
    return content.s3_client(full_cluster)


def pools() -> list[Json]:
    """cpu; one that is too small for the trainer; one that only another namespace may use."""
    small = install.mounted_pool("small", memory="300Mi")
    small["resources"]["requests"] = {"cpu": "100m", "memory": "100Mi"}
    reserved = {**install.mounted_pool("reserved"), "namespaces": ["somebody-else"]}
    impatient = {**install.mounted_pool("impatient"), "storageRetrySeconds": 5}
    return [install.mounted_pool("cpu"), small, reserved, impatient]


@pytest.fixture(scope="session")
def luthier(full_cluster: Cluster, s3: Any) -> Cluster:
    """The cluster with the chart installed and the operator ready."""
    tag = install.operator_image(full_cluster)
    install.install(full_cluster, install.values(full_cluster, tag, pools()))
    return full_cluster


@pytest.fixture
def namespace(luthier: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A restricted tenant namespace, gone (with its pods) after the test."""
    name = request.node.name.replace("_", "-").replace("[", "-").strip("]").lower()[:50].strip("-")
    tenant.create(luthier, name)
    yield name
    luthier.kubectl("delete", "namespace", name, "--wait=true", within=150, check=False)
    luthier.kubectl("delete", "pv", f"host-files-{name}", "--wait=false", check=False)


@pytest.fixture
def tiny_run(luthier: Cluster, namespace: str, s3: Any) -> Callable[[str], Run]:
    """Make a FineTuneJob of the tiny model by name (apply it with what differs)."""

    def make(name: str) -> Run:
        return Run(luthier, namespace, name, s3, TINY)

    return make
