"""What luthier.yaml lets a run name, ask for, and leave out."""

from typing import Any

import pytest
from unit.operator.builders import CODE, OWNER, SPEC, spec

from luthier_api import terms
from luthier_api.adapterbundle import AdapterBundleSpec
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.optimizejob import OptimizeJobSpec
from luthier_api.platform import Platform, parse_platform
from luthier_api.sources import Reads, of_bundling, of_fine_tuning, of_optimizing
from luthier_operator.errors import Refusal
from luthier_operator.finetunejob.build import build
from luthier_operator.run import policy
from luthier_operator.run.model import Revision

REVISION = Revision("r1-12345678", 1, "12345678" * 8)
TOKEN = {"name": "hub", "key": "token"}


def luthier_yaml(team: dict[str, Any] | None = None, **pool: Any) -> Platform:
    """With `team` for the namespace of that name, and the pool's fields."""
    return parse_platform(
        {
            "defaultPool": "cpu",
            "pools": [{"name": "cpu", "image": "trainer:1", **pool}],
            "consent": {"customCode": ["*"]},
            "namespaces": {"team": team or {}},
        }
    )


def check(wanted: FineTuneJobSpec, platform: Platform, namespace: str = "team") -> Refusal | None:
    return policy.check(wanted, of_fine_tuning(wanted), namespace, platform)


def refused(wanted: FineTuneJobSpec, platform: Platform) -> Refusal:
    refusal = check(wanted, platform)
    assert refusal is not None
    assert refusal.terminal
    assert "luthier.yaml" in refusal.message or "one of" in refusal.message
    return refusal


LISTS: list[tuple[dict[str, Any], dict[str, list[str]], str, str]] = [
    (
        {"storage": {"serviceAccountName": "admin"}},
        {"serviceAccounts": ["trainer"]},
        "ServiceAccountNotAllowed",
        "spec.storage.serviceAccountName",
    ),
    (
        {"storage": {"secretName": "others"}},
        {"secrets": ["hub"]},
        "SecretNotAllowed",
        "spec.storage.secretName",
    ),
    (
        {"model": {"uri": "hf://a/b", "tokenSecretRef": TOKEN}},
        {"secrets": ["mine"]},
        "SecretNotAllowed",
        "spec.model.tokenSecretRef",
    ),
    (
        {"model": {"uri": "pvc://others/m"}},
        {"claims": ["models"]},
        "ClaimNotAllowed",
        "spec.model.uri",
    ),
    (
        {"dataset": SPEC["dataset"] | {"uri": "configmap://others/a.csv"}},
        {"configMaps": ["rows"]},
        "ConfigMapNotAllowed",
        "spec.dataset.uri",
    ),
    (
        {"training": {"maxSteps": 1, "loss": CODE}},
        {"configMaps": ["rows"]},
        "ConfigMapNotAllowed",
        "spec.training.loss",
    ),
    (
        {"model": {"uri": "s3://models-evil/m"}},
        {"sources": ["s3://models", "s3://data"]},
        "SourceNotAllowed",
        "spec.model.uri",
    ),
    (
        {"dataset": SPEC["dataset"] | {"mix": [{"uri": "https://evil.example.com/a.csv"}]}},
        {"sources": ["s3://models", "s3://data", "https://example.com"]},
        "SourceNotAllowed",
        "spec.dataset.mix[0].uri",
    ),
    (
        {"output": {"uri": "s3://artifacts/models-of-others"}},
        {"outputs": ["s3://artifacts/models"]},
        "OutputNotAllowed",
        "spec.output.uri",
    ),
]


@pytest.mark.parametrize(("fields", "lists", "reason", "field"), LISTS)
def test_what_is_on_no_list_is_refused_where_there_is_one(
    fields: dict[str, Any], lists: dict[str, list[str]], reason: str, field: str
) -> None:
    wanted = spec(**fields)
    (name,) = lists
    of_namespace = refused(wanted, luthier_yaml({"allowed": lists}))
    assert of_namespace.reason == reason
    assert of_namespace.message.startswith(f"{field}: namespace team doesn't allow ")
    assert f"allowed.{name} of luthier.yaml" in of_namespace.message
    of_pool = refused(wanted, luthier_yaml(allowed=lists))
    assert of_pool.reason == reason
    assert of_pool.message.startswith(f"{field}: pool 'cpu' doesn't allow ")
    # Both have a say: * of one doesn't lift the other's.
    assert check(wanted, luthier_yaml({"allowed": {name: ["*"]}}, allowed=lists)) is not None
    assert check(wanted, luthier_yaml({"allowed": {name: ["*"]}})) is None
    assert check(wanted, luthier_yaml({"allowed": {name: []}})) is None
    assert check(wanted, luthier_yaml({"allowed": lists}), "elsewhere") is None


