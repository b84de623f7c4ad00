"""What a shell completes: kinds, resources, contexts. Silent where there is no cluster."""

import typer


def kinds(incomplete: str) -> list[str]:
    """Short names of kinds."""
    from luthier_api.kinds import KINDS

    return [kind.short for kind in KINDS.values() if kind.short.startswith(incomplete)]


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of resources, as commands take them, in the namespace that the line names."""
    from luthier_api.kinds import FINE_TUNE_JOB, KINDS
    from luthier_cli.errors import CliError
    from luthier_cli.kube import connect, list_all

    line = ctx.params
    found = []
    try:
        cluster = connect(line.get("kubeconfig"), line.get("context"), line.get("namespace"))
        for kind in KINDS.values():
            before = "" if kind is FINE_TUNE_JOB else f"{kind.short}/"
            if before.startswith(incomplete[: len(before)]):
                listed = list_all(cluster, kind, cluster.namespace)
                found += [f"{before}{it['metadata']['name']}" for it in listed]
    except CliError:  # said by the command itself, once it is run
        return []
    return [name for name in found if name.startswith(incomplete)]


def contexts(ctx: typer.Context, incomplete: str) -> list[str]:
    """Contexts of the kubeconfig."""
    from kubernetes.config import ConfigException, list_kube_config_contexts

    try:
        found, _ = list_kube_config_contexts(config_file=ctx.params.get("kubeconfig"))
    except ConfigException:
        return []
    return [it["name"] for it in found if it["name"].startswith(incomplete)]
