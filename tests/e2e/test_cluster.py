"""The local cluster itself: what pods can and can't do, faults of its components, its S3."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from clusters import own
from e2e.pods import apply, pod, succeeded, tenant

from luthier_cluster import Cluster, ComponentError, binaries, images, processes, s3, supervise

# What a pod hears from the servers behind S3, which would ask it for no credentials.
REFUSED = "filer: <urlopen error [Errno 111] Connection refused>"


@pytest.fixture(scope="module")
def node() -> Iterator[Cluster]:
    with Cluster(own("node"), "full") as cluster:
        tenant(cluster, "tenant")
        yield cluster


@pytest.fixture(scope="module")
def plane() -> Iterator[Cluster]:
    with Cluster(own("plane"), "control-plane") as cluster:
        yield cluster


def test_a_restricted_pod_runs_the_projects_environment(node: Cluster) -> None:
    filer = s3.ports(node.layout.number)["filer.port"]
    code = f"""
import os, socket, urllib.request
import torch
print(torch.ones(2).sum().item(), os.getuid())
print(socket.gethostbyname("kubernetes.default.svc.cluster.local"))
print(urllib.request.urlopen("{node.s3_endpoint}/healthz", timeout=10).status)
try:
    urllib.request.urlopen("http://{node.address}:{filer}/", timeout=10)
except OSError as error:
    print("filer:", error)
for folder in ("/", "/usr", "{sys.prefix}"):
    print(folder, "read-only" if os.statvfs(folder).f_flag & os.ST_RDONLY else "writable")
