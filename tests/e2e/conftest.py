"""A full node with the chart installed, as `make demo` makes it, and namespaces to run in."""

import os
import re
import subprocess
import sys
import uuid
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
        "maxSteps": 700,
        "learningRate": 1e-3,
        "perDeviceBatchSize": 4,
        "maxLength": 64,
        "logEverySteps": 20,
        "saveEverySteps": 50,
    },
    "evaluation": {"metrics": ["accuracy", "loss"]},
    "output": {"uri": "s3://artifacts/models"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 600},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test brings up the node; all of them wait for real pods."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(900))


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
    """cpu, as in the demo, and three for the tiny model, which is no faster with a second thread:
    one that is too small for the trainer, one that gives up on storage soon. `reserved` is
    another namespace's."""

    def one_thread(name: str, memory: str = "3Gi") -> Json:
        pool = install.mounted_pool(name, memory)
        pool["resources"] = {
            "requests": {"cpu": "100m", "memory": "200Mi"},
            "limits": {"cpu": "1", "memory": memory},
        }
        return pool

    return [
        install.mounted_pool("cpu"),
        one_thread("tiny"),
        one_thread("small", memory="300Mi"),
        {**one_thread("impatient"), "storageRetrySeconds": 5},
        {**install.mounted_pool("reserved"), "namespaces": ["somebody-else"]},
    ]


@pytest.fixture(scope="session")
def luthier(full_cluster: Cluster, s3: Any) -> Cluster:
    """The cluster with the chart installed and the operator ready."""
    tag = install.operator_image(full_cluster)
    consent = {"customCode": ["methods"]}
    install.install(full_cluster, install.values(full_cluster, tag, pools(), consent=consent))
    return full_cluster


@pytest.fixture
def namespace(luthier: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A restricted tenant namespace, gone (with its pods) after the test."""
    words = re.sub("[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    # Random: results of an earlier test run in a kept cluster would be found, and reused.
    name = f"{words[:40].strip('-')}-{uuid.uuid4().hex[:6]}"
    tenant.create(luthier, name)
    yield name
    luthier.kubectl("delete", "namespace", name, "--wait=false", check=False)
    luthier.kubectl("delete", "pv", f"host-files-{name}", "--wait=false", check=False)


@pytest.fixture
def tiny_run(luthier: Cluster, namespace: str, s3: Any) -> Callable[[str], Run]:
    """Make a FineTuneJob of the tiny model by name (apply it with what differs)."""

    def make(name: str) -> Run:
        return Run(luthier, namespace, name, s3, TINY)

    return make
