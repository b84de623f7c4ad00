"""`luthier validate` against a real API server, and what it says without one."""

import json
from pathlib import Path

import pytest
from unit.cli.command import fine_tune_job, luthier

from luthier_cluster import Cluster

WRONG = """\
apiVersion: luthier.dev/v1alpha1
kind: FineTuneJob
metadata: {name: tone}
spec:
  model: {uri: s3://models/smollm2}
  task: classification
  dataset:
    uri: s3://datasets/phrases.jsonl
    template: "{phrase} {tone}"
    evalFraction: 2
    shuffel: true
  training:
    maxSteps: "5"
  output: {uri: s3://artifacts/models}
"""


def test_every_mistake_with_its_line(control_plane: Cluster) -> None:
    done = luthier("validate", "-", "-o", "json", kubeconfig=control_plane.kubeconfig, stdin=WRONG)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    found = {(f["line"], f["field"]): f for f in report["findings"]}
    assert found.keys() == {
        (10, "spec.dataset.evalFraction"),
        (11, "spec.dataset.shuffel"),
        (13, "spec.training.maxSteps"),
    }
    assert "must be of type integer" in found[13, "spec.training.maxSteps"]["message"]
    assert "cluster at https://" in report["checkedAgainst"]


def test_other_names_of_fields_have_the_hint_that_they_have_offline(
    control_plane: Cluster,
) -> None:
    text = WRONG.replace("    shuffel: true\n", "    mix: [{uri: s3://a/b.csv, wait: 1}]\n")
    text = text.replace('maxSteps: "5"', "max_steps: 5\n    per_device_train_batch_size: 4")
    text = text.replace("{name: tone}", "{name: tone, nmespace: x}")
    text = text.replace("s3://models/smollm2", "meta-llama/Llama-3")
    done = luthier("validate", "-", "-o", "json", kubeconfig=control_plane.kubeconfig, stdin=text)
    found = {it["field"]: it["remedy"] for it in json.loads(done.stdout)["findings"]}
    assert found["metadata.nmespace"] == "did you mean namespace?"
    assert found["spec.dataset.mix[0].wait"] == "did you mean weight?"
    assert found["spec.training.max_steps"] == "did you mean maxSteps?"
    assert found["spec.training.per_device_train_batch_size"] == "did you mean perDeviceBatchSize?"
    assert found["spec.model.uri"] == "did you mean hf://meta-llama/Llama-3?"


def test_what_a_platform_does_not_allow_beside_what_the_server_says(
    control_plane: Cluster, tmp_path: Path
) -> None:
    platform = tmp_path / "luthier.yaml"
    platform.write_text(
        "defaultPool: cpu\npools: [{name: cpu, image: trainer:1, namespaces: [default]}]\n"
        "namespaces: {default: {allowed: {outputs: ['s3://theirs/']}}}\n"
    )
    valid = WRONG.replace("    shuffel: true\n", "").replace('"5"', "5").replace(": 2\n", ": 0.5\n")
    found = []
    for namespace, text in (("default", valid), ("kube-public", valid), ("default", WRONG)):
        done = luthier(
            *("validate", "-", "-o", "json", "--platform", str(platform), "-n", namespace),
            kubeconfig=control_plane.kubeconfig,
            stdin=text,
        )
        report = json.loads(done.stdout)
        assert "cluster at https://" in report["checkedAgainst"]
        assert f"{platform} (namespace {namespace} where" in report["checkedAgainst"]
        found.append([it["field"] for it in report["findings"]])
    assert found[:2] == [["spec.output.uri"], ["spec.placement.pool"]]
    assert "spec.dataset.shuffel" in found[2]
    assert "spec.output.uri" not in found[2], "first what is wrong in itself"


def test_rules_with_their_line(control_plane: Cluster) -> None:
    text = WRONG.replace("    shuffel: true\n", "").replace('"5"', "5\n    epochs: 1")
    text = text.replace("evalFraction: 2", "evalFraction: 0.1")
    done = luthier("validate", "-", kubeconfig=control_plane.kubeconfig, stdin=text)
    assert done.returncode == 1
    assert "-:13: spec.training.epochs: maxSteps and epochs exclude each other" in done.stdout


def test_a_stored_resource_is_valid_and_nothing_is_stored(
    control_plane: Cluster, namespace: str
) -> None:
    manifest = json.dumps(fine_tune_job("tone", namespace))
    for _ in range(2):
        done = luthier("validate", "-", kubeconfig=control_plane.kubeconfig, stdin=manifest)
        assert (done.returncode, done.stderr) == (0, "")
        listed = control_plane.kubectl("get", "ftj", "-n", namespace, "-o", "name").stdout
        if not listed:
            control_plane.kubectl("apply", "-f", "-", input=manifest)


def test_an_unknown_namespace(control_plane: Cluster) -> None:
    manifest = json.dumps(fine_tune_job("tone", "nowhere"))
    done = luthier("validate", "-", kubeconfig=control_plane.kubeconfig, stdin=manifest)
    assert done.returncode == 1
    assert "metadata.namespace: the namespace nowhere doesn't exist → create it" in done.stdout


def kubeconfig_as(tmp_path: Path, cluster: Cluster, old: str, new: str) -> Path:
    """The cluster's kubeconfig with a replacement."""
    file = tmp_path / "kubeconfig"
    text = Path(cluster.kubeconfig).read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


@pytest.mark.parametrize("command", [("watch", "tone"), ("retry", "tone"), ("logs", "tone")])
def test_names_that_are_not_there(
    control_plane: Cluster, namespace: str, command: tuple[str, ...]
) -> None:
    done = luthier(*command, "-n", namespace, kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 2
    assert f"no FineTuneJob tone in the namespace {namespace}" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_cluster_at_all() -> None:
    done = luthier("watch", "tone")
    assert done.returncode == 2
    assert "no cluster is configured" in done.stderr
    assert "--kubeconfig" in done.stderr


def test_a_cluster_that_does_not_answer(control_plane: Cluster, tmp_path: Path) -> None:
    dead = kubeconfig_as(tmp_path, control_plane, ":6443", ":6444")
    done = luthier("validate", "-", kubeconfig=dead, stdin=json.dumps(fine_tune_job("a", "b")))
    assert done.returncode == 2
    assert "can't reach the cluster at https://" in done.stderr
    assert "Connection refused" in done.stderr


def test_a_context_that_is_not_there(control_plane: Cluster) -> None:
    done = luthier("watch", "a", "--context", "other", kubeconfig=control_plane.kubeconfig)
    assert done.returncode == 2
    assert "no context 'other'" in done.stderr
    assert "there are: " in done.stderr


def test_forbidden(control_plane: Cluster, namespace: str, tmp_path: Path) -> None:
    control_plane.kubectl("create", "serviceaccount", "nobody", "-n", namespace)
    token = control_plane.kubectl("create", "token", "nobody", "-n", namespace).stdout.strip()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(Path(control_plane.kubeconfig).read_text())
    for arguments in (
        ("set-credentials", "nobody", f"--token={token}"),
        ("set-context", "--current", "--user=nobody", f"--namespace={namespace}"),
    ):
        control_plane.kubectl("config", f"--kubeconfig={kubeconfig}", *arguments)
    done = luthier("watch", "tone", kubeconfig=kubeconfig)
    assert done.returncode == 2
    assert 'cannot get resource "finetunejobs" in API group "luthier.dev"' in done.stderr
    assert f"ask for rights on luthier.dev in the namespace {namespace}" in done.stderr
