"""`python -m bench [training|latency|memory …]`: a table of those, or of all."""

import argparse
import json
import platform
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

Rows = list[tuple[str, str]]


def training() -> Rows:
    from bench.training import rows

    return rows()


def on_cluster(chosen: set[str]) -> Rows:
    """Those that need the full node share one."""
    from bench import operator_memory, run_latency
    from bench.local import Bench

    measures: dict[str, Callable[[Bench], Rows]] = {
        "latency": run_latency.rows,
        "memory": operator_memory.rows,
    }
    wanted = [measure for name, measure in measures.items() if name in chosen]
    if not wanted:
        return []
    with Bench() as bench:
        return [row for measure in wanted for row in measure(bench)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    names = ("training", "latency", "memory")
    parser.add_argument("what", nargs="*", metavar="|".join(names), help="default: all")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    if unknown := set(options.what) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: use {', '.join(names)}")
    chosen = set(options.what or names)
    rows = (training() if "training" in chosen else []) + on_cluster(chosen)
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
