"""The local cluster itself: nodes side by side, what pods can and can't do, faults, no traces."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from luthier_cluster import (
    Cluster,
    ComponentError,
    binaries,
    host_files,
    images,
    processes,
    record,
    s3,
    supervise,
    wait,
)
from luthier_cluster.layout import Layout
from luthier_demo.tenant import create

NAME = f"t-{os.getpid()}"
# What a pod hears from the servers behind S3, which would ask it for no credentials.
REFUSED = "filer: <urlopen error [Errno 111] Connection refused>"
SECURE = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod(name: str, namespace: str, command: list[str], **container: Any) -> dict[str, Any]:
    """A pod that `restricted` lets pass, with this machine's project folders in it."""
    mounts = host_files.volume_mounts(host_files.project_folders())
    main = {
        "name": "main",
        "image": images.HOST_ROOT,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": SECURE,
        "volumeMounts": [*mounts, {"name": "tmp", "mountPath": "/tmp"}],
        **container,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [main],
            "volumes": [*host_files.volumes(), {"name": "tmp", "emptyDir": {}}],
        },
    }


def apply(cluster: Cluster, *items: dict[str, Any]) -> None:
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    cluster.kubectl("apply", "--filename=-", input=manifest)


def tenant(cluster: Cluster, name: str) -> None:
    """A namespace that enforces `restricted`, with the machine's folders to mount."""
    create(cluster, name)
    where = f"--namespace={name}"
    cluster.kubectl("wait", where, "serviceaccount/default", "--for=create", "--timeout=30s")


def succeeded(cluster: Cluster, name: str, namespace: str, within: int = 120) -> str:
    """The log of a pod, once it has ended well."""
    where = f"--namespace={namespace}"
    done = "--for=jsonpath={.status.phase}=Succeeded"
    waited = cluster.kubectl(
        "wait", f"pod/{name}", where, done, f"--timeout={within}s", within=within + 30, check=False
    )
    log = cluster.kubectl("logs", name, where, check=False).stdout
    said = cluster.kubectl("describe", "pod", name, where, check=False).stdout
    assert waited.returncode == 0, f"{waited.stderr}\n{log}\n{said}"
    return log


@pytest.fixture(scope="module")
def node() -> Iterator[Cluster]:
    with Cluster(f"{NAME}-n", "full") as cluster:
        tenant(cluster, "tenant")
        yield cluster


@pytest.fixture(scope="module")
def plane() -> Iterator[Cluster]:
    with Cluster(f"{NAME}-p", "control-plane") as cluster:
        yield cluster


def host_firewall() -> str:
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in rules.splitlines() if not line.startswith(("#", ":")))


def traces(layout: Layout) -> list[str]:
    """Whatever on this machine still belongs to a cluster."""
    name = layout.name
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if processes.start_time(int(process.name)) is None:
            continue  # a zombie, about to be reaped
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
            belongs = f"/{name}/" in command or f"/luthier-{name}" in command
            if belongs or f"/luthier-{name}/" in (process / "cgroup").read_text():
                found.append(f"process {process.name}: {command[:100]}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if f"/{name}/" in line or f"-{name} " in line]
    folders = [Path("/var/lib/luthier/clusters", name), Path("/run/luthier", name)]
    folders.append(Path("/run/netns", f"luthier-{name}"))
    # Another cluster, of another test run, may have got the number since.
    others = [record.read(other) for other in record.names() if other != name]
    if layout.number not in [other.number for other in others if other]:
        folders += [Path("/sys/class/net", layout.link), *s3.sockets(layout.number)]
    # Directly below each hierarchy's root. No walk: a cgroup that ends meanwhile would break it.
    for pattern in (f"luthier-{name}", f"*/luthier-{name}"):
        folders += Path("/sys/fs/cgroup").glob(pattern)
    found += [str(folder) for folder in folders if folder.exists()]
    logs = Path("/var/log/containers")
    found += [str(log) for log in logs.glob("*") if f"/{name}/" in str(log.readlink())]
    found += [str(file) for file in Path("/var/lib/cni/results").glob(f"luthier-{name}-*")]
    return found


def test_two_nodes_side_by_side_keep_their_pods_and_leave_no_trace() -> None:
    firewall = host_firewall()
    clusters = [Cluster(f"{NAME}-a", "full"), Cluster(f"{NAME}-b", "full")]
    try:
        for cluster in clusters:
            cluster.up()
            tenant(cluster, "tenant")
            say = f"echo begin {cluster.name}; sleep 60; echo end {cluster.name}"
            for_ever = ["/bin/sh", "-c", "sleep 100000"]
            apply(
                cluster,
                pod("minute", "tenant", ["/bin/sh", "-c", say]),
                pod("for-ever", "tenant", for_ever),
            )
        for cluster in clusters:
            log = succeeded(cluster, "minute", "tenant")
            assert log == f"begin {cluster.name}\nend {cluster.name}\n"
            cluster.kubectl("wait", "pod/for-ever", "--namespace=tenant", "--for=condition=Ready")
            cluster.check()
        was = [cluster.layout for cluster in clusters]
        assert all(traces(one) for one in was)
        sockets = [
            Path(file.read_text().removeprefix("unix://"))
            for cluster in clusters
            for file in cluster.layout.run.glob("containerd/*/*/*/address")
        ]
        assert sockets
        assert all(socket.exists() for socket in sockets)
    finally:
        for cluster in clusters:
            cluster.down()
    assert [traces(one) for one in was] == [[], []]
    assert not any(socket.exists() for socket in sockets)
    assert host_firewall() == firewall


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


@pytest.mark.parametrize("finished", [True, False], ids=["finished by the next", "taken away"])
def test_an_interrupted_start_is_finished_by_the_next_or_taken_away(
    tmp_path: Path, finished: bool
) -> None:
    name = f"{NAME}-i"
    command = [sys.executable, "-m", "luthier_cluster", "{}", "--name", name]
    up = [word.format("up") for word in command] + ["--flavour", "control-plane"]
    log = tmp_path / "log"
    try:
        with log.open("w") as stream:
            started = subprocess.Popen(up, stderr=stream)
        try:
            await_first(started, lambda: "network, credentials" in log.read_text())
            layout = Cluster(name).layout
            await_first(started, supervise.pid_file(layout, "etcd").exists)
        finally:
            started.kill()
            started.wait(30)
        assert supervise.running(layout, "etcd")
        if finished:
            subprocess.run(up, check=True, timeout=120)
            Cluster(name).check()
    finally:
        subprocess.run([word.format("down") for word in command], check=True, timeout=120)
    assert traces(layout) == []


def await_first(process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Until `holds()`, before the process ends. The machine's first start builds programs."""
    assert wait.until(lambda: holds() or process.poll() is not None, 300, every=0.02)
    assert process.poll() is None
