"""Which trackers a run tells: what its spec and luthier.yaml say, and who may name which server."""

from typing import Any

import pytest
from unit.operator.builders import OWNER, job_of, observed, pod_of, resource, spec
from unit.operator.test_status import FIRST, report, status

from luthier_api import terms
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.platform import Platform, parse_platform
from luthier_api.revision import attempt_hash
from luthier_api.sources import of_fine_tuning
from luthier_api.tracking import is_below
from luthier_operator.conditions import find
from luthier_operator.errors import Refusal
from luthier_operator.run import policy
from luthier_operator.run.build import made_of

OURS = "http://mlflow.mlflow:5000"
TOKEN = {"name": "mlflow", "key": "token"}


def luthier_yaml(
    tracking: Any = None, team: dict[str, Any] | None = None, consent: list[str] | None = None
) -> Platform:
    return parse_platform(
        {
            "defaultPool": "cpu",
            "pools": [{"name": "cpu", "image": "trainer:1"}],
            "consent": {"trackers": consent or []},
            "namespaces": {"team": team or {}},
            "tracking": tracking,
        }
    )


PLATFORMS = {"mlflow": {"uri": OURS, "experiment": "all", "tokenSecretRef": TOKEN}}


def tracked(platform: Platform, tracking: Any = None) -> Any:
    """As the order has it."""
    found = terms.tracking_of(spec(tracking=tracking), "team", platform)
    return found.to_json() if found else None


def check(wanted: FineTuneJobSpec, platform: Platform) -> Refusal | None:
    return policy.check(wanted, of_fine_tuning(wanted), "team", platform)


def test_who_names_no_tracker_gets_the_platforms() -> None:
    assert tracked(luthier_yaml()) is None
    assert tracked(luthier_yaml(PLATFORMS)) == PLATFORMS
    assert tracked(luthier_yaml(PLATFORMS), {}) == {}
    of_team = {"wandb": {"mode": "Offline"}}
    assert tracked(luthier_yaml(PLATFORMS, team={"tracking": of_team})) == of_team
    assert tracked(luthier_yaml(PLATFORMS, team={"tracking": {}})) == {}


def test_what_a_spec_leaves_out_is_as_in_luthier_yaml() -> None:
    platform = luthier_yaml(PLATFORMS | {"wandb": {"mode": "Offline", "entity": "us"}})
    assert tracked(platform, {"mlflow": {"experiment": "mine"}}) == {
        "mlflow": {"uri": OURS, "experiment": "mine", "tokenSecretRef": TOKEN}
    }
    own = {"name": "own", "key": "token"}
    assert tracked(platform, {"mlflow": {"tokenSecretRef": own}})["mlflow"] == {
        "uri": OURS,
        "experiment": "all",
        "tokenSecretRef": own,
    }
    assert tracked(platform, {"wandb": {"project": "p"}}) == {
        "wandb": {"mode": "Offline", "entity": "us", "project": "p"}
    }


def test_a_server_that_the_spec_names_is_never_shown_the_platforms_login() -> None:
    """A tenant could have a Secret sent there that its own list doesn't let it name."""
    for theirs in ("https://mlflow.elsewhere", OURS):
        assert tracked(luthier_yaml(PLATFORMS), {"mlflow": {"uri": theirs}}) == {
            "mlflow": {"uri": theirs}
        }


