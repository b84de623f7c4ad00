"""What the chart makes of values: objects, luthier.yaml, rights, pods."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier_api.platform import Platform, parse_platform
from luthier_api.usage import ledger_name
from luthier_operator.config import Election, read_settings

CHART = Path(__file__).resolve().parents[3] / "charts" / "luthier"
Json = dict[str, Any]
Render = Callable[..., list[Json]]

GPU_POOL: Json = {
    "name": "gpu",
    "image": "registry.example.com/trainer-cuda:7",
    "imagePullPolicy": "Always",
    "imagePullSecrets": ["pull"],
    "namespaces": ["team-a"],
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "priorityClassName": "batch",
    "resources": {"requests": {"cpu": 4, "memory": "32Gi"}, "limits": {"memory": "32Gi"}},
    "env": {"OMP_NUM_THREADS": 4},
    "maxGpus": 8,
    "queue": "gpu",
    "queues": ["gpu-urgent"],
    "maxDurationSeconds": 86400,
    "maxRuns": 8,
    "allowed": {"priorities": ["low"]},
    "terminationGracePeriodSeconds": 600,
    "sharedMemory": "8Gi",
    "cacheClaim": "hub-cache",
    "proxy": {"https": "http://proxy.example.com:3128", "noProxy": ".svc"},
    "ca": {"name": "corporate-ca", "key": "ca.crt"},
}
ALL_ON: Json = {
    "luthier": {
        "pools": [{"name": "cpu"}, GPU_POOL],
        "defaultPool": "cpu",
        "storage": {"endpoint": "https://s3.example.com", "region": "eu-1", "secretName": None},
        "namespaces": {
            "*": {"maxRuns": 20, "allowed": {"sources": ["s3://datasets/"], "claims": ["models"]}},
            "team-a": {
                "pool": "gpu",
                "storageSecretName": "team-a-s3",
                "queue": "team-a",
                "maxDurationSeconds": 31_536_000,
                "allowed": {"claims": ["*"]},
            },
        },
    },
    "rbac": {"namespaces": ["team-a", "team-b"]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        "apiServer": {"cidrs": ["10.0.0.1/32"], "ports": [6443]},
    },
    "replicas": 3,
    "leaderElection": {"leaseSeconds": 60, "renewSeconds": 40, "retrySeconds": 5},
    "podLabels": {"team": "ml"},
    "podAnnotations": {"note": "x"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-cluster-critical",
    "image": {
        "repository": "registry.example.com/operator",
        "digest": "sha256:" + "0" * 64,
        "pullSecrets": ["pull"],
    },
}


def named(objects: list[Json], kind: str, name: str = "luthier") -> Json:
    (found,) = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    return found


def platform_of(objects: list[Json]) -> Platform:
    return parse_platform(yaml.safe_load(named(objects, "ConfigMap")["data"]["luthier.yaml"]))


def operator_pod(objects: list[Json]) -> Json:
    pod: Json = named(objects, "Deployment")["spec"]["template"]
    return pod


def test_lint_is_strict_and_silent(helm: Path) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", CHART], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_two_repositories_are_enough(render: Render) -> None:
    objects = render()
    platform = platform_of(objects)
    assert platform.default_pool == "cpu"
    assert platform.pools[0].image == "registry.example.com/trainer:0.1.0"
    assert platform.progress_url == "http://luthier.luthier-system.svc:8090"
    (container,) = operator_pod(objects)["spec"]["containers"]
    assert container["image"] == "registry.example.com/operator:0.1.0"


def test_every_field_of_a_pool_reaches_the_operator(render: Render) -> None:
    platform = platform_of(render(**ALL_ON))
    gpu = platform.pool("gpu")
    assert gpu is not None
    assert gpu.image == "registry.example.com/trainer-cuda:7"
    assert gpu.image_pull_policy == "Always"
    assert gpu.resources.requests == {"cpu": "4", "memory": "32Gi"}
    assert gpu.env == {"OMP_NUM_THREADS": "4"}
    assert gpu.termination_grace_period_seconds == 600
    assert gpu.ca is not None
    assert gpu.ca.name == "corporate-ca"
    assert platform.storage.secret_name is None
    assert platform.for_namespace("team-a").storage_secret_name == "team-a-s3"
    assert platform.for_namespace("team-a").pool == "gpu"


def test_what_a_platform_team_forces_reaches_the_operator(render: Render) -> None:
    platform = platform_of(render(**ALL_ON))
    team, other = platform.for_namespace("team-a"), platform.for_namespace("team-b")
    assert (team.queue, team.max_duration_seconds, team.max_runs) == ("team-a", 31_536_000, 20)
    assert (team.allowed.claims, other.allowed.claims) == (["*"], ["models"])
    assert team.allowed.sources == other.allowed.sources == ["s3://datasets/"]
    gpu = platform.pool("gpu")
    assert gpu is not None
    assert (gpu.queue, gpu.queues, gpu.max_runs) == ("gpu", ["gpu-urgent"], 8)
    assert gpu.max_duration_seconds == 86_400
    assert gpu.allowed.priorities == ["low"]


def test_finished_jobs_go_after_a_week_unless_told(render: Render) -> None:
    assert platform_of(render()).ttl_seconds_after_finished == 604_800
    never = render(luthier={"ttlSecondsAfterFinished": None})
    assert platform_of(never).ttl_seconds_after_finished is None


def test_the_progress_port_of_the_default_url_is_the_services(render: Render) -> None:
    ports = {p["name"]: p["port"] for p in named(render(), "Service")["spec"]["ports"]}
    assert ports == {"metrics": 8080, "progress": 8090}


@pytest.mark.parametrize("values", [{}, ALL_ON], ids=["default", "all on"])
def test_services_and_policies_select_the_operators_pod(render: Render, values: Json) -> None:
    objects = render(**values)
    labels = operator_pod(objects)["metadata"]["labels"].items()
    assert named(objects, "Service")["spec"]["selector"].items() <= labels
    budget = named(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels
    policy = named(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= labels


@pytest.mark.parametrize("values", [{}, ALL_ON], ids=["default", "all on"])
def test_the_pod_passes_the_restricted_level(render: Render, values: Json) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    spec = operator_pod(render(**values))["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert {kind for v in spec["volumes"] for kind in v.keys() - {"name"}} <= {
        "configMap",
        "emptyDir",
    }
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in container["ports"])


@pytest.mark.parametrize("values", [{}, ALL_ON], ids=["default", "all on"])
def test_no_role_holds_a_wildcard_or_reads_secrets(render: Render, values: Json) -> None:
    roles = [o for o in render(**values) if o["kind"] in ("Role", "ClusterRole")]
    assert len(roles) == 7
    for role in roles:
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in words, role["metadata"]["name"]
            assert "secrets" not in words, role["metadata"]["name"]
            assert not {"escalate", "bind", "impersonate"} & set(words)
            assert not {"pods/exec", "nodes", "serviceaccounts/token"} & set(words)


def test_cluster_wide_by_default(render: Render) -> None:
    objects = render()
    (binding,) = [o for o in objects if o["kind"] == "RoleBinding"]
    assert binding["metadata"]["namespace"] == "luthier-system"
    assert binding["roleRef"]["name"] == "luthier-leader"
    assert named(objects, "ClusterRoleBinding", "luthier-operator")
    (container,) = operator_pod(objects)["spec"]["containers"]
    assert "WATCH_NAMESPACES" not in {e["name"] for e in container["env"]}


def test_per_namespace_mode_binds_only_there(render: Render) -> None:
    objects = render(rbac={"namespaces": ["team-a", "team-b"]})
    bound = {
        o["metadata"]["namespace"]: o["roleRef"]["name"]
        for o in objects
        if o["kind"] == "RoleBinding"
    }
    assert bound == {
        "team-a": "luthier-operator",
        "team-b": "luthier-operator",
        "luthier-system": "luthier-leader",
    }
    (everywhere,) = [o for o in objects if o["kind"] == "ClusterRoleBinding"]
    role = named(objects, "ClusterRole", everywhere["roleRef"]["name"])
    assert role["rules"] == [
        {
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["tokenreviews"],
            "verbs": ["create"],
        }
    ]
    (container,) = operator_pod(objects)["spec"]["containers"]
    assert {"name": "WATCH_NAMESPACES", "value": "team-a,team-b"} in container["env"]


def test_by_a_selector_only_namespaces_may_be_read_everywhere(render: Render) -> None:
    selector = "luthier.dev/serve=true"
    objects = render(rbac={"namespaces": ["team-a"], "namespaceSelector": selector})
    bound = [o["metadata"]["namespace"] for o in objects if o["kind"] == "RoleBinding"]
    assert bound == ["team-a", "luthier-system"]
    everywhere = [o["roleRef"]["name"] for o in objects if o["kind"] == "ClusterRoleBinding"]
    assert everywhere == ["luthier-namespaces", "luthier-token-reviewer"]
    assert named(objects, "ClusterRole", "luthier-namespaces")["rules"] == [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]}
    ]
    (container,) = operator_pod(objects)["spec"]["containers"]
    assert {"name": "WATCH_NAMESPACE_SELECTOR", "value": selector} in container["env"]


def environment_of(objects: list[Json]) -> dict[str, str]:
    """The operator's, as the operator of these sources gets it."""
    (container,) = operator_pod(objects)["spec"]["containers"]
    of_pod = {
        "metadata.name": "luthier-0",
        "metadata.namespace": "luthier-system",
        "status.podIP": "10.0.0.5",
    }
    return {
        e["name"]: e["value"] if "value" in e else of_pod[e["valueFrom"]["fieldRef"]["fieldPath"]]
        for e in container["env"]
    }