def test_the_platforms_own_defaults_are_always_allowed() -> None:
    lists = {"secrets": ["none"], "serviceAccounts": ["none"]}
    platform = luthier_yaml({"storageSecretName": "ours", "allowed": lists})
    assert check(spec(), platform) is None
    named = {"secretName": "ours", "serviceAccountName": "default"}
    assert check(spec(storage=named), platform) is None


def test_a_long_list_is_told_in_part() -> None:
    many = [f"secret-{number}" for number in range(200)]
    told = refused(spec(storage={"secretName": "x"}), luthier_yaml({"allowed": {"secrets": many}}))
    assert len(told.message) < 400


OPTIMIZE = {"precisions": ["int8"], "output": {"uri": "s3://artifacts/models"}}
BUNDLE = {"base": {"uri": "s3://models/base"}, "output": {"uri": "s3://artifacts/models"}}


def optimizing(**fields: Any) -> OptimizeJobSpec:
    return OptimizeJobSpec.model_validate(OPTIMIZE | fields)


def bundling(*adapters: dict[str, Any], **fields: Any) -> AdapterBundleSpec:
    named = [{"name": f"a{index}", **it} for index, it in enumerate(adapters)]
    return AdapterBundleSpec.model_validate(BUNDLE | {"adapters": named} | fields)


BY_URI = optimizing(
    source={"modelUri": "hf://evil/m", "adapterUri": "s3://evil/a", "tokenSecretRef": TOKEN},
    evaluation={
        "task": "classification",
        "dataset": SPEC["dataset"] | {"uri": "https://evil.com/a.jsonl"},
    },
)
EVIL = spec(
    model={"uri": "hf://evil/base", "tokenSecretRef": TOKEN},
    dataset=SPEC["dataset"] | {"uri": "pvc://evil/rows.csv"},
)
FOLLOWED = optimizing(source={"fineTuneJobRef": {"name": "tone"}})
JUDGED = bundling({"fineTuneJobRef": {"name": "tone"}}, maxMetricDrop=0.1)
OF_EVIL = of_optimizing(FOLLOWED, "tone", EVIL)
JUDGED_EVIL = of_bundling(JUDGED, {"tone": EVIL})
ALL_READ: list[tuple[Any, Reads, dict[str, list[str]], str]] = [
    (BY_URI, of_optimizing(BY_URI), {"sources": ["s3://evil", "https://evil.com"]}, "modelUri"),
    (BY_URI, of_optimizing(BY_URI), {"sources": ["hf://evil", "https://evil.com"]}, "adapterUri"),
    (BY_URI, of_optimizing(BY_URI), {"sources": ["hf://evil", "s3://evil"]}, "dataset.uri"),
    (BY_URI, of_optimizing(BY_URI), {"secrets": ["a"]}, "spec.source.tokenSecretRef"),
    (
        FOLLOWED,
        of_optimizing(FOLLOWED, "tone", EVIL),
        {"sources": ["hf://other"]},
        "spec.model.uri",
    ),
    (FOLLOWED, OF_EVIL, {"secrets": ["a"]}, "tokenSecretRef of Fine"),
    (FOLLOWED, OF_EVIL, {"claims": ["a"]}, "of FineTuneJob tone"),
    (JUDGED, JUDGED_EVIL, {"claims": ["a"]}, "of FineTuneJob tone"),
    (JUDGED, JUDGED_EVIL, {"sources": ["s3://other"]}, "spec.base.uri"),
]


@pytest.mark.parametrize(("wanted", "reads", "lists", "field"), ALL_READ)
def test_whatever_a_run_reads_is_checked(
    wanted: Any, reads: Reads, lists: dict[str, list[str]], field: str
) -> None:
    refusal = policy.check(wanted, reads, "team", luthier_yaml({"allowed": lists}))
    assert refusal is not None
    assert field in refusal.message.partition(": ")[0]


def test_a_bundles_adapters_by_uri_are_checked() -> None:
    wanted = bundling({"uri": "s3://models/a"}, {"uri": "s3://evil/a"})
    lists = luthier_yaml({"allowed": {"sources": ["s3://models"]}})
    refusal = policy.check(wanted, of_bundling(wanted, {}), "team", lists)
    assert refusal is not None
    assert refusal.message.startswith("spec.adapters[1].uri: ")


def test_an_adapters_file_is_held_to_the_pools_roots() -> None:
    source = {"modelUri": "s3://models/m", "adapterUri": "file:///etc/adapter"}
    wanted = optimizing(source=source)
    refusal = policy.check(wanted, of_optimizing(wanted), "team", luthier_yaml(fileRoots=["/data"]))
    assert refusal is not None
    assert refusal.reason == "FileNotAllowed"


