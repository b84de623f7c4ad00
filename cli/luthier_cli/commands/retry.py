"""`luthier retry`: another attempt of a failed run."""

from luthier_cli.commands.console import say, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace


def retry(
    name: Name,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Start the next attempt of a failed run; it goes on from what was saved.

    [dim]luthier retry tone && luthier watch tone[/]
    """
    with told_errors():
        from luthier_cli import retry as command
        from luthier_cli.kube import connect
        from luthier_cli.target import parse_target

        target = parse_target(name)
        cluster = connect(kubeconfig, context, namespace)
        command.retry(cluster, target)
        say(f"{name} will be tried again; follow it: luthier watch {name} -n {cluster.namespace}")
