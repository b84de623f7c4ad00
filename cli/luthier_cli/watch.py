"""`luthier watch`: follow a run by its resource's status."""

import time

from luthier_cli import kube
from luthier_cli.display import Display
from luthier_cli.errors import CliError, Exit
from luthier_cli.state import Resource, outcome
from luthier_cli.target import Target


def follow(
    cluster: kube.Cluster, target: Target, display: Display, timeout: float | None = None
) -> Resource:
    """Show the run until it has ended; returns the resource as it is then. Raises CliError."""
    deadline = time.monotonic() + timeout if timeout else None
    try:
        for resource in kube.watch(cluster, target, cluster.namespace, deadline):
            if resource is None:
                raise CliError(f"{target} was deleted", "", Exit.FAILED)
            display.show(resource)
            if outcome(resource):
                return resource
    except (kube.ApiError, kube.UnreachableError) as error:
        raise cluster.explain(error, str(target)) from None
    raise CliError(
        f"{target} hasn't ended within {timeout:g} s",
        f"it goes on; look again: luthier watch {target.argument} -n {cluster.namespace}",
        Exit.TIMEOUT,
    )
