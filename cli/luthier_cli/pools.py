"""`luthier pools`: the pools that a namespace may use, as the operator tells them there."""

from typing import Any

from pydantic import ValidationError
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from luthier_api.pools import CONFIG_MAP, KEY, PoolsPage, PoolView
from luthier_api.visible import one_line
from luthier_cli import text
from luthier_cli.errors import CliError
from luthier_cli.kube import ApiError, Cluster, UnreachableError


def fetch(cluster: Cluster) -> PoolsPage:
    """Those of the cluster's namespace. Raises CliError."""
    path = f"/api/v1/namespaces/{cluster.namespace}/configmaps/{CONFIG_MAP}"
    try:
        obj = cluster.request("GET", path)
    except ApiError as error:
        if error.code == 404:
            raise CliError(
                f"there is no ConfigMap {CONFIG_MAP} in the namespace {cluster.namespace}",
                "the operator writes it within a minute where it serves the namespace: by name or "
                "label, or once there is a resource of Luthier's",
            ) from None
        if error.code == 403:
            raise CliError(
                f"you may not: {error}", "ask for Kubernetes' role view in the namespace"
            ) from None
        raise cluster.explain(error, "the pools") from None
    except UnreachableError as error:
        raise cluster.explain(error, "the pools") from None
    try:
        return PoolsPage.read_json((obj.get("data") or {}).get(KEY, ""))
    except ValidationError:
        raise CliError(
            f"the ConfigMap {CONFIG_MAP} in the namespace {cluster.namespace} can't be read",
            "delete it: the operator writes it anew within ten minutes",
        ) from None


def to_json(page: PoolsPage) -> list[dict[str, Any]]:
    """For programs."""
    free = [{} if it.gpus_free is None else {"gpusFree": it.gpus_free} for it in page.pools]
    return [pool.to_json() | more for pool, more in zip(page.pools, free, strict=True)]


def render(page: PoolsPage) -> RenderableType:
    """A line each; the default is marked."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for heading in ("Pool", "GPUs free", "a run", "Running", "Waiting", "Queue", "At most"):
        right = heading not in ("Pool", "Queue", "At most")
        table.add_column(Text(heading), justify="right" if right else "left", no_wrap=True)
    table.add_column(Text("For"), overflow="fold")
    for pool in page.pools:
        longest = pool.max_duration_seconds
        table.add_row(
            Text(one_line(pool.name) + ("*" if pool.default else "")),
            Text(_free(pool)),
            Text(_most(pool)),
            Text(f"{pool.running}" + (f"/{pool.max_runs}" if pool.max_runs else "")),
            Text(str(pool.waiting)),
            Text(one_line(pool.queue or "–")),
            Text(text.duration(longest) if longest else "–"),
            Text(one_line(pool.description)),
        )
    return table


def _free(pool: PoolView) -> str:
    if not pool.max_gpus:
        return "–"
    if pool.gpus_free is None:
        return f"{pool.gpus_held} in use"
    return f"{pool.gpus_free}/{pool.gpus}"


def _most(pool: PoolView) -> str:
    """GPUs that a run may have."""
    if not pool.max_gpus:
        return "–"
    return f"{pool.max_gpus}" + (f"×{pool.max_nodes}" if pool.max_nodes > 1 else "")
