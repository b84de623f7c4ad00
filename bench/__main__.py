"""`python -m bench [training|quality|olive|…]`: a table of those, or of all.

`python -m bench results` runs the examples and writes docs/results.md; `python -m bench gpu` needs
a CUDA GPU; `operator_start` stores 10,000 runs first, `scale` makes thousands. None is part of all.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from importlib import import_module

from rich.console import Console
from rich.table import Table

from bench.figures import Rows

ALONE = (
    "search",
    "training",
    "quality",
    "parity",
    "olive",
    "optimize",
    "preflight",
    "memory",
    "overfitting",
    "bundle",
    "reports",
)
ON_CLUSTER = ("latency", "operator")
ON_REQUEST = ("gpu", "results", "operator_start", "scale")


def on_this_machine(chosen: set[str]) -> Rows:
    """Those that need no cluster, each imported where it is chosen."""
    found = []
    for name in (*ALONE, *ON_REQUEST):
        if name in chosen:
            found += import_module(f"bench.{name}").rows()
    return found


def on_cluster(chosen: set[str]) -> Rows:
    """Those that need the full node share one."""
    from bench import operator_memory, run_latency
    from bench.local import Bench

    measures: dict[str, Callable[[Bench], Rows]] = {
        "latency": run_latency.rows,
        "operator": operator_memory.rows,
    }
    wanted = [measure for name, measure in measures.items() if name in chosen]
    if not wanted:
        return []
    with Bench() as bench:
        return [row for measure in wanted for row in measure(bench)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = (*ALONE, *ON_CLUSTER)
    choices = (*names, *ON_REQUEST)
    parser.add_argument(
        "what", nargs="*", metavar="|".join(choices), help="default: all but those on request"
    )
    parser.add_argument("--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    if unknown := set(options.what) - set(choices):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: use {', '.join(choices)}")
    chosen = set(options.what or names)
    rows = on_this_machine(chosen) + on_cluster(chosen)
    if options.output == "json":
        json.dump(dict(rows), sys.stdout, indent=2, ensure_ascii=False)
        return
    table = Table(title=f"Measured on {platform.processor() or platform.machine()}")
    table.add_column("what")
    table.add_column("median (least to most)")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
