"""`luthier retry`: the next attempt of a failed run."""

import secrets

from luthier_cli.errors import CliError
from luthier_cli.kinds import FINE_TUNE_JOB
from luthier_cli.kube import ApiError, Cluster, UnreachableError
from luthier_cli.state import (
    RETRY_ANNOTATION,
    Resource,
    cause,
    holds,
    outcome,
    retry_pending,
    status_of,
)


def refusal(resource: Resource) -> CliError | None:
    """Why a retry would change nothing, if so."""
    name = resource["metadata"]["name"]
    if retry_pending(resource):
        return CliError(f"{name} has a retry under way already", f"follow it: luthier watch {name}")
    if holds(resource, "Failed"):
        return None
    if holds(resource, "Stalled"):
        reason, message = cause(resource)
        return CliError(
            f"{name} can't start: {reason}: {message}",
            "a retry changes nothing: mend that, and it goes on by itself",
        )
    if outcome(resource) == "Complete":
        return CliError(
            f"{name} is complete: there is nothing to try again",
            "change its spec to train anew",
        )
    phase = status_of(resource).get("phase") or "not yet seen by the operator"
    return CliError(
        f"{name} hasn't failed ({phase})",
        f"follow it: luthier watch {name}; or insist with --force",
    )


def retry(cluster: Cluster, name: str, force: bool) -> str:
    """Ask for the next attempt; returns the token. Raises CliError."""
    path = f"{FINE_TUNE_JOB.collection(cluster.namespace)}/{name}"
    token = secrets.token_hex(8)
    try:
        resource = cluster.request("GET", path)
        if not force and (error := refusal(resource)):
            raise error
        # The version makes it this very state: a run that went on meanwhile is left alone.
        fence = {} if force else {"resourceVersion": resource["metadata"]["resourceVersion"]}
        patch = {"metadata": {"annotations": {RETRY_ANNOTATION: token}, **fence}}
        cluster.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
    except (ApiError, UnreachableError) as error:
        if isinstance(error, ApiError) and error.code == 409:
            raise CliError(f"{name} changed meanwhile", "look at it, and try again") from None
        raise cluster.explain(error, f"FineTuneJob {name}") from None
    return token