@pytest.mark.parametrize(
    ("tracking", "consent", "reason"),
    [
        (None, [], None),
        ({"mlflow": {}}, [], None),
        ({"mlflow": {"uri": OURS}}, [], None),
        ({"mlflow": {"uri": "https://mlflow.elsewhere"}}, [], "TrackerNotAllowed"),
        ({"mlflow": {"uri": "https://mlflow.elsewhere/a"}}, ["https://mlflow.elsewhere"], None),
        ({"mlflow": {"uri": "https://mlflow.elsewhere.x"}}, ["https://mlflow.elsewhere"], "Not"),
        ({"wandb": {}}, [], "TrackerNotAllowed"),
        ({"wandb": {}}, ["https://api.wandb.ai"], None),
        ({"wandb": {}}, ["*"], None),
        ({"wandb": {"mode": "Offline"}}, [], None),
        ({"wandb": {"uri": "https://w", "mode": "Offline"}}, [], None),
    ],
)
def test_servers_beside_the_platforms_need_its_consent(
    tracking: Any, consent: list[str], reason: str | None
) -> None:
    refusal = check(spec(tracking=tracking), luthier_yaml(PLATFORMS, consent=consent))
    assert bool(refusal) == bool(reason)
    if refusal:
        assert refusal.reason == "TrackerNotAllowed"
        assert refusal.terminal
        assert "consent.trackers of luthier.yaml" in refusal.message


def test_a_tracker_of_the_platforms_has_to_be_there() -> None:
    refusal = check(spec(tracking={"mlflow": {}}), luthier_yaml())
    assert refusal
    assert refusal.reason == "TrackerNotNamed"
    assert "spec.tracking.mlflow.uri" in refusal.message


def test_secrets_of_trackers_are_on_the_list_of_secrets() -> None:
    platform = luthier_yaml(PLATFORMS, team={"allowed": {"secrets": ["hub"]}})
    assert check(spec(), platform) is None, "the platform's own"
    refusal = check(spec(tracking={"mlflow": {"tokenSecretRef": TOKEN}}), platform)
    assert refusal
    assert refusal.reason == "SecretNotAllowed"
    assert "spec.tracking.mlflow.tokenSecretRef" in refusal.message


@pytest.mark.parametrize(
    ("prefix", "uri", "below"),
    [
        ("*", "http://anything", True),
        ("https://a", "https://a", True),
        ("https://a", "https://A/x", True),
        ("https://a/", "https://a/x", True),
        ("https://a/x", "https://a/xy", False),
        ("https://a/x", "https://a/x/y", True),
        ("https://a", "http://a", False),
        ("https://a", "https://a.b", False),
        ("https://a", "https://a:8443", False),
    ],
)
def test_a_prefix_ends_with_a_name(prefix: str, uri: str, below: bool) -> None:
    assert is_below(prefix, uri) is below


def test_trackers_are_worth_no_attempt_but_another_job() -> None:
    """What has failed fails again with another tracker; what waits in a queue is told the new."""
    before, after = spec(), spec(tracking={"mlflow": {"uri": OURS}})
    assert attempt_hash(before) == attempt_hash(after)
    made = [made_of(OWNER, it, luthier_yaml()) for it in (before, after)]
    assert "tracking" in made[1].keys() - made[0].keys()
    assert "tracking" in made_of(OWNER, before, luthier_yaml(PLATFORMS))


def test_the_status_says_where_the_run_is_and_what_a_tracker_lacks() -> None:
    job = job_of(FIRST)
    url = f"{OURS}/#/experiments/1/runs/2"
    run = {"tracker": "MLflow", "id": "2", "url": url}
    told = report(50, tracking=[run])
    running = status(observed(jobs=[job], pods=[pod_of(job)], report=told))
    assert [it.to_json() for it in running.tracking] == [run]
    condition = find(running.conditions, "Tracked")
    assert condition
    assert (condition.status, condition.reason) == ("True", "Tracked")
    assert url in condition.message
    away = report(60, tracking=[run | {"problem": "no answer in time"}])
    lacking = status(observed(jobs=[job], pods=[pod_of(job)], report=away))
    condition = find(lacking.conditions, "Tracked")
    assert condition
    assert (condition.status, condition.reason) == ("False", "NotTracked")
    assert condition.message == "MLflow: no answer in time"
    again = status(
        observed(resource(status=lacking.to_json()), jobs=[job], pods=[pod_of(job)], report=None)
    )
    assert again == lacking, "the report is gone, as after a restart of the operator"
