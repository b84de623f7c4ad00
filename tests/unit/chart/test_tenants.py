"""What the chart lets tenants see and do to the operator."""

from collections.abc import Callable
from typing import Any

import pytest
from cel.cel import Context, evaluate

from luthier_operator.resources import KIND_LABEL

Json = dict[str, Any]
Render = Callable[..., list[Json]]


METRICS, HEALTH, PROGRESS = 8080, 8081, 8090


def ingress(objects: list[Json]) -> dict[int, Json]:
    """The rules of the operator's NetworkPolicy, by port; there is no other one."""
    (policy,) = [it for it in objects if it["kind"] == "NetworkPolicy"]
    assert "Ingress" in policy["spec"]["policyTypes"]
    rules = {port["port"]: rule for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert len(policy["spec"]["ingress"]) == len(rules)
    return rules


def test_each_port_of_the_operator_has_a_rule_and_no_other_is_open(render: Render) -> None:
    objects = render()
    (deployment,) = [it for it in objects if it["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    ports = {port["containerPort"] for port in container["ports"]}
    assert ingress(objects).keys() == ports == {METRICS, HEALTH, PROGRESS}
    # A probe comes from the node, which has no labels.
    assert "from" not in ingress(objects)[HEALTH]


def test_only_the_operators_namespace_scrapes_unless_told(render: Render) -> None:
    assert ingress(render())[METRICS]["from"] == [{"podSelector": {}}]
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "m"}}}
    told = render(networkPolicy={"metricsFrom": [monitoring]})
    assert ingress(told)[METRICS]["from"] == [monitoring]


def test_only_pods_of_runs_reach_the_receiver(render: Render) -> None:
    """One peer: pods with the label that the operator gives them, of the served namespaces."""
    ours = {"matchExpressions": [{"key": KIND_LABEL, "operator": "Exists"}]}
    (everywhere,) = ingress(render())[PROGRESS]["from"]
    assert everywhere == {"podSelector": ours, "namespaceSelector": {}}
    (named,) = ingress(render(rbac={"namespaces": ["team-a", "team-b"]}))[PROGRESS]["from"]
    where = {"key": "kubernetes.io/metadata.name", "operator": "In"}
    assert named == {
        "podSelector": ours,
        "namespaceSelector": {
            "matchExpressions": [where | {"values": ["team-a", "team-b"]}],
        },
    }


LABELS: list[dict[str, str]] = [
    {},
    {"serve": "true"},
    {"serve": "false"},
    {"serve": "true", "tier": "gold"},
    {"tier": "gold"},
    {"tier": "lead", "kubernetes.io/metadata.name": "team-a"},
    {"example.com/a.b_c-d": ""},
]


def holds(selector: Json, labels: dict[str, str]) -> bool:
    """As the API server understands a label selector."""
    assert selector.keys() <= {"matchExpressions"}
    for it in selector.get("matchExpressions", []):
        value = labels.get(it["key"])
        match it["operator"]:
            case "In":
                fits = value in it["values"]
            case "NotIn":
                fits = value not in it["values"]
            case "Exists":
                fits = value is not None
            case operator:
                assert operator == "DoesNotExist"
                fits = value is None
        if not fits:
            return False
    return True


@pytest.mark.parametrize(
    ("rbac", "wanted"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6]),
        ({"namespaceSelector": "serve=true"}, [1, 3]),
        ({"namespaceSelector": "serve == true, tier"}, [3]),
        ({"namespaceSelector": "serve!=true"}, [0, 2, 4, 5, 6]),
        ({"namespaceSelector": "tier in (gold, lead),serve"}, [3]),
        ({"namespaceSelector": "tier notin (gold,silver)"}, [0, 1, 2, 5, 6]),
        ({"namespaceSelector": "!serve , !tier"}, [0, 6]),
        ({"namespaceSelector": "example.com/a.b_c-d="}, [6]),
        ({"namespaces": ["team-a"]}, [5]),
        ({"namespaces": ["team-a"], "namespaceSelector": "serve=true"}, [1, 3, 5]),
    ],
)
def test_the_receiver_is_reached_from_the_namespaces_that_are_served(
    render: Render, rbac: Json, wanted: list[int]
) -> None:
    ours = {"matchExpressions": [{"key": KIND_LABEL, "operator": "Exists"}]}
    peers = ingress(render(rbac=rbac))[PROGRESS]["from"]
    assert all(it["podSelector"] == ours for it in peers)
    reach = [
        number
        for number, labels in enumerate(LABELS)
        if any(holds(it["namespaceSelector"], labels) for it in peers)
    ]
    assert reach == wanted


@pytest.mark.parametrize(
    "selector", ["a in (b) c", "a in (b", "a=b,,c", "a b", "a>1", "=a", "a in b", "a=b=c", ","]
)
def test_a_selector_that_says_nothing_is_refused(render: Render, selector: str) -> None:
    with pytest.raises(ValueError, match=r"rbac\.namespaceSelector: .* isn't a selector"):
        render(rbac={"namespaceSelector": selector})


def policies(objects: list[Json]) -> dict[str, Json]:
    return {
        it["metadata"]["name"]: it["spec"]
        for it in objects
        if it["kind"] == "ValidatingAdmissionPolicy"
    }


def bounds(objects: list[Json]) -> list[Json]:
    """Of the policies those that bound metadata."""
    return [spec for name, spec in policies(objects).items() if name != "luthier-created-by"]


def test_the_metadata_of_all_that_the_operator_reads_is_bounded(render: Render) -> None:
    objects = render()
    specs = policies(objects)
    bound = {
        it["spec"]["policyName"]
        for it in objects
        if it["kind"] == "ValidatingAdmissionPolicyBinding"
    }
    assert bound == specs.keys()
    read = {
        resource
        for spec in specs.values()
        for rule in spec["matchConstraints"]["resourceRules"]
        for resource in rule["resources"]
    }
    assert read == {"finetunejobs", "optimizejobs", "adapterbundles", "jobs", "jobsets", "pods"}
    # Of everybody's Jobs, JobSets and pods those with our label.
    (selector,) = [
        spec["matchConstraints"]["objectSelector"]
        for spec in specs.values()
        if "objectSelector" in spec["matchConstraints"]
    ]
    assert selector == {"matchExpressions": [{"key": "luthier.dev/kind", "operator": "Exists"}]}


@pytest.mark.parametrize("field", ["labels", "annotations", "ownerReferences", "finalizers"])
def test_each_part_of_metadata_has_a_bound(render: Render, field: str) -> None:
    for spec in bounds(render()):
        assert [it for it in spec["validations"] if f"metadata.{field}" in it["message"]]


@pytest.mark.parametrize(
    ("now", "before", "allowed"),
    [
        (None, None, True),
        (8, None, True),
        (300, None, False),
        (300, 300, True),  # there before the policy: it may stay, and be finalized
        (301, 300, False),
        (300, 0, False),
    ],
)
def test_too_much_is_refused_unless_it_was_there(
    render: Render, now: int | None, before: int | None, allowed: bool
) -> None:
    fields = ("labels", "annotations", "ownerReferences", "finalizers")

    def of(count: int | None) -> Json:
        entries = {} if count is None else {field: [0] * count for field in fields}
        return {"metadata": entries}

    for spec in bounds(render()):
        for validation in spec["validations"]:
            context = Context()
            context.add_variable("object", of(now))
            context.add_variable("oldObject", None if before is None else of(before))
            assert evaluate(validation["expression"], context) is allowed


def test_the_policy_can_be_left_out(render: Render) -> None:
    assert policies(render(admissionPolicy={"enabled": False})) == {}
