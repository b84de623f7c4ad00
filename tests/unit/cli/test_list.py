"""`luthier list` and `luthier describe`: lines by themselves, and both on a real API server."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from contract.manifests import ADAPTER_BUNDLE, OPTIMIZE_JOB
from rich.console import Console
from unit.cli.command import fine_tune_job, luthier, named
from unit.cli.statuses import bundled, complete, failed, optimized, running
from unit.cli.test_watch import set_status

from luthier_cli.describe import last_seen, newest
from luthier_cli.listing import render, shown
from luthier_cluster import Cluster

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def scored() -> dict[str, Any]:
    """As the operator words it."""
    body = complete()
    return body | {"status": body["status"] | {"result": "accuracy 0.41→0.87"}}


def aged(resource: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    times = {"creationTimestamp": "2026-01-01T10:00:00Z"}
    return {**resource, "metadata": resource["metadata"] | times | metadata}


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (running(), {"phase": "Running: Training", "percent": 33}),
        (scored(), {"phase": "Complete", "percent": 100, "result": "accuracy 0.41→0.87"}),
    ],
    ids=["running", "complete"],
)
def test_a_line(resource: dict[str, Any], expected: dict[str, Any]) -> None:
    line = shown(aged(resource), NOW)
    assert line.items() >= {**expected, "name": "tone", "ageSeconds": 7200.0}.items()


def test_what_failed_says_why() -> None:
    line = shown(aged(failed()), NOW)
    assert line["phase"] == "Failed"
    assert line["result"]


def test_escapes_and_markup_of_others_are_text() -> None:
    console = Console(width=100, file=None, record=True, color_system=None)
    with console.capture() as said:
        console.print(render([aged(running(), name="[red]\x1b[2Jx")], NOW, namespaces=True))
    assert "\x1b" not in said.get()
    assert "[red]" in said.get()


def test_the_newest_events_by_whatever_time_they_have() -> None:
    times = [
        {"lastTimestamp": "2026-01-01T10:00:03Z"},
        {"eventTime": "2026-01-01T10:00:01Z", "lastTimestamp": None},
        {"series": {"lastObservedTime": "2026-01-01T10:00:02Z", "count": 2}, "lastTimestamp": ""},
        {},
    ]
    made = {"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}}
    found = newest([{**made, **it} for it in times])
    assert [last_seen(it)[-3:-1] for it in found] == ["00", "01", "02", "03"]
    assert len(newest([{**made}] * 50)) == 12


def test_list_and_describe(control_plane: Cluster, namespace: str) -> None:
    jobs = [
        fine_tune_job("tone", namespace),
        named(OPTIMIZE_JOB, "small", namespace),
        named(ADAPTER_BUNDLE, "many", namespace),
        fine_tune_job("next", namespace),
    ]
    control_plane.kubectl("apply", "-f", "-", input="\n---\n".join(map(json.dumps, jobs)))
    set_status(control_plane, namespace, scored())
    set_status(control_plane, namespace, optimized(), "opj/small")
    set_status(control_plane, namespace, bundled(), "ab/many")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "told", "namespace": namespace},
        "type": "Warning",
        "reason": "Restarted",
        "message": "out of memory\nerror: forged",
        "count": 3,
        "lastTimestamp": "2026-01-01T10:00:00Z",
        "involvedObject": {
            "kind": "FineTuneJob",
            "namespace": namespace,
            "name": "tone",
            "uid": control_plane.kubectl(
                "get", "ftj/tone", "-n", namespace, "-o", "jsonpath={.metadata.uid}"
            ).stdout,
        },
    }
    control_plane.kubectl("create", "-f", "-", input=json.dumps(event))

    def command(*words: str) -> Any:
        return luthier(*words, "-n", namespace, kubeconfig=control_plane.kubeconfig)

    done = command("list")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines.keys() == {"Name", "tone", "opj/small", "ab/many", "next"}
    assert "accuracy 0.41→0.87" in lines["tone"]
    found = {it["name"]: it for it in json.loads(command("list", "-o", "json").stdout)}
    assert {it["kind"] for it in found.values()} == {"FineTuneJob", "OptimizeJob", "AdapterBundle"}
    only = command("list", "opj")
    assert "opj/small" in only.stdout
    assert "tone" not in only.stdout
    everywhere = command("list", "-A")
    assert any(namespace in line and "tone" in line for line in everywhere.stdout.splitlines())
    assert "nope is no kind of ours" in command("list", "nope").stderr

    told = command("describe", "tone")
    assert told.returncode == 0, told.stderr
    assert "accuracy" in told.stdout
    assert "Restarted" in told.stdout
    assert "(×3)" in told.stdout
    assert not any(line.startswith("error: forged") for line in told.stdout.splitlines())
    document = json.loads(command("describe", "tone", "-o", "json").stdout)
    assert document["summary"]["outcome"] == "Complete"
    assert [it["reason"] for it in document["events"]] == ["Restarted"]
    assert "✔ Complete" in told.stdout
    assert "next" in command("describe", "next").stdout
    assert command("describe", "gone").returncode == 2


def test_an_empty_namespace_says_so(control_plane: Cluster, namespace: str) -> None:
    done = luthier("list", "-n", namespace, kubeconfig=control_plane.kubeconfig)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"nothing of Luthier's in the namespace {namespace}" in done.stderr
