"""`luthier watch` and `luthier retry` on a real API server; the test plays the operator."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clusters import own
from contract.manifests import ADAPTER_BUNDLE, OPTIMIZE_JOB
from unit.cli.command import COMMAND, environment, fine_tune_job, luthier, named
from unit.cli.statuses import START, bundled, complete, failed, optimized, optimizing, running

from luthier_api.customresources import UNSEEN
from luthier_cluster import Cluster


@pytest.fixture
def tone(control_plane: Cluster, namespace: str) -> str:
    """A FineTuneJob named tone; returns its namespace."""
    manifest = json.dumps(fine_tune_job("tone", namespace))
    control_plane.kubectl("apply", "-f", "-", input=manifest)
    return namespace


def set_status(
    cluster: Cluster, namespace: str, body: dict[str, Any], target: str = "ftj/tone"
) -> None:
    patch = json.dumps({"status": body["status"]})
    arguments = (
        target,
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        patch,
    )
    cluster.kubectl("patch", *arguments)


@contextmanager
def watching(
    cluster: Cluster, namespace: str, *options: str, target: str = "tone"
) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """A running `luthier watch` and the lines that it prints."""
    process = subprocess.Popen(
        [*COMMAND, "watch", target, "-n", namespace, *options],
        env=environment(cluster.kubeconfig, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, iter(process.stdout)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def test_follows_to_the_end(control_plane: Cluster, tone: str) -> None:
    with watching(control_plane, tone) as (process, lines):
        assert "Waiting for the operator" in next(lines)
        set_status(control_plane, tone, running())
        assert "Running: Training  step 40/120  loss 1.234" in next(lines)
        set_status(control_plane, tone, complete())
        rest = "".join(lines)
        assert process.wait(10) == 0
    assert "✔" in rest
    assert f"{tone}/tone: Complete after 1m 23s" in rest
    assert "accuracy    0.410    0.870    +0.460" in rest


def test_a_failure_ends_with_1_and_the_reason(control_plane: Cluster, tone: str) -> None:
    set_status(control_plane, tone, failed())
    done = luthier("watch", "tone", "-n", tone, kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 1
    assert "DatasetInvalid: line 3: no JSON" in done.stdout


def test_json_is_a_document_a_change(control_plane: Cluster, tone: str) -> None:
    with watching(control_plane, tone, "-o", "json") as (process, lines):
        assert json.loads(next(lines))["status"] == UNSEEN
        set_status(control_plane, tone, running())
        assert json.loads(next(lines))["status"]["progress"]["step"] == 40
        set_status(control_plane, tone, complete())
        change, end = (json.loads(line) for line in lines)
        assert process.wait(10) == 0
    assert change["status"]["phase"] == "Complete"
    assert end["event"] == "end"
    assert end["summary"]["evaluation"]["tuned"]["accuracy"] == 0.87


def test_a_timeout_says_that_the_run_goes_on(control_plane: Cluster, tone: str) -> None:
    options = ("--timeout", "2", "-n", tone)
    done = luthier("watch", "tone", *options, kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 124
    assert "hasn't ended within 2 s" in done.stderr


def test_a_deleted_resource_ends_the_watch(control_plane: Cluster, tone: str) -> None:
    with watching(control_plane, tone) as (process, lines):
        next(lines)
        control_plane.kubectl("delete", "ftj", "tone", "-n", tone)
        assert process.wait(20) == 1


def test_an_optimize_job_and_a_bundle(control_plane: Cluster, namespace: str) -> None:
    gates = {"metric": "accuracy", "maxMetricDrop": 0.01}
    job = named(OPTIMIZE_JOB, "tone", namespace, spec__gates=gates)
    bundle = named(ADAPTER_BUNDLE, "tones", namespace)
    for manifest in (job, bundle):
        control_plane.kubectl("apply", "-f", "-", input=json.dumps(manifest))

    # No FineTuneJob has that name.
    done = luthier("watch", "tone", "-n", namespace, kubeconfig=control_plane.kubeconfig)
    assert (done.returncode, "no FineTuneJob tone" in done.stderr) == (2, True)
    assert "luthier list --all-namespaces" in done.stderr

    with watching(control_plane, namespace, target="opj/tone") as (process, lines):
        assert "Waiting for the operator" in next(lines)
        set_status(control_plane, namespace, optimizing(), "opj/tone")
        assert "Running: Measuring int8  fp32 Passed" in next(lines)
        set_status(control_plane, namespace, optimized(), "opj/tone")
        rest = "".join(lines)
        assert process.wait(10) == 0
    assert "95% interval" in rest
    assert "int4: accuracy falls by 0.2, and 0.01 is allowed" in rest

    set_status(control_plane, namespace, bundled(), "ab/tones")
    done = luthier("watch", "ab/tones", "-n", namespace, kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 0
    assert "AdaptersCompatible: topic (Dora): it is a DoRA" in done.stdout


def test_logs_and_retry_of_an_optimize_job(control_plane: Cluster, namespace: str) -> None:
    manifest = json.dumps(named(OPTIMIZE_JOB, "tone", namespace))
    control_plane.kubectl("apply", "-f", "-", input=manifest)
    set_status(control_plane, namespace, failed("GatesNotMet", "no candidate"), "opj/tone")
    arguments = ("opj/tone", "-n", namespace)
    done = luthier("logs", *arguments, kubeconfig=control_plane.kubeconfig)
    assert (done.returncode, "tone has no pod (Failed: GatesNotMet" in done.stderr) == (2, True)
    done = luthier("retry", *arguments, kubeconfig=control_plane.kubeconfig)
    assert (done.returncode, "luthier watch opj/tone" in done.stdout) == (0, True)
    assert token(control_plane, namespace, "opj/tone")


def test_retry_of_what_has_not_failed_is_refused(control_plane: Cluster, tone: str) -> None:
    def retry() -> subprocess.CompletedProcess[str]:
        arguments = ("retry", "tone", "-n", tone)
        return luthier(*arguments, kubeconfig=control_plane.kubeconfig)

    assert "hasn't failed (not yet seen by the operator)" in retry().stderr
    set_status(control_plane, tone, running())
    assert "hasn't failed (Running)" in retry().stderr
    set_status(control_plane, tone, complete())
    done = retry()
    assert (done.returncode, "is complete" in done.stderr) == (2, True)
    assert "luthier rerun tone" in done.stderr
    assert not token(control_plane, tone)


def test_retry_of_a_failed_run(control_plane: Cluster, tone: str) -> None:
    set_status(control_plane, tone, failed())
    arguments = ("retry", "tone", "-n", tone)
    done = luthier(*arguments, kubeconfig=control_plane.kubeconfig)
    assert (done.returncode, "will be tried again" in done.stdout) == (0, True)
    first = token(control_plane, tone)
    assert (
        "has a retry under way" in luthier(*arguments, kubeconfig=control_plane.kubeconfig).stderr
    )
    # The status still tells of the failure: watch waits for the retry's end instead.
    with watching(control_plane, tone) as (process, lines):
        assert "Waiting for the retry" in next(lines)
        served = failed("OutOfMemory", "again")
        served["status"]["retryToken"] = first
        set_status(control_plane, tone, served)
        assert "OutOfMemory: again" in "".join(lines)
        assert process.wait(10) == 1
    luthier(*arguments, kubeconfig=control_plane.kubeconfig)
    assert token(control_plane, tone) != first


def token(cluster: Cluster, namespace: str, target: str = "ftj/tone") -> str:
    path = r"jsonpath={.metadata.annotations.luthier\.dev/retry}"
    return cluster.kubectl("get", target, "-n", namespace, "-o", path).stdout


def test_logs_say_why_there_are_none(control_plane: Cluster, tone: str) -> None:
    set_status(control_plane, tone, failed())
    done = luthier("logs", "tone", "-n", tone, kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 2
    assert "tone has no pod (Failed: DatasetInvalid: line 3: no JSON)" in done.stderr
    assert "none was started" in done.stderr
    for reason, words in (
        ("OutOfMemory", "its pods are removed some time later"),
        ("DeadlineExceeded", "removes the pods of a run at its deadline at once"),
    ):
        ended = failed(reason, "m")
        ended["status"]["startTime"] = START
        set_status(control_plane, tone, ended)
        done = luthier("logs", "tone", "-n", tone, kubeconfig=control_plane.kubeconfig)
        assert words in done.stderr
        assert "long ago" not in done.stderr


def test_goes_on_when_the_api_server_was_away() -> None:
    """In a cluster of its own: others would notice. First without our CRDs."""
    with Cluster(own("watch"), "control-plane") as cluster:
        done = luthier("watch", "tone", kubeconfig=cluster.kubeconfig)
        assert done.returncode == 2
        assert "doesn't know luthier.dev resources" in done.stderr
        assert "install Luthier's chart" in done.stderr

        from clusters import apply_crds

        apply_crds(cluster)
        manifest = json.dumps(fine_tune_job("tone", "default"))
        cluster.kubectl("apply", "-f", "-", input=manifest)
        with watching(cluster, "default") as (process, lines):
            next(lines)
            cluster.kill("kube-apiserver")
            cluster.start("kube-apiserver")
            set_status(cluster, "default", running())
            assert "step 40/120" in next(lines)
            set_status(cluster, "default", complete())
            assert process.wait(30) == 0
