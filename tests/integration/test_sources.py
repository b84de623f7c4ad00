"""What a spec names beside S3: claims, ConfigMaps, code of the user's own, a hub."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from integration.kube import Kube, Obj, now
from integration.kubelet import NODE, Kubelet
from integration.operatorprocess import OperatorProcess
from integration.user import SPEC, User

LOSS = {"configMapRef": {"name": "code", "key": "loss.py"}, "entrypoint": "Loss"}
WITH_LOSS = {"maxSteps": 100, "loss": LOSS}


@pytest.fixture
def trusted(kube: Kube) -> Iterator[User]:
    """Somebody in the namespace that luthier.yaml trusts with code of its own."""
    kube.create("namespaces", None, {"metadata": {"name": "trusted"}})
    yield User(kube, "trusted")
    kube.delete("namespaces", None, "trusted")


def test_code_needs_consent(operator: OperatorProcess, user: User) -> None:
    user.create(training=WITH_LOSS)
    stalled = user.sees("Stalled", "True", "CustomCodeNotAllowed")
    assert "spec.training.loss" in stalled["message"]
    assert "consent.customCode" in stalled["message"]
    user.sees("Ready", "False", "CustomCodeNotAllowed")
    assert not user.jobs()
    # It heals with the spec.
    user.change(training={"loss": None})
    user.job()
    user.sees("Stalled", "False")


def test_code_with_consent_is_mounted(operator: OperatorProcess, trusted: User) -> None:
    script = {"configMapRef": {"name": "measure", "key": "eval.py"}, "entrypoint": "evaluate_model"}
    trusted.create(training=WITH_LOSS, evaluation={"script": script})
    mounted = _mounted(trusted.job())
    for name, key in (("code", "loss.py"), ("measure", "eval.py")):
        source = mounted[f"/etc/luthier/configmaps/{name}"]["configMap"]
        assert source["name"] == name
        assert source["items"] == [{"key": key, "path": key}]
        assert not source.get("optional")


def test_claims_config_maps_and_the_hub(operator: OperatorProcess, user: User) -> None:
    user.create(
        model={"uri": "pvc://models/smollm2"},
        dataset=SPEC["dataset"]
        | {"uri": "configmap://rows/train.csv", "mix": [{"uri": "hf://owner/more"}]},
    )
    job = user.job()
    mounted = _mounted(job)
    claim = mounted["/var/lib/luthier/claims/models"]["persistentVolumeClaim"]
    assert claim == {"claimName": "models", "readOnly": True}
    rows = mounted["/etc/luthier/configmaps/rows"]["configMap"]
    assert rows["items"] == [{"key": "train.csv", "path": "train.csv"}]
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    order = json.loads(annotations["luthier.dev/runspec"])
    assert order["hubEndpoint"] == "http://hub.invalid"
    assert order["fineTuning"]["model"]["uri"] == "pvc://models/smollm2"


def test_a_missing_claim_is_told_by_the_scheduler(operator: OperatorProcess, user: User) -> None:
    user.create(model={"uri": "pvc://models/smollm2"})
    held = user.sees("Scheduled", "False", "ClaimNotFound")
    assert 'persistentvolumeclaim "models" not found' in held["message"]
    assert "Create it" in held["message"]


def test_a_missing_config_map_is_told_by_the_kubelet(
    operator: OperatorProcess, user: User, kubelet: Kubelet, kube: Kube
) -> None:
    user.create(dataset=SPEC["dataset"] | {"uri": "configmap://rows/train.csv"})
    name = user.job()["metadata"]["name"]
    pod = kubelet.wait(name, "ContainerCreating", "")
    words = 'MountVolume.SetUp failed for volume "config-map-0" : configmap "rows" not found'
    kube.create("events", user.namespace, _warning(pod, "FailedMount", words))
    held = user.sees("Scheduled", "False", "ConfigMapNotFound")
    assert words in held["message"]
    assert "Create it in the namespace" in held["message"]
    kubelet.run(name)
    user.sees("Scheduled", "True")


def _mounted(job: Obj) -> dict[str, Obj]:
    """Volume by the path that it is mounted at, read-only."""
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = pod["containers"][0]["volumeMounts"]
    return {it["mountPath"]: volumes[it["name"]] for it in mounts if it.get("readOnly")}


def _warning(pod: Obj, reason: str, message: str) -> dict[str, Any]:
    """An Event as the kubelet writes it."""
    metadata = pod["metadata"]
    regarding = {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"]}
    return {
        "metadata": {"generateName": "mount-", "namespace": metadata["namespace"]},
        "regarding": {**regarding, "uid": metadata["uid"], "apiVersion": "v1"},
        "type": "Warning",
        "reason": reason,
        "action": "Mounting",
        "note": message,
        "eventTime": now().replace("Z", ".000000Z"),
        "reportingController": "kubelet",
        "reportingInstance": NODE,
    }
