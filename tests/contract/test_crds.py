"""The CRDs as a user and a cluster see them."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from contract.manifests import FINE_TUNE_JOB, changed

from luthier_api.customresources import CUSTOM_RESOURCES, UNSEEN, CustomResource
from luthier_cluster import Cluster

Value = TypeVar("Value")
CRDS = Path(__file__).parents[2] / "crds"

STATUS = {
    "phase": "Running",
    "conditions": [
        {
            "type": kind,
            "status": "False",
            "reason": reason,
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        # Ready isn't the first: the column must find it by its type.
        for kind, reason in (("Stalled", "Wrong"), ("Ready", "Training"))
    ],
    "progress": {
        "stage": "Training",
        "step": 40,
        "totalSteps": 100,
        "percent": "40%",
        "eta": "3m20s",
        "loss": 1.25,
    },
    "result": "accuracy 0.41→0.87",
    "restarts": {"failures": 1, "disruptions": 2, "total": 3},
    "checkpoints": [
        {"step": step, "uri": "s3://artifacts/c", "sha256": "0" * 64} for step in (20, 30)
    ],
    "artifact": {"uri": "s3://artifacts/models/a", "manifestSha256": "0" * 64},
    "inUse": {
        "uri": "s3://artifacts/models/b",
        "manifestSha256": "0" * 64,
        "revision": "r1-5f2c1e9a",
    },
}


@pytest.fixture(scope="module")
def stored(control_plane: Cluster, namespace: str) -> str:
    """A namespace with a FineTuneJob that has a status."""
    manifest = changed(
        FINE_TUNE_JOB,
        {"metadata.namespace": namespace, "spec.placement.queueName": "team-a"},
    )
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    control_plane.kubectl(
        "patch", "ftj", "tone", "-n", namespace, "--subresource=status", "--type=merge",
        "-p", json.dumps({"status": STATUS}),
    )  # fmt: skip
    return namespace


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_established_and_structural(control_plane: Cluster, resource: CustomResource) -> None:
    crd = _get(control_plane, "crd", resource.crd_name)
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions == {"Established": "True", "NamesAccepted": "True"}


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_the_server_keeps_the_schema_as_generated(
    control_plane: Cluster, resource: CustomResource
) -> None:
    written = yaml.safe_load((CRDS / f"{resource.plural}.yaml").read_text())
    (served,) = _get(control_plane, "crd", resource.crd_name)["spec"]["versions"]
    assert served["schema"] == written["spec"]["versions"][0]["schema"]


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda resource: resource.kind)
def test_explain_describes_every_field(control_plane: Cluster, resource: CustomResource) -> None:
    for path, node in _fields(resource.schema(), resource.kind.lower()):
        assert node.get("description"), f"{path} has no description"
    explained = control_plane.kubectl("explain", f"{resource.kind.lower()}.spec").stdout
    for name in resource.schema()["properties"]["spec"]["properties"]:
        assert re.search(rf"^  {name}\t.*\n(  enum: .*\n)?    \S", explained, re.MULTILINE), name


def test_explain_training_recursively(control_plane: Cluster) -> None:
    explained = control_plane.kubectl("explain", "finetunejob.spec.training", "--recursive").stdout
    for field in ("maxSteps\t<integer>", "warmupRatio\t<number>", "patience\t<integer>"):
        assert field in explained
    one = control_plane.kubectl("explain", "ftj.spec.training.scheduler").stdout
    assert "cosine_with_restarts" in one


def test_columns(control_plane: Cluster, stored: str) -> None:
    assert _table(control_plane, stored) == {
        "NAME": "tone", "PHASE": "Running", "REASON": "Training", "METHOD": "lora",
        "STAGE": "Training", "PROGRESS": "40%", "ETA": "3m20s", "RESULT": "accuracy 0.41→0.87",
    }  # fmt: skip
    wide = _table(control_plane, stored, "-o", "wide")
    assert (wide["LOSS"], wide["QUEUE"], wide["RESTARTS"]) == ("1.25", "team-a", "3")
    assert wide["CHECKPOINT"] == "30"
    assert wide["IN-USE"] == "r1-5f2c1e9a"
    assert wide["ARTIFACT"] == "s3://artifacts/models/a"


def test_category_and_short_names(control_plane: Cluster, stored: str) -> None:
    assert (
        "finetunejob.luthier.dev/tone"
        in control_plane.kubectl("get", "luthier", "-n", stored, "-o", "name").stdout
    )
    for resource in CUSTOM_RESOURCES:
        control_plane.kubectl("get", resource.of.short, "-n", stored)


def test_status_is_a_subresource(control_plane: Cluster, stored: str) -> None:
    """Who may write the spec can't forge a status by it."""
    control_plane.kubectl(
        "patch", "ftj", "tone", "-n", stored, "--type=merge",
        "-p", json.dumps({"status": {"phase": "Complete"}}),
    )  # fmt: skip
    assert _get(control_plane, "ftj", "tone", "-n", stored)["status"]["phase"] == "Running"


