"""`luthier retrain`: a new revision of changed data."""

from luthier_cli.commands.console import say, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace


def retrain(
    name: Name,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Look at the data of a FineTuneJob now, and train anew if it has changed.

    As at each time of spec.retrain.schedule: a small Job compares names, sizes and ETags, and
    reads the rows only where these have moved.

    [dim]luthier retrain tone && luthier watch tone[/]
    """
    with told_errors():
        from luthier_cli import retrain as command
        from luthier_cli.kube import connect
        from luthier_cli.target import parse_target

        target = parse_target(name)
        cluster = connect(kubeconfig, context, namespace)
        comes = command.retrain(cluster, target)
        say(f"{name} {comes}; follow it: luthier watch {name} -n {cluster.namespace}")
