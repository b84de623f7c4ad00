"""`luthier retrain`: a look at the data now, and a new revision where it has changed."""

import secrets

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, UnreachableError
from luthier_cli.state import (
    RETRAIN_ANNOTATION,
    Resource,
    cause,
    holds,
    outcome,
    retrain_pending,
    status_of,
)
from luthier_cli.target import Target


def refusal(target: Target, resource: Resource) -> CliError | None:
    """Why asking would change nothing, if so."""
    name, look = target.name, f"follow it: luthier watch {target.argument}"
    if target.kind is not FINE_TUNE_JOB:
        return CliError(
            f"{target} has no data of its own",
            "retrain the FineTuneJob that it follows: it takes what that publishes",
        )
    if (resource.get("spec") or {}).get("suspend"):
        return CliError(f"{name} is suspended", "set spec.suspend to false, and ask again")
    if not status_of(resource).get("inUse"):
        failed = outcome(resource) == "Failed"
        remedy = f"when its cause is mended: luthier retry {target.argument}" if failed else look
        return CliError(f"{name} has published nothing yet", remedy)
    if retrain_pending(resource):
        return CliError(f"{name} is about to be retrained already", look)
    if holds(resource, "Stalled") and not holds(resource, "Failed"):
        reason, message = cause(resource)
        return CliError(f"{name} can't start: {reason}: {message}", "mend that, and ask again")
    return None


def what_comes(resource: Resource) -> str:
    """What the operator will do about it, in words."""
    asks = (resource.get("spec") or {}).get("retrain") or {}
    after = "" if outcome(resource) else " when the run that goes on has ended"
    if asks.get("when") == "Always":
        return f"is trained anew{after}, whatever its data is"
    enough = "it is other data than the last revision's"
    if rows := asks.get("minNewRows"):
        enough = f"at least {rows:,} rows are new"
    elif share := asks.get("minNewFraction"):
        enough = f"at least {share:.1%} of the rows are new"
    return f"has its data looked at{after}, and is trained anew if {enough}"


def retrain(cluster: Cluster, target: Target) -> str:
    """Ask for it; what comes of it. Raises CliError."""
    path = target.path(cluster.namespace)
    try:
        resource = cluster.request("GET", path)
        if error := refusal(target, resource):
            raise error
        patch = {"metadata": {"annotations": {RETRAIN_ANNOTATION: secrets.token_hex(8)}}}
        cluster.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
    except (ApiError, UnreachableError) as error:
        raise cluster.explain(error, str(target)) from None
    return what_comes(resource)