@pytest.mark.parametrize("lost", [{}, None], ids=["emptied", "gone"])
def test_a_status_that_nobody_wrote_is_of_no_generation(
    control_plane: Cluster, stored: str, lost: dict[str, Any] | None
) -> None:
    """Nor one that was lost, as in a restored backup."""
    manifest = changed(FINE_TUNE_JOB, {"metadata.namespace": stored, "metadata.name": "new"})
    control_plane.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    assert _get(control_plane, "ftj", "new", "-n", stored)["status"] == UNSEEN
    for status in ({"phase": "Running", "observedGeneration": 1}, None, lost):
        _patch(control_plane, stored, "new", {"status": status}, "--subresource=status")
    assert _get(control_plane, "ftj", "new", "-n", stored)["status"] == UNSEEN


@pytest.fixture
def older_crd(control_plane: Cluster) -> Iterator[None]:
    """An API server that has a CRD with a field less and no rules, for the time of a test."""
    older = yaml.safe_load((CRDS / "finetunejobs.yaml").read_text())
    spec = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    _remove_rules(spec)
    del spec["properties"]["training"]["properties"]["maxGradNorm"]
    control_plane.kubectl("replace", "-f", "-", input=json.dumps(older))
    yield
    _apply_present_crd(control_plane)


def test_updates_in_place(control_plane: Cluster, stored: str, older_crd: None) -> None:
    """What is stored keeps its uid and its generation, and gets the new field's default."""
    before = _eventually(
        lambda: _get(control_plane, "ftj", "tone", "-n", stored),
        lambda job: "maxGradNorm" not in job["spec"]["training"],
    )
    _apply_present_crd(control_plane)
    after = _eventually(
        lambda: _get(control_plane, "ftj", "tone", "-n", stored),
        lambda job: "maxGradNorm" in job["spec"]["training"],
    )
    for field in ("uid", "generation"):
        assert after["metadata"][field] == before["metadata"][field]


def test_stricter_rules_spare_what_is_stored(
    control_plane: Cluster, stored: str, older_crd: None
) -> None:
    """A spec that an upgrade would refuse keeps its status; only a change of it is refused."""
    manifest = changed(
        FINE_TUNE_JOB,
        {"metadata.namespace": stored, "metadata.name": "old", "spec.training.epochs": 1},
    )
    _eventually(
        lambda: (
            control_plane.kubectl(
                "apply", "-f", "-", input=json.dumps(manifest), check=False
            ).returncode
        ),
        lambda returncode: returncode == 0,
    )
    _apply_present_crd(control_plane)
    _eventually(
        lambda: _patch(control_plane, stored, "old", {"spec": {"training": {"epochs": 2}}}),
        lambda error: "maxSteps and epochs exclude each other" in error,
    )
    # A warning, no error.
    _patch(control_plane, stored, "old", {"status": {"phase": "Failed"}}, "--subresource=status")
    failed = UNSEEN | {"phase": "Failed"}
    assert _get(control_plane, "ftj", "old", "-n", stored)["status"] == failed


def _remove_rules(node: dict[str, Any]) -> None:
    node.pop("x-kubernetes-validations", None)
    for child in node.get("properties", {}).values():
        _remove_rules(child)
    for key in ("items", "additionalProperties"):
        if key in node:
            _remove_rules(node[key])


def _apply_present_crd(cluster: Cluster) -> None:
    path = str(CRDS / "finetunejobs.yaml")
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
    cluster.kubectl("wait", "--for=condition=Established", "-f", path, "--timeout=30s")


def _patch(cluster: Cluster, namespace: str, name: str, patch: Any, *arguments: str) -> str:
    """What kubectl says: an error, a warning or nothing."""
    return cluster.kubectl(
        "patch", "ftj", name, "-n", namespace, "--type=merge", "-p", json.dumps(patch), *arguments,
        check=False,
    ).stderr  # fmt: skip


def _eventually(look: Callable[[], Value], holds: Callable[[Value], bool]) -> Value:
    """The first value that holds: API servers serve a changed CRD a moment later."""
    deadline = time.monotonic() + 15
    while not holds(value := look()):
        assert time.monotonic() < deadline, f"not within 15 s; last: {value}"
        time.sleep(0.2)
    return value


def _get(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(cluster.kubectl("get", *arguments, "-o", "json").stdout)
    return answer


def _table(cluster: Cluster, namespace: str, *arguments: str) -> dict[str, str]:
    """The row of `kubectl get ftj tone`, without its age."""
    head, row = cluster.kubectl(
        "get", "ftj", "tone", "-n", namespace, *arguments
    ).stdout.splitlines()
    # A cell may be empty, or have blanks in it: each begins where its heading does.
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], None]
    columns = {
        head[start:end].strip(): row[start:end].strip()
        for start, end in zip(starts, ends, strict=True)
    }
    columns.pop("AGE")
    return columns


def _fields(node: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property below a node. The metadata's are the API server's own."""
    for name, child in node.get("properties", {}).items():
        if name == "metadata":
            continue
        yield f"{path}.{name}", child
        yield from _fields(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from _fields(node[key], f"{path}[]")
