"""`luthier watch`: follow a run by its resource's status."""

import time

from luthier_cli import kube
from luthier_cli.display import Display
from luthier_cli.errors import CliError, Exit
from luthier_cli.kinds import FINE_TUNE_JOB
from luthier_cli.state import Resource, outcome


def follow(
    cluster: kube.Cluster, name: str, display: Display, timeout: float | None = None
) -> Resource:
    """Show the run until it has ended; returns the resource as it is then. Raises CliError."""
    deadline = time.monotonic() + timeout if timeout else None
    what = f"FineTuneJob {name}"
    try:
        for resource in kube.watch(cluster, FINE_TUNE_JOB, cluster.namespace, name, deadline):
            if resource is None:
                raise CliError(f"{what} was deleted", "", Exit.FAILED)
            display.show(resource)
            if outcome(resource):
                return resource
    except (kube.ApiError, kube.UnreachableError) as error:
        raise cluster.explain(error, what) from None
    raise CliError(
        f"{what} hasn't ended within {timeout:g} s",
        f"it goes on; look again: luthier watch {name} -n {cluster.namespace}",
        Exit.TIMEOUT,
    )
