"""`luthier rerun`: a new revision of the same shape, on purpose."""

import secrets

from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, UnreachableError
from luthier_cli.state import outcome, status_of
from luthier_cli.target import Target

RERUN_ANNOTATION = "luthier.dev/rerun"


def rerun(cluster: Cluster, target: Target, *, stop: bool) -> None:
    """Ask for it. `stop`: also where a run goes on, which gives way. Raises CliError."""
    path = target.path(cluster.namespace)
    try:
        resource = cluster.request("GET", path)
        if outcome(resource) is None and not stop:
            phase = status_of(resource).get("phase") or "not yet seen by the operator"
            raise CliError(
                f"{target.name} goes on ({phase})",
                f"follow it: luthier watch {target.argument}; with --stop it gives way to the new "
                "run",
            )
        version = resource["metadata"]["resourceVersion"]
        patch = {
            "metadata": {
                "annotations": {RERUN_ANNOTATION: secrets.token_hex(8)},
                "resourceVersion": version,
            }
        }
        cluster.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
    except (ApiError, UnreachableError) as error:
        if isinstance(error, ApiError) and error.code == 409:
            raise CliError(f"{target} changed meanwhile", "look at it, and try again") from None
        raise cluster.explain(error, str(target)) from None
