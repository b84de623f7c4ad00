"""`luthier describe`: all that is known of a resource."""

from datetime import UTC, datetime

from luthier_cli.commands.console import print_json, stdout, told_errors
from luthier_cli.commands.options import (
    Context,
    Kubeconfig,
    Name,
    Namespace,
    Output,
    OutputFormat,
)


def describe(
    name: Name,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show where a resource stands, or what came of it, its conditions and its newest events.

    [dim]luthier describe tone[/]
    [dim]luthier describe ab/support -n team-a[/]
    """
    with told_errors():
        from luthier_cli.describe import newest, render
        from luthier_cli.kube import connect, events_of, read
        from luthier_cli.summary import summarize
        from luthier_cli.target import parse_target

        cluster = connect(kubeconfig, context, namespace)
        resource = read(cluster, parse_target(name))
        events = newest(events_of(cluster, resource))
        if output is Output.json:
            print_json({"summary": summarize(resource), "events": events}, indent=2)
        else:
            stdout().print(render(resource, events, datetime.now(UTC)), crop=False)
