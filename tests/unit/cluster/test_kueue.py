"""Kueue's image and what its chart is told."""

import json

from unit.cluster.archives import manifest, member, opened

from luthier_cluster import kueue


def test_the_image_holds_the_program_where_the_chart_looks_for_it() -> None:
    archive = opened(kueue.image(b"program", "0123"))
    found = manifest(archive)
    assert found["RepoTags"] == ["luthier.local/kueue:0123"]
    program = opened(member(archive, found["Layers"][0])).getmember("manager")
    assert (program.size, program.mode) == (7, 0o755)


def test_the_chart_runs_that_image_and_pulls_none() -> None:
    manager = kueue.values("0123")["controllerManager"]["manager"]
    image = manager["image"]
    assert f"{image['repository']}:{image['tag']}" == "luthier.local/kueue:0123"
    assert image["pullPolicy"] == "Never"


def test_kueue_looks_only_at_namespaces_that_ask_for_it() -> None:
    text = kueue.values("0123")["managerConfig"]["controllerManagerConfigYaml"]
    config = json.loads(text)
    assert config["managedJobsNamespaceSelector"] == {
        "matchLabels": {"luthier.dev/kueue": "managed"}
    }
    assert config["integrations"]["frameworks"] == ["batch/job", "jobset.x-k8s.io/jobset"]
