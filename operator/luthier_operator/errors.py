"""Every failure is one of three: wait for something, retry with backoff, or terminal."""

import re
from dataclasses import dataclass
from typing import Literal

from luthier_api import reasons

Class = Literal["wait", "retry", "terminal"]


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ApiUnreachableError(Exception):
    """No answer from the API server: connection refused, reset or timed out."""


class WatchSilentError(ApiUnreachableError):
    """An open watch told nothing, not even a bookmark, for longer than it may."""


class VersionsWentBackError(Exception):
    """The API server's versions went back, as after an etcd restore: what is known is of no use."""


@dataclass(frozen=True)
class Refusal:
    """Why something that a run needs couldn't be created."""

    reason: str
    message: str
    terminal: bool = False


def classify(error: Exception) -> Class:
    """What to do about a failed request.

    409 and 404 mean that the store was behind: look again. 400 and 422 stay wrong
    until the object changes. 403 waits for a quota, a policy or a right.
    """
    if not isinstance(error, ApiError):
        return "retry"
    if error.status in (400, 405, 413, 415, 422):
        return "terminal"
    return "wait" if error.status == 403 else "retry"


def refusal_of(error: ApiError) -> Refusal | None:
    """The words for a creation that was refused; None where trying again is all there is."""
    kind = classify(error)
    if kind == "retry":
        return None
    if kind == "terminal":
        return Refusal(
            reasons.JOB_REJECTED, f"The API server rejects the Job: {error.message}", True
        )
    # Of a quota all that wait are told in the same words: with a name in them, each probe's refusal
    # would be a change of every other's status.
    message = re.sub(r'jobs\.batch "[^"]*"', "its Job", error.message)
    message = re.sub(r'jobsets\.jobset\.x-k8s\.io "[^"]*"', "its JobSet", message)
    return Refusal(creation_reason(error.message), message)


def creation_reason(message: str) -> str:
    """The cause in a message of the API server about an object it didn't admit."""
    lowered = message.lower()
    if "exceeded quota" in lowered or "must specify" in lowered:
        return reasons.QUOTA_EXCEEDED
    if "violates podsecurity" in lowered:
        return reasons.POD_SECURITY_VIOLATION
    if "serviceaccount" in lowered and "not found" in lowered:
        return reasons.SERVICE_ACCOUNT_NOT_FOUND
    if "priorityclass" in lowered:
        return reasons.PRIORITY_CLASS_NOT_FOUND
    if "being terminated" in lowered:
        return reasons.NAMESPACE_TERMINATING
    return reasons.CREATION_FORBIDDEN
