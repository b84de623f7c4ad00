"""What `kubectl get` shows of a resource, by the API server's own columns."""

import json
from typing import Any

import pytest
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest, changed

from luthier_cluster import Cluster


def _ready(reason: str) -> list[dict[str, Any]]:
    times = {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1, "message": ""}
    return [{"type": "Ready", "status": "False", "reason": reason, **times}]


CASES = [
    (
        FINE_TUNE_JOB,
        "ftj",
        {
            "phase": "Complete", "conditions": _ready("Published"),
            "progress": {"step": 100, "totalSteps": 100, "percent": "100%", "stage": "Done"},
            "result": "accuracy 0.41→0.88",
        },
        "NAME PHASE REASON METHOD STAGE PROGRESS ETA RESULT AGE",
        ["Complete", "Published", "lora", "Done", "100%", "accuracy", "0.41→0.88"],
    ),
    (
        OPTIMIZE_JOB,
        "opj",
        {
            "phase": "Running", "conditions": _ready("Progressing"), "stage": "Measuring int8",
            "progress": {"step": 2, "totalSteps": 4, "percent": "50%", "eta": "3m20s"},
        },
        "NAME PHASE REASON STAGE PROGRESS ETA RESULT AGE",
        ["Running", "Progressing", "Measuring", "int8", "50%", "3m20s"],
    ),
    (
        ADAPTER_BUNDLE,
        "ab",
        {"phase": "Failed", "conditions": _ready("OutOfMemory"), "result": "2 adapters 1.0 MiB"},
        "NAME PHASE REASON STAGE PROGRESS RESULT AGE",
        ["Failed", "OutOfMemory", "2", "adapters", "1.0", "MiB"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("manifest", "short", "status", "heading", "row"), CASES, ids=[it[1] for it in CASES]
)
def test_a_line_says_what_matters(
    control_plane: Cluster,
    namespace: str,
    manifest: Manifest,
    short: str,
    status: dict[str, Any],
    heading: str,
    row: list[str],
) -> None:
    name = f"columns-{short}"
    obj = changed(manifest, {"metadata.namespace": namespace, "metadata.name": name})
    control_plane.kubectl("create", "-f", "-", input=json.dumps(obj))
    patch = json.dumps({"status": status})
    where = ("-n", namespace)
    control_plane.kubectl(
        "patch", f"{short}/{name}", *where, "--subresource=status", "--type=merge", "-p", patch
    )
    shown = control_plane.kubectl("get", short, name, *where).stdout.splitlines()
    assert shown[0].split() == heading.split()
    assert shown[1].split()[1:-1] == row
    wide = control_plane.kubectl("get", short, name, *where, "-o", "wide").stdout.splitlines()
    assert wide[0].split()[: len(heading.split())] == heading.split()
