"""What is set up on a node: a model, the chart, and pools for many small pods."""

import sys
from pathlib import Path

from e2e.runs import Json

from luthier_cluster import Cluster, kwok
from luthier_demo import content, install

HERE = Path(__file__).parent
MEETING = [f"{sys.prefix}/bin/python", "-P", "-u", str(HERE / "meeting.py")]


def set_up(cluster: Cluster) -> None:
    """The tiny model, and the chart."""
    content.upload(cluster, content.folder("tiny", HERE / "tiny_model.py"), "models", "tiny")
    tag = install.operator_image(cluster)
    consent = {"customCode": ["*"]}
    values = install.values(cluster, tag, pools(), consent=consent)
    # A request is also a weight: what a dozen trainers wait for mustn't wait behind them.
    install.install(cluster, values | {"resources": {"requests": {"cpu": "250m"}}})


def pools() -> list[Json]:
    """cpu, and for the tiny model: one that is too small for the trainer, one that gives up on
    storage soon. Pods of `meeting` train nothing (meeting.py); `reserved` is another namespace's;
    nodes of `simulated` come with kwok.

    One thread each: two trainings at once with two threads each, on two cores, are many times
    slower than with one. By their requests a dozen pods fit on two cores: the others wait, else
    the machine's memory might not do.
    """

    def one_thread(name: str, memory: str = "3Gi") -> Json:
        pool = install.mounted_pool(name, memory)
        pool["resources"] = {
            "requests": {"cpu": "80m", "memory": "200Mi"},
            "limits": {"cpu": "1", "memory": memory},
        }
        return pool

    return [
        one_thread("cpu", memory="4Gi"),
        {**one_thread("tiny"), "maxNodes": 2},
        {**one_thread("meeting"), "command": MEETING, "maxNodes": 2},
        one_thread("small", memory="300Mi"),
        {**one_thread("impatient"), "storageRetrySeconds": 5},
        {**one_thread("reserved"), "namespaces": ["somebody-else"]},
        simulated(),
    ]


def simulated() -> Json:
    """Of nodes that kwok plays, with GPUs: nothing is run there."""
    return {
        "name": "simulated",
        "image": "luthier.local/none:1",
        "imagePullPolicy": "Never",
        "nodeSelector": {kwok.SIMULATED: "true"},
        "tolerations": [kwok.TOLERATION],
        "maxGpus": 1,
        "maxNodes": 2,
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "64Mi"},
        },
    }
