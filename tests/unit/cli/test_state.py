"""What a status means."""

from typing import Any

import pytest
from unit.cli.statuses import complete, condition, failed, resource, running

from luthier_cli.state import cause, outcome, retry_pending

NEVER_SEEN = {"metadata": {"name": "tone", "generation": 1}}


def with_token(body: dict[str, Any], token: str, served: str | None = None) -> dict[str, Any]:
    metadata = body["metadata"] | {"annotations": {"luthier.dev/retry": token}}
    status = body["status"] | ({"retryToken": served} if served else {})
    return body | {"metadata": metadata, "status": status}


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        (NEVER_SEEN, None),
        (running(), None),
        (complete(), "Complete"),
        (failed(), "Failed"),
        (resource(condition("Stalled", "True", "UnknownPool")), "Failed"),
        (resource(condition("Suspended", "True")), None),
        # The spec has changed since: these tell of the one before.
        (resource(condition("Complete", "True"), generation=2), None),
        (resource(condition("Failed", "True"), generation=2), None),
        (resource(condition("Failed", "True", generation=2), generation=2), "Failed"),
        # A retry was asked for, and the operator hasn't seen it yet.
        (with_token(failed(), "b"), None),
        (with_token(failed(), "b", served="a"), None),
        (with_token(failed(), "b", served="b"), "Failed"),
        (with_token(complete(), "b", served="a"), "Complete"),
    ],
)
def test_outcome(body: dict[str, Any], ended: str | None) -> None:
    assert outcome(body) == ended


def test_retry_pending() -> None:
    assert not retry_pending(failed())
    assert retry_pending(with_token(failed(), "b"))
    assert not retry_pending(with_token(failed(), "b", served="b"))


def test_cause() -> None:
    assert cause(failed()) == ("DatasetInvalid", "line 3: no JSON")
    waiting = resource(condition("Scheduled", "False", "Unschedulable", "no node"))
    assert cause(waiting) == ("Unschedulable", "no node")
    assert cause(running()) == ("", "")
