"""luthier.yaml's word, and the operator's own configuration."""

from pathlib import Path
from typing import Any

import pytest
from unit.operator.builders import CODE, SPEC, platform, spec

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.platform import Platform
from luthier_api.sources import of_fine_tuning
from luthier_operator.config import ConfigError, load_platform, read_settings
from luthier_operator.errors import (
    ApiError,
    ApiUnreachableError,
    Refusal,
    classify,
    refusal_of,
)
from luthier_operator.run import policy


def check(spec: FineTuneJobSpec, namespace: str, platform: Platform) -> Refusal | None:
    return policy.check(spec, of_fine_tuning(spec), namespace, platform)


MIXED = SPEC["dataset"] | {"mix": [{"uri": "file:///database/b.csv"}]}


@pytest.mark.parametrize(
    ("namespace", "fields", "reason"),
    [
        ("team", {"placement": {"pool": "none"}}, "PoolNotFound"),
        ("team", {"placement": {"pool": "gpu"}}, "PoolNotAllowed"),
        ("rich", {"placement": {"pool": "gpu", "gpus": 2}}, "TooManyGpus"),
        ("team", {"model": {"uri": "file:///database"}}, "FileNotAllowed"),
        ("team", {"model": {"uri": "file:///data/m"}}, None),
        ("team", {"dataset": MIXED}, "FileNotAllowed"),
        ("team", {"training": {"maxSteps": 1, "loss": CODE}}, "CustomCodeNotAllowed"),
        ("team", {"evaluation": {"script": CODE}}, "CustomCodeNotAllowed"),
        ("rich", {"training": {"maxSteps": 1, "loss": CODE}}, None),
        ("rich", {"placement": {"pool": "gpu", "gpus": 1}}, None),
        ("team", {}, None),
    ],
)
def test_policy(namespace: str, fields: dict[str, Any], reason: str | None) -> None:
    refusal = check(spec(**fields), namespace, platform(fileRoots=["/data"], consent=["rich"]))
    assert (refusal.reason if refusal else None) == reason
    assert refusal is None or refusal.terminal


def test_what_is_not_allowed_is_named_with_the_remedy() -> None:
    mixed = check(spec(dataset=MIXED), "team", platform(fileRoots=["/data"]))
    assert mixed is not None
    assert "spec.dataset.mix[0].uri: /database" in mixed.message
    script = spec(evaluation={"script": CODE})
    code = check(script, "team", platform())
    assert code is not None
    assert "spec.evaluation.script: namespace team" in code.message
    assert "consent.customCode" in code.message
    assert check(script, "team", platform(consent=["*"])) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pools: [", "not YAML"),
        ("[]", "a mapping"),
        ("defaultPool: a\npools: [{name: a, image: x, colour: red}]", "pools.0.colour"),
        ("defaultPool: b\npools: [{name: a, image: x}]", "defaultPool: no pool 'b'"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "luthier.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_platform(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LUTHIER_CONFIG"):
        load_platform(tmp_path / "none.yaml")


def test_settings() -> None:
    assert read_settings({}).namespaces == ()
    assert read_settings({"WATCH_NAMESPACES": "a, b,"}).namespaces == ("a", "b")
    selector = read_settings({"WATCH_NAMESPACE_SELECTOR": " team=ml "}).namespace_selector
    assert selector == "team=ml"
    with pytest.raises(ConfigError, match="LUTHIER_WORKERS"):
        read_settings({"LUTHIER_WORKERS": "many"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, "retry"),
        (409, "retry"),
        (429, "retry"),
        (500, "retry"),
        (403, "wait"),
        (400, "terminal"),
        (422, "terminal"),
    ],
)
def test_every_failure_has_a_class(status: int, kind: str) -> None:
    assert classify(ApiError(status, "", "")) == kind


def test_no_answer_is_tried_again() -> None:
    assert classify(ApiUnreachableError("x")) == "retry"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ('pods "x" is forbidden: exceeded quota: none', "QuotaExceeded"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "PodSecurityViolation"),
        (
            'error looking up service account: serviceaccount "x" not found',
            "ServiceAccountNotFound",
        ),
        ("unable to create: namespace x is being terminated", "NamespaceTerminating"),
        ("denied by policy", "CreationForbidden"),
    ],
)
def test_why_something_was_not_admitted(message: str, reason: str) -> None:
    refusal = refusal_of(ApiError(403, "Forbidden", message))
    assert refusal is not None
    assert refusal.reason == reason
    assert not refusal.terminal
