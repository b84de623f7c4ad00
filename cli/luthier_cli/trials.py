"""`luthier trials`: the trials of a search, as its status tells them."""

from typing import Any

from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, UnreachableError
from luthier_cli.state import Resource, status_of
from luthier_cli.target import Target


def fetch(cluster: Cluster, target: Target) -> dict[str, Any]:
    """The search of a resource. Raises CliError where it has none."""
    try:
        resource = cluster.request("GET", target.path(cluster.namespace))
    except (ApiError, UnreachableError) as error:
        raise cluster.explain(error, str(target)) from None
    return search_of(resource, target.name)


def search_of(resource: Resource, name: str) -> dict[str, Any]:
    """What is known of a resource's search, with its objective. Raises CliError without one."""
    spec = (resource.get("spec") or {}).get("search")
    if not spec:
        raise CliError(
            f"{name} doesn't search", "set spec.search to try several settings: docs/search.md"
        )
    search = status_of(resource).get("search") or {}
    return {"objective": spec.get("objective") or {}, **search}