def test_the_operator_may_write_its_own_lease_and_no_other(render: Render) -> None:
    objects = render()
    election = read_settings(environment_of(objects)).election
    assert election == Election("luthier-system", "luthier", 15, 10, 2)
    lease = named(objects, "Lease", election.name)
    assert lease["metadata"]["namespace"] == election.namespace
    # An upgrade must leave the holder alone.
    assert "spec" not in lease
    leases = [
        rule
        for role in objects
        if role["kind"] in ("Role", "ClusterRole")
        for rule in role["rules"]
        if "leases" in rule["resources"]
    ]
    assert leases == [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [election.name],
            "verbs": ["get", "update"],
        }
    ]


def test_the_operator_may_write_its_ledgers_and_no_other_config_map_of_its_namespace(
    render: Render,
) -> None:
    objects = render()
    months = [f"2026-{month:02}" for month in range(1, 13)]
    names = [ledger_name("luthier", month) for month in months]
    for name in names:
        ledger = named(objects, "ConfigMap", name)
        assert ledger["metadata"]["namespace"] == "luthier-system"
        # Neither an upgrade nor an uninstall may touch what is in it.
        assert ledger.keys() == {"apiVersion", "kind", "metadata"}
        assert ledger["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    for role, verbs in {"luthier-leader": ["get", "update"], "luthier-usage": ["get"]}.items():
        rules = named(objects, "Role", role)["rules"]
        (of_maps,) = [rule for rule in rules if "configmaps" in rule["resources"]]
        assert (of_maps["resourceNames"], of_maps["verbs"]) == (names, verbs)
    bound = [o["roleRef"]["name"] for o in objects if o["kind"] == "RoleBinding"]
    assert "luthier-usage" not in bound


def test_the_leases_times_reach_the_operator(render: Render) -> None:
    settings = read_settings(environment_of(render(**ALL_ON)))
    assert settings.election == Election("luthier-system", "luthier", 60, 40, 5)
    assert (settings.pod_name, settings.pod_ip) == ("luthier-0", "10.0.0.5")


def test_two_replicas_by_default_of_which_one_is_always_ready(render: Render) -> None:
    objects = render()
    deployment = named(objects, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    (spread,) = operator_pod(objects)["spec"]["topologySpreadConstraints"]
    # One node is enough, too.
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    labels = operator_pod(objects)["metadata"]["labels"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    assert named(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


def test_one_replica_needs_its_lease_and_blocks_no_drain(render: Render) -> None:
    objects = render(replicas=1)
    assert named(objects, "Deployment")["spec"]["replicas"] == 1
    assert named(objects, "Lease")
    assert not [o for o in objects if o["kind"] == "PodDisruptionBudget"]


def test_a_change_of_luthier_yaml_starts_a_new_pod_and_another_one_does_not(
    render: Render,
) -> None:
    before = operator_pod(render())
    storage = {"storage": {"endpoint": "https://s3.example.com"}}
    assert operator_pod(render(luthier=storage))["metadata"] != before["metadata"]
    assert operator_pod(render(serviceMonitor={"enabled": True})) == before


def test_crds_are_kept_at_uninstall_and_can_be_left_out(render: Render) -> None:
    crds = [o for o in render() if o["kind"] == "CustomResourceDefinition"]
    assert {c["spec"]["names"]["kind"] for c in crds} == {
        "FineTuneJob",
        "OptimizeJob",
        "AdapterBundle",
    }
    for crd in crds:
        assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    without = render(crds={"enabled": False})
    assert not [o for o in without if o["kind"] == "CustomResourceDefinition"]


def test_people_get_rights_through_kubernetes_own_roles(render: Render) -> None:
    objects = render()
    for level, may in {"view": False, "edit": True, "admin": True}.items():
        role = named(objects, "ClusterRole", f"luthier-{level}")
        label = f"rbac.authorization.k8s.io/aggregate-to-{level}"
        assert role["metadata"]["labels"][label] == "true"
        verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
        assert ("create" in verbs) is may
        assert "get" in verbs
    # To bind by hand they are there all the same.
    alone = named(render(rbac={"aggregate": False}), "ClusterRole", "luthier-edit")
    assert not [label for label in alone["metadata"]["labels"] if "aggregate" in label]
    assert alone["rules"] == named(objects, "ClusterRole", "luthier-edit")["rules"]


def test_two_releases_have_no_name_in_common(helm: Path) -> None:
    def names(release: str) -> set[tuple[str, str]]:
        text = subprocess.check_output(
            [helm, "template", release, CHART, "--namespace", release, "--kube-version", "1.34.4",
             "--set", "crds.enabled=false,image.repository=o,trainerImage.repository=t"],
            text=True, timeout=60,
        )  # fmt: skip
        return {(o["kind"], o["metadata"]["name"]) for o in yaml.safe_load_all(text) if o}

    assert not names("one") & names("two")
