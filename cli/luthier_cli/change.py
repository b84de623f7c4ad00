"""A change of a resource as it was seen, or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, UnreachableError
from luthier_cli.state import Resource
from luthier_cli.target import Target


@contextmanager
def explained(cluster: Cluster, target: Target) -> Iterator[None]:
    """What the API server refuses of the resource, as CliError."""
    try:
        yield
    except (ApiError, UnreachableError) as error:
        if isinstance(error, ApiError) and error.code == 409:
            raise CliError(f"{target} changed meanwhile", "look at it, and try again") from None
        raise cluster.explain(error, str(target)) from None


def change(cluster: Cluster, target: Target, seen: Resource, changes: dict[str, Any]) -> None:
    """Merge-patch it. The version makes it the very state that was seen: what has changed
    meanwhile is left alone. Raises ApiError (409) then."""
    metadata = {
        **(changes.get("metadata") or {}),
        "resourceVersion": seen["metadata"]["resourceVersion"],
    }
    cluster.request(
        "PATCH",
        target.path(cluster.namespace),
        body={**changes, "metadata": metadata},
        content_type="application/merge-patch+json",
    )
