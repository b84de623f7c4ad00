"""Who created a resource, as the chart's admission policy has the API server check it."""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.manifests import FINE_TUNE_JOB, changed
from integration.kube import eventually

from luthier_cluster import Cluster, ClusterError, binaries

CHART = Path(__file__).parents[2] / "charts" / "luthier"
WRITER = "system:serviceaccount:flux:applies"
JO, KIM = "jo@example.com", "kim@example.com"
Create = Callable[..., str]


def _policy(namespace: str, *, required: bool) -> list[dict[str, Any]]:
    """The chart's, for the resources of one namespace: others run beside this test."""
    values = {
        "image.repository": "a",
        "trainerImage.repository": "b",
        "admissionPolicy.createdBy.writers": f"{{{WRITER}}}",
        "admissionPolicy.createdBy.required": str(required).lower(),
    }
    sets = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    rendered = subprocess.run(
        [binaries.ensure(binaries.HELM), "template", namespace, CHART, *sets,
         "--show-only", "templates/admission.yaml"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    objects = [it for it in yaml.safe_load_all(rendered) if it]
    found = [it for it in objects if it["metadata"]["name"].endswith("-created-by")]
    (binding,) = [it for it in found if it["kind"].endswith("Binding")]
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    binding["spec"]["matchResources"] = {"namespaceSelector": here}
    return found


@pytest.fixture(params=[False, True], ids=["free", "required"])
def required(request: pytest.FixtureRequest) -> bool:
    """Whether the annotation is."""
    return bool(request.param)


@pytest.fixture
def create(control_plane: Cluster, required: bool) -> Iterator[Create]:
    """Creates or changes a FineTuneJob as a user; what the API server says against it."""
    namespace = f"created-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", namespace)
    objects = _policy(namespace, required=required)
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(listed))

    def say(user: str, told: str | None, name: str = "tone", verb: str = "create") -> str:
        notes = {} if told is None else {"luthier.dev/created-by": told}
        manifest = changed(
            FINE_TUNE_JOB,
            {"metadata.name": name, "metadata.namespace": namespace, "metadata.annotations": notes},
        )
        arguments = (verb, "-f", "-", "--as", user, "--as-group", "system:masters")
        try:
            control_plane.kubectl(*arguments, input=json.dumps(manifest))
        except ClusterError as error:
            return str(error)
        return ""

    def works() -> bool:
        assert "you are jo@example.com" in say(JO, "nobody", "probe")
        return True

    eventually(works)
    yield say
    for it in objects:
        control_plane.kubectl("delete", it["kind"], it["metadata"]["name"], "--wait=false")
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


def test_nobody_writes_anothers_name(create: Create, required: bool) -> None:
    assert create(JO, JO) == ""
    refused = create(JO, KIM, "tune")
    assert "luthier.dev/created-by says kim@example.com, and you are jo@example.com" in refused
    assert "admissionPolicy.createdBy.writers" in refused
    # Another one may change it, and leaves the name where it is, or takes it over.
    assert create(KIM, JO, verb="replace") == ""
    assert "says nobody" in create(KIM, None, verb="replace")
    assert create(KIM, KIM, verb="replace") == ""
    # What applies manifests of others may write any.
    assert create(WRITER, JO, "applied") == ""
    without = create(JO, None, "without")
    assert ("is required here: write your name, jo@example.com" in without) is required
    assert bool(without) is required