"""
    limits = {"limits": {"memory": "2Gi", "cpu": "1"}, "requests": {"cpu": "100m"}}
    command = [f"{sys.prefix}/bin/python", "-c", code]
    apply(node, pod("torch", "tenant", command, resources=limits))
    log = succeeded(node, "torch", "tenant")
    read_only = [f"{folder} read-only" for folder in ("/", "/usr", sys.prefix)]
    assert log.splitlines() == ["2.0 65532", "10.96.0.1", "200", REFUSED, *read_only]


def test_a_pod_that_mounts_the_machine_itself_is_refused(node: Cluster) -> None:
    direct = pod("direct", "tenant", ["/bin/true"])
    direct["spec"]["volumes"][0] = {"name": "host-files", "hostPath": {"path": "/"}}
    refused = node.kubectl("apply", "--filename=-", input=json.dumps(direct), check=False)
    assert "restricted volume types" in refused.stderr


def test_an_imported_image_runs_without_a_registry(node: Cluster, tmp_path: Path) -> None:
    program = binaries.ensure(binaries.PAUSE).read_bytes()
    content = images.layer({}, {}, {"program": (program, 0o755)})
    archive = tmp_path / "image.tar"
    tag = "luthier.local/imported:1"
    archive.write_bytes(images.docker_archive(tag, content, {"Entrypoint": ["/program"]}))
    node.import_image(archive)
    imported = pod("imported", "tenant", ["/program"], image=tag, imagePullPolicy="IfNotPresent")
    apply(node, imported)
    node.kubectl(
        "wait", "pod/imported", "--namespace=tenant", "--for=condition=Ready", "--timeout=30s"
    )


def test_pods_outlive_a_restart_of_every_node_component(node: Cluster) -> None:
    apply(node, pod("survivor", "tenant", ["/bin/sh", "-c", "echo still here; sleep 100000"]))
    survivor = ("pod/survivor", "--namespace=tenant")
    node.kubectl("wait", *survivor, "--for=condition=Ready", "--timeout=30s")
    uid = node.kubectl("get", *survivor, "--output=jsonpath={.metadata.uid}").stdout
    sleeper = processes.in_pod(uid, "100000")
    for component in ("kubelet", "containerd", "kube-proxy", "coredns"):
        before = node.pid(component)
        node.kill(component)
        assert node.pid(component) is None
        node.start(component)
        assert node.pid(component) != before
    node.kubectl("wait", *survivor, "--for=condition=Ready", "--timeout=60s")
    # The node works on, and has by then settled what to do with the pods that it found.
    apply(node, pod("newcomer", "tenant", ["/bin/sh", "-c", "echo welcome"]))
    assert succeeded(node, "newcomer", "tenant") == "welcome\n"
    assert processes.in_pod(uid, "100000") == sleeper


def test_a_token_speaks_only_to_the_audience_that_it_was_made_for(plane: Cluster) -> None:
    plane.kubectl("create", "serviceaccount", "speaker")
    token = plane.kubectl("create", "token", "speaker", "--audience=reports").stdout

    def reviewed(audience: str) -> dict[str, Any]:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        command = ("create", "--filename=-", "--output=json")
        answer: dict[str, Any] = json.loads(
            plane.kubectl(*command, input=json.dumps(review)).stdout
        )
        return answer["status"]

    assert reviewed("reports")["user"]["username"] == "system:serviceaccount:default:speaker"
    assert not reviewed("somebody-else").get("authenticated")


def test_a_component_that_dies_is_reported_with_its_last_words_and_healed(plane: Cluster) -> None:
    scheduler = "kube-scheduler"
    plane.kill(scheduler)
    with pytest.raises(ComponentError, match="kube-scheduler doesn't run"):
        plane.check()

    kubeconfig = plane.layout.component_kubeconfig(scheduler)
    kubeconfig.write_text("neither JSON nor YAML: {")
    with pytest.raises(ComponentError, match="kube-scheduler has died") as died:
        plane.start(scheduler)
    assert died.value.component == scheduler
    assert "error loading config file" in str(died.value)
    assert plane.logs(scheduler, 1).splitlines()[-1] in str(died.value)

    pids = {name: plane.pid(name) for name in plane.components if name != scheduler}
    plane.up()
    plane.check()
    assert pids == {name: plane.pid(name) for name in pids}


def test_a_component_that_an_up_started_and_did_not_note_is_replaced(plane: Cluster) -> None:
    """As when `up` is killed between the two: it would hold the ports for ever."""
    orphan = plane.pid("kube-scheduler")
    supervise.pid_file(plane.layout, "kube-scheduler").unlink()
    plane.up()
    assert plane.pid("kube-scheduler") not in (None, orphan)
    assert orphan is not None
    assert processes.start_time(orphan) is None


def test_objects_and_the_address_outlive_the_api_server(plane: Cluster) -> None:
    plane.kubectl("create", "configmap", "kept")
    plane.kill("kube-apiserver")
    plane.kill("etcd")
    plane.start("etcd")
    plane.start("kube-apiserver")
    assert "kept" in plane.kubectl("get", "configmap", "kept", "--output=name").stdout


def bucket_client(cluster: Cluster, **other: str) -> Any:
    keys = {
        "aws_access_key_id": cluster.s3_access_key,
        "aws_secret_access_key": cluster.s3_secret_key,
    }
    return boto3.client(
        "s3",
        endpoint_url=cluster.s3_endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        **{**keys, **other},
    )


def test_each_cluster_has_an_s3_of_its_own_that_keeps_what_it_took(
    node: Cluster, plane: Cluster
) -> None:
    clusters = (node, plane)
    for cluster in clusters:
        client = bucket_client(cluster)
        client.create_bucket(Bucket="own")
        client.put_object(Bucket="own", Key="name", Body=cluster.name.encode() * 10_000)
    plane.kill("s3")
    plane.start("s3")
    for cluster in clusters:
        body = bucket_client(cluster).get_object(Bucket="own", Key="name")["Body"].read()
        assert body == cluster.name.encode() * 10_000
    bucket_client(plane).put_object(Bucket="own", Key="after", Body=b"1")


@pytest.fixture(scope="module")
def guarded(plane: Cluster) -> Cluster:
    bucket_client(plane).create_bucket(Bucket="guarded")
    return plane


@pytest.mark.parametrize(
    ("bucket", "other", "code"),
    [
        ("missing", {}, "NoSuchBucket"),
        ("guarded", {"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
        ("guarded", {"aws_access_key_id": "nobody"}, "InvalidAccessKeyId"),
    ],
)
def test_s3_refuses_as_others_do(
    guarded: Cluster, bucket: str, other: dict[str, str], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        bucket_client(guarded, **other).put_object(Bucket=bucket, Key="key", Body=b"1")
    assert refused.value.response["Error"]["Code"] == code
