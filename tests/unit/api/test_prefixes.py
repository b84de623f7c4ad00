"""A URI lies below a prefix only where whoever reads it would agree."""

import pytest
from pydantic import ValidationError

from luthier_api.platform import Allowed, parse_platform
from luthier_api.prefixes import HubKind, covers


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("*", "s3://any/thing"),
        ("s3://", "s3://any/thing"),
        ("s3://data", "s3://data/a.jsonl"),
        ("s3://data/", "s3://data"),
        ("s3://data/team-a", "s3://data/team-a/rows.jsonl"),
        ("s3://data/team-a/", "s3://data/team-a"),
        ("s3://data/a b", "s3://data/a%20b/rows.jsonl"),
        ("hf://meta-llama", "hf://meta-llama/Llama-3.2-1B"),
        ("hf://meta-llama/Llama-3.2-1B", "hf://models/meta-llama/Llama-3.2-1B"),
        ("hf://models/meta-llama", "hf://meta-llama/Llama-3.2-1B"),
        ("https://data.example.com/", "https://data.example.com/rows.csv"),
        ("https://Data.Example.com", "https://data.example.COM:443/rows.csv"),
        ("https://data.example.com:8443/", "https://data.example.com:8443/rows.csv"),
    ],
)
def test_below(prefix: str, uri: str) -> None:
    assert covers(prefix, uri)


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        # Borders of names.
        ("s3://data", "s3://data-evil/a.jsonl"),
        ("s3://data/team", "s3://data/team-b/a.jsonl"),
        ("s3://data/team-a/", "s3://data/team-a.jsonl"),
        ("hf://meta", "hf://meta-llama/x"),
        ("https://example.com", "https://example.com.evil.org/a"),
        # Other places.
        ("s3://data", "https://data/a"),
        ("https://data.example.com/", "https://data.example.com:8443/a"),
        ("https://data.example.com/", "https://data.example.com./a"),
        ("s3://Data", "s3://data/a"),
        ("https://h/Data", "https://h/data/a"),
        # What leads up, plainly or not.
        ("s3://data/a", "s3://data/a/../b"),
        ("s3://data/a", "s3://data/a/%2e%2e/b"),
        ("s3://data/a", "s3://data/a/%2E./b"),
        ("s3://data/a", "s3://data/a%2f..%2fb"),
        ("https://h/a", "https://h/a/%252e%252e/b"),
        ("https://h/a", "https://h/a/..%5cb"),
        ("https://h/a", "https://h/a//b"),
        # Hosts that aren't what they look like.
        ("https://good.com/", "https://good.com@evil.com/a"),
        ("https://good.com/", "https://good.com%40evil.com/a"),
        ("https://good.com/", "https://good.com\\@evil.com/a"),
        ("s3://data/", "s3://dat%61/a"),
        ("s3://", "s3:///a"),
        # Claims and files have lists of their own.
        ("s3://", "file:///a"),
        ("s3://", "pvc://a/b"),
    ],
)
def test_not_below(prefix: str, uri: str) -> None:
    assert not covers(prefix, uri)


@pytest.mark.parametrize(
    ("prefix", "uri", "kind", "below"),
    [
        ("hf://owner", "hf://datasets/owner/name", "datasets", True),
        # As a model this is the repository `owner` of somebody called `datasets`.
        ("hf://owner", "hf://datasets/owner/name", "models", False),
        ("hf://datasets", "hf://owner/name", "datasets", True),
        ("hf://datasets/owner", "hf://owner/name", "datasets", True),
        ("hf://datasets/owner", "hf://owner/name", "models", False),
        ("hf://models/owner", "hf://owner/name", "datasets", False),
        ("hf://name", "hf://models/name", "models", False),
    ],
)
def test_the_kind_of_what_is_on_a_hub(prefix: str, uri: str, kind: HubKind, below: bool) -> None:
    assert covers(prefix, uri, kind) is below


@pytest.mark.parametrize(
    ("field", "prefix"),
    [
        ("sources", "data"),
        ("sources", "pvc://claim/"),
        ("sources", "s3://data/../other"),
        ("sources", "s3://data//other"),
        ("sources", "https://user@host/"),
        ("sources", "https://host/?a=b"),
        ("outputs", "https://host/"),
        ("secrets", "Team A"),
    ],
)
def test_a_list_that_could_not_be_meant_is_refused(field: str, prefix: str) -> None:
    with pytest.raises(ValidationError):
        Allowed.model_validate({field: [prefix]})


def test_a_namespace_falls_back_to_all_and_then_to_the_platform() -> None:
    platform = parse_platform(
        {
            "defaultPool": "cpu",
            "pools": [{"name": "cpu", "image": "x"}, {"name": "gpu", "image": "x"}],
            "ttlSecondsAfterFinished": 60,
            "namespaces": {
                "*": {"maxRuns": 3, "allowed": {"secrets": ["a"], "claims": ["c"]}},
                "rich": {
                    "pool": "gpu",
                    "ttlSecondsAfterFinished": 0,
                    "allowed": {"secrets": ["*"]},
                },
            },
        }
    )
    rich, other = platform.for_namespace("rich"), platform.for_namespace("other")
    assert (rich.pool, rich.max_runs, rich.ttl_seconds_after_finished) == ("gpu", 3, 0)
    assert (rich.allowed.secrets, rich.allowed.claims) == (["*"], ["c"])
    assert (other.pool, other.max_runs, other.ttl_seconds_after_finished) == ("cpu", 3, 60)
    assert other.allowed.secrets == ["a"]
    assert other.storage_secret_name == "luthier-s3"