def built(wanted: FineTuneJobSpec, platform: Platform) -> dict[str, Any]:
    (job,) = build(OWNER, wanted, REVISION, platform)
    return job


def labels(job: dict[str, Any]) -> dict[str, str]:
    return {
        name.removeprefix("kueue.x-k8s.io/"): value
        for name, value in job["metadata"]["labels"].items()
        if name.startswith("kueue.x-k8s.io/")
    }


def test_a_forced_queue_is_every_runs() -> None:
    for platform in (luthier_yaml({"queue": "team"}), luthier_yaml(queue="team")):
        job = built(spec(), platform)
        assert labels(job) == {"queue-name": "team"}
        assert job["spec"]["suspend"] is True
        assert check(spec(), platform) is None
        assert check(spec(placement={"queueName": "team"}), platform) is None
        told = refused(spec(placement={"queueName": "fast"}), platform)
        assert told.reason == "QueueNotAllowed"
        assert "leave it out, or name one of: team." in told.message
    both = luthier_yaml({"queue": "team"}, queue="gpu")
    assert labels(built(spec(), both)) == {"queue-name": "team"}


def test_other_queues_of_a_list_may_be_named() -> None:
    listed = luthier_yaml({"queue": "team", "queues": ["fast"]}, queues=["slow"])
    for name in ("team", "fast", "slow"):
        assert check(spec(placement={"queueName": name}), listed) is None
    assert check(spec(placement={"queueName": "other"}), listed) is not None
    # Without a forced one a list only bounds the choice.
    only = luthier_yaml(queues=["slow"])
    assert labels(built(spec(), only)) == {}
    assert check(spec(), only) is None
    assert "name one of: slow." in refused(spec(placement={"queueName": "x"}), only).message


def test_a_priority_is_kueues() -> None:
    queued = spec(placement={"queueName": "team", "priority": "high"})
    assert labels(built(queued, luthier_yaml())) == {"queue-name": "team", "priority-class": "high"}
    alone = spec(placement={"priority": "high"})
    assert labels(built(alone, luthier_yaml(queue="team")))["priority-class"] == "high"
    assert check(alone, luthier_yaml(queue="team")) is None
    without = check(alone, luthier_yaml())
    assert without is not None
    assert without.reason == "PriorityWithoutQueue"
    listed = luthier_yaml({"allowed": {"priorities": ["low"]}})
    assert refused(queued, listed).reason == "PriorityNotAllowed"


def test_a_deadline_is_capped_where_it_is_left_out_and_refused_where_it_is_longer() -> None:
    def asked(seconds: int) -> FineTuneJobSpec:
        return spec(limits={"activeDeadlineSeconds": seconds})

    platform = luthier_yaml({"maxDurationSeconds": 100}, maxDurationSeconds=200)
    assert built(spec(), platform)["spec"]["activeDeadlineSeconds"] == 100
    assert built(asked(50), platform)["spec"]["activeDeadlineSeconds"] == 50
    assert check(asked(100), platform) is None
    told = refused(asked(101), platform)
    assert told.reason == "DurationTooLong"
    assert told.message.startswith("spec.limits.activeDeadlineSeconds: ")
    assert "may take 100, not 101" in told.message
    assert (
        built(spec(), luthier_yaml(maxDurationSeconds=200))["spec"]["activeDeadlineSeconds"] == 200
    )
    assert "activeDeadlineSeconds" not in built(spec(), luthier_yaml())["spec"]


def test_the_time_to_live_of_what_is_finished() -> None:
    def ttl(wanted: FineTuneJobSpec, platform: Platform) -> int | None:
        return terms.ttl_of(wanted, platform, "team")

    days = luthier_yaml().model_copy(update={"ttl_seconds_after_finished": 604_800})
    assert ttl(spec(), luthier_yaml()) is None
    assert ttl(spec(), days) == 604_800
    assert ttl(spec(limits={"ttlSecondsAfterFinished": 0}), days) == 0
    assert ttl(spec(), luthier_yaml({"ttlSecondsAfterFinished": 60})) == 60


def test_limits_with_what_the_platform_adds() -> None:
    platform = luthier_yaml({"maxDurationSeconds": 100, "ttlSecondsAfterFinished": 60})
    limits = terms.limits_of(spec(limits={"maxRestarts": 2}), "team", platform)
    assert limits.active_deadline_seconds == 100
    assert limits.ttl_seconds_after_finished == 60
    assert limits.max_restarts == 2
    # A pool that luthier.yaml has lost says nothing any more; its runs go on.
    lost = spec(placement={"pool": "gone"})
    assert terms.limits_of(lost, "team", platform).active_deadline_seconds == 100
