"""`luthier retry`: the next attempt of a failed run."""

import secrets

from luthier_cli.change import change, explained
from luthier_cli.errors import CliError
from luthier_cli.kube import Cluster
from luthier_cli.state import (
    RETRY_ANNOTATION,
    Resource,
    cause,
    holds,
    outcome,
    retry_pending,
    status_of,
)
from luthier_cli.target import Target


def refusal(target: Target, resource: Resource) -> CliError | None:
    """Why a retry would change nothing, if so."""
    name, look = target.name, f"follow it: luthier watch {target.argument}"
    if retry_pending(resource):
        return CliError(f"{name} has a retry under way already", look)
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
            "only a failed run is tried again; of data that changed a FineTuneJob is made anew by "
            f"luthier retrain {target.argument}, and of the same by luthier rerun "
            f"{target.argument}",
        )
    phase = status_of(resource).get("phase") or "not yet seen by the operator"
    return CliError(f"{name} hasn't failed ({phase})", look)


def retry(cluster: Cluster, target: Target) -> None:
    """Ask for the next attempt. Raises CliError."""
    with explained(cluster, target):
        resource = cluster.request("GET", target.path(cluster.namespace))
        if error := refusal(target, resource):
            raise error
        asked = {RETRY_ANNOTATION: secrets.token_hex(8)}
        change(cluster, target, resource, {"metadata": {"annotations": asked}})
