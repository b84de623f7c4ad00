"""`luthier watch`: follow a run on a cluster."""

from typing import Annotated

import typer

from luthier_cli.commands.console import print_json, show_text, stderr, stdout, told_errors
from luthier_cli.commands.options import Context, Kubeconfig, Name, Namespace, Output, OutputFormat
from luthier_cli.errors import Exit


def watch(
    name: Name,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Give up after so many seconds.", min=1)
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary/--no-summary", help="Show what came of it at the end.")
    ] = True,
    output: OutputFormat = Output.text,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Follow a run live to its end, then show what came of it.

    Exit code: 0 complete, 1 failed, 2 could not watch, 124 timed out.

    [dim]luthier watch tone -n team-a[/]
    [dim]luthier watch opj/tone -n team-a[/]
    [dim]luthier watch tone -o json --timeout 3600 | jq -c .status.progress[/]
    """
    with told_errors():
        from luthier_cli import watch as command
        from luthier_cli.display import open_display
        from luthier_cli.kube import connect
        from luthier_cli.state import outcome
        from luthier_cli.summary import summarize
        from luthier_cli.target import parse_target

        target = parse_target(name)
        cluster = connect(kubeconfig, context, namespace)
        note = "Ctrl-C leaves the view; the run goes on"
        try:
            with open_display(stdout(), output.value, note) as display:
                resource = command.follow(cluster, target, display, timeout)
        except KeyboardInterrupt:
            stderr().print(
                f"the run goes on; look again: luthier watch {name} -n {cluster.namespace}",
                style="yellow",
            )
            raise typer.Exit(Exit.INTERRUPTED) from None
        if summary:
            found = summarize(resource)
            if output is Output.json:
                print_json({"event": "end", "summary": found})
            else:
                show_text(found)
        raise typer.Exit(Exit.OK if outcome(resource) == "Complete" else Exit.FAILED)
