"""Command lines and configuration as data."""

import csv
import json
import tomllib
from pathlib import Path

import pytest

from luthier_cluster import access, components, dns, node_config, record, s3
from luthier_cluster.components import Programs
from luthier_cluster.layout import Layout

LAYOUT = Layout("demo", 7)
PROGRAMS = Programs(Path("/k"), Path("/weed"), Path("/coredns"), Path("/pause"))
ALL = [*components.control_plane(LAYOUT, PROGRAMS), *components.node(LAYOUT, PROGRAMS)]


def test_the_names_are_those_of_the_components() -> None:
    assert tuple(component.name for component in ALL) == components.names("full")
    assert components.names("control-plane") == components.names("full")[:5]


@pytest.mark.parametrize("component", ALL, ids=lambda component: component.name)
def test_nothing_of_a_component_points_into_another_cluster(
    component: components.Component,
) -> None:
    other = Layout("other", 8)
    moved = [*components.control_plane(other, PROGRAMS), *components.node(other, PROGRAMS)]
    twin = next(one for one in moved if one.name == component.name)
    assert component.health != twin.health
    for own in ("clusters/demo", "10.89.7."):
        assert not any(own in word for word in twin.command)


def test_no_secret_is_on_a_command_line() -> None:
    secret = record.Record(7, "full", "AK1", "secret", dict.fromkeys(record.IDENTITIES, "token"))
    words = [word for component in ALL for word in component.command]
    assert not any(value in word for word in words for value in (secret.s3_secret_key, "AK1"))
    assert not any("token=" in word for word in words)


def test_every_identity_has_a_user_and_a_token() -> None:
    tokens = {identity: f"t-{identity}" for identity in record.IDENTITIES}
    rows = list(csv.reader(access.token_table("demo", tokens).splitlines()))
    assert {row[2]: row[0] for row in rows} == tokens
    assert ["t-kubelet", "system:node:demo", "kubelet", "system:nodes"] in rows


def test_kubeconfig_names_its_one_context() -> None:
    content = access.kubeconfig("demo", LAYOUT.api_server, b"CA", "secret")
    assert content["current-context"] == "demo"
    assert json.loads(json.dumps(content))["clusters"][0]["cluster"] == {
        "server": "https://10.89.7.2:6443",
        "certificate-authority-data": "Q0E=",
    }


def test_containerd_keeps_to_its_own_folders() -> None:
    config = tomllib.loads(node_config.containerd(LAYOUT))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    runc = cri["containerd"]["runtimes"]["runc"]["options"]
    paths = [config["root"], config["state"], cri["cni"]["conf_dir"], runc["Root"]]
    assert all("/demo/" in f"{path}/" for path in paths)
    assert cri["netns_mounts_under_state_dir"] is True


def test_kubelet_clears_only_its_own_cgroups_and_logs() -> None:
    config = json.loads(node_config.kubelet(LAYOUT))
    assert config["cgroupRoot"] == "/luthier-demo"
    assert config["podLogsDir"] == str(LAYOUT.state / "pod-logs")
    assert config["authentication"]["anonymous"] == {"enabled": False}


def test_dns_is_reachable_at_the_address_that_pods_are_told() -> None:
    told = json.loads(node_config.kubelet(LAYOUT))["clusterDNS"]
    items = {item["kind"]: item for item in json.loads(dns.manifests(LAYOUT))["items"]}
    assert [items["Service"]["spec"]["clusterIP"]] == told
    assert items["EndpointSlice"]["endpoints"] == [{"addresses": [LAYOUT.address]}]
    assert f"bind {LAYOUT.address}" in dns.corefile(LAYOUT)


def test_no_two_clusters_share_a_port_of_their_s3() -> None:
    taken = [port for number in range(1, 255) for port in s3.ports(number).values()]
    assert len(taken) == len(set(taken))
    # Below the kernel's ephemeral ports and outside of Kubernetes' node ports.
    assert max(taken) < 30000
    sockets = [socket for number in (1, 2) for socket in s3.sockets(number)]
    assert len(sockets) == len(set(sockets)) == 10


@pytest.mark.parametrize(
    ("servers", "on_disk", "ready"),
    [
        ({}, [], False),
        ({"a:1": None}, [], True),
        ({"a:1": None}, ["1"], False),
        ({"a:1": [{"Id": 2}], "b:1": [{"Id": 7}]}, ["own_2", "a_b_7"], True),
        ({"a:1": [{"Id": 2}], "b:1": [{"Id": 7}]}, ["own_2", "own_4"], False),
    ],
)
def test_s3_is_ready_once_the_volumes_on_disk_are_known(
    servers: dict[str, list[dict[str, int]] | None], on_disk: list[str], ready: bool
) -> None:
    status = {"Volumes": {"DataCenters": {"center": {"rack": servers}}}}
    assert s3.has_volumes(json.dumps(status), on_disk) is ready


def test_s3_without_a_volume_server_is_not_ready() -> None:
    assert not s3.has_volumes('{"Volumes": {"DataCenters": null}}', [])


def test_s3_knows_one_identity_and_makes_no_bucket_by_itself() -> None:
    (identity,) = json.loads(s3.identities("AK", "SK"))["identities"]
    assert identity["credentials"] == [{"accessKey": "AK", "secretKey": "SK"}]
    assert "-s3.autoCreateBucket=false" in s3.command(LAYOUT, Path("/weed"), Path("/t"))
