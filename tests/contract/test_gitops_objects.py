"""The engines' own objects in examples/gitops are what their kinds take, field by field."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from luthier_cluster import Cluster, gitops, wait

GITOPS = Path(__file__).parents[2] / "examples" / "gitops"
OBJECTS = sorted(it for folder in ("flux", "argocd") for it in (GITOPS / folder).glob("*.yaml"))


@pytest.fixture(scope="module")
def engines(control_plane: Cluster) -> Iterator[Cluster]:
    """A cluster that knows the kinds of Flux and Argo CD."""
    files = [f"--filename={file}" for file in gitops.crds()]
    namespaces = ("flux-system", "argocd")
    control_plane.kubectl("apply", "--server-side", *files)
    served = ("wait", "--for=condition=Established", *files, "--timeout=30s")
    # Of one that has no conditions yet it says an error.
    assert wait.until(
        lambda: control_plane.kubectl(*served, check=False).returncode == 0, within=60
    )
    for namespace in namespaces:
        control_plane.kubectl("create", "namespace", namespace)
    yield control_plane
    control_plane.kubectl("delete", "namespace", *namespaces, "--wait=false")
    control_plane.kubectl("delete", "--wait=false", *files)


def test_they_are_accepted(engines: Cluster) -> None:
    assert len(OBJECTS) >= 5
    names = [f"--filename={file}" for file in OBJECTS]
    done = engines.kubectl("apply", "--server-side", "--dry-run=server", "-o", "json", *names)
    stored = json.loads(done.stdout)["items"]
    written = [yaml.safe_load(file.read_text()) for file in OBJECTS]
    assert [it["kind"] for it in stored] == [it["kind"] for it in written]


def test_a_misspelt_field_is_not(engines: Cluster) -> None:
    wrong = yaml.safe_load((GITOPS / "flux" / "support-staging.yaml").read_text())
    wrong["spec"]["timeOut"] = wrong["spec"].pop("timeout")
    done = engines.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "-f",
        "-",
        input=json.dumps(wrong),
        check=False,
    )
    assert "timeOut" in done.stderr
