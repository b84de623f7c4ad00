"""`luthier history`, `promote` and `rerun` on a real API server; the test plays the operator."""

import json
import subprocess

import pytest
from unit.cli.command import fine_tune_job, luthier
from unit.cli.test_revisions import FIRST, SECOND, THIRD, job

from luthier_cluster import Cluster

CONDITION = {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}


@pytest.fixture
def tone(control_plane: Cluster, namespace: str) -> str:
    """A FineTuneJob with three revisions; returns its namespace."""
    manifest = json.dumps(fine_tune_job("tone", namespace))
    control_plane.kubectl("apply", "-f", "-", input=manifest)
    status = job()["status"]
    conditions = [{"message": ""} | it | CONDITION for it in status["conditions"]]
    patch = json.dumps({"status": status | {"conditions": conditions}})
    arguments = ("-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    control_plane.kubectl("patch", "ftj/tone", *arguments)
    return namespace


def said(
    control_plane: Cluster, namespace: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return luthier(*arguments, "-n", namespace, kubeconfig=control_plane.kubeconfig)


def value(cluster: Cluster, namespace: str, path: str) -> str:
    return cluster.kubectl("get", "ftj/tone", "-n", namespace, "-o", f"jsonpath={{{path}}}").stdout


def test_history_of_a_resource(control_plane: Cluster, tone: str) -> None:
    done = said(control_plane, tone, "history", "tone")
    assert done.returncode == 0
    assert "Undecided" in done.stdout
    done = said(control_plane, tone, "history", "tone", "-o", "json")
    found = json.loads(done.stdout)
    assert [it["revision"] for it in found][:3] == [THIRD, SECOND, FIRST]
    assert [it["inUse"] for it in found][:3] == [False, True, False]
    wide = control_plane.kubectl("get", "ftj", "-n", tone, "-o", "wide").stdout
    assert SECOND in wide


def test_a_pin_is_set_and_removed(control_plane: Cluster, tone: str) -> None:
    done = said(control_plane, tone, "promote", "tone", "r1")
    assert (done.returncode, f"{FIRST} is pinned" in done.stdout) == (0, True)
    assert value(control_plane, tone, ".spec.promote.pin") == FIRST
    assert said(control_plane, tone, "promote", "tone", "--unpin").returncode == 0
    assert value(control_plane, tone, ".spec.promote.pin") == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tone", "r9"), "there is no revision r9"),
        (("tone", "r0"), "has no result"),
        (("tone",), "name a revision"),
        (("tone", "r1", "--unpin"), "name a revision"),
        (("opj/tone", "r1"), "no revisions to choose from"),
    ],
)
def test_a_wrong_promotion_is_refused(
    control_plane: Cluster, tone: str, arguments: tuple[str, ...], words: str
) -> None:
    done = said(control_plane, tone, "promote", *arguments)
    assert (done.returncode, words in done.stderr) == (2, True)


def test_what_git_manages_is_not_changed(control_plane: Cluster, tone: str) -> None:
    done = said(control_plane, tone, "promote", "tone", "r1", "--print")
    assert done.stdout == f"spec:\n  promote:\n    pin: {FIRST}\n"
    mark = "argocd.argoproj.io/tracking-id=models:luthier.dev/FineTuneJob:team/tone"
    control_plane.kubectl("annotate", "ftj/tone", "-n", tone, mark)
    done = said(control_plane, tone, "promote", "tone", "r1")
    assert done.returncode == 0
    assert "Argo CD applies tone" in done.stderr
    assert f"pin: {FIRST}" in done.stdout
    assert value(control_plane, tone, ".spec.promote") == ""


def test_a_rerun_of_what_has_ended(control_plane: Cluster, tone: str) -> None:
    path = r".metadata.annotations.luthier\.dev/rerun"
    assert said(control_plane, tone, "rerun", "tone").returncode == 0
    first = value(control_plane, tone, path)
    assert first
    going = json.dumps({"status": {"conditions": [], "phase": "Running"}})
    arguments = ("-n", tone, "--subresource=status", "--type=merge", "-p", going)
    control_plane.kubectl("patch", "ftj/tone", *arguments)
    done = said(control_plane, tone, "rerun", "tone")
    assert (done.returncode, "goes on (Running)" in done.stderr) == (2, True)
    assert value(control_plane, tone, path) == first
    assert said(control_plane, tone, "rerun", "tone", "--stop").returncode == 0
    assert value(control_plane, tone, path) != first
