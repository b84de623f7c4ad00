"""`luthier rerun`: a new revision of the same shape, on purpose."""

import secrets

from luthier_cli.change import change, explained
from luthier_cli.errors import CliError
from luthier_cli.kube import Cluster
from luthier_cli.state import outcome, status_of
from luthier_cli.target import Target

RERUN_ANNOTATION = "luthier.dev/rerun"


def rerun(cluster: Cluster, target: Target, *, stop: bool) -> None:
    """Ask for it. `stop`: also where a run goes on, which gives way. Raises CliError."""
    with explained(cluster, target):
        resource = cluster.request("GET", target.path(cluster.namespace))
        if outcome(resource) is None and not stop:
            phase = status_of(resource).get("phase") or "not yet seen by the operator"
            raise CliError(
                f"{target.name} goes on ({phase})",
                f"follow it: luthier watch {target.argument}; with --stop it gives way to the new "
                "run",
            )
        asked = {RERUN_ANNOTATION: secrets.token_hex(8)}
        change(cluster, target, resource, {"metadata": {"annotations": asked}})
