"""`luthier run` of one manifest, or of several, each after what it refers to."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cli.display import open_display
from luthier_cli.errors import Exit
from luthier_cli.order import Manifest, Options, check_all, order_of
from luthier_cli.references import Result, just_made
from luthier_cli.run import STOPS, execute, goes_on
from luthier_cli.summary import summarize

Summary = dict[str, Any]


def run_all(
    manifests: Sequence[Manifest],
    options: Options,
    console: Console,
    notes: Console,
    on_end: Callable[[Summary], None],
) -> Exit:
    """One after the other, until one doesn't complete; `on_end` is called with each's summary.

    `console` shows how they go on, `notes` has what is said beside. Raises CliError.
    """
    made: dict[tuple[str, str], Result] = {}
    check_all(manifests, options)
    for manifest in manifests:
        order = order_of(manifest, options, made)
        with open_display(console, "text", f"Ctrl-C {STOPS[manifest.kind]}") as display:
            state, extras, code = execute(order, options, display)
        on_end(summarize(state, extras))
        status = state["status"]
        if status["phase"] == "Interrupted":
            notes.print(f"interrupted: {goes_on(state)}", style="yellow")
            return Exit.INTERRUPTED
        if code != 0:
            return Exit.FAILED
        if isinstance(manifest.spec, FineTuneJobSpec):
            made[manifest.namespace, manifest.name] = just_made(manifest.spec, status)
    return Exit.OK
