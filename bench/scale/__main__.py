"""`python -m bench.scale [burst|idle|start|takeover|chaos …]`: parts of `python -m bench scale`."""

import argparse
import os
import pstats
import signal
import sys
from pathlib import Path

from bench.scale.measures import DEFAULT, NAMES, Options, as_json, measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument(
        "what", nargs="*", metavar="|".join(NAMES), help="default: burst, idle, start"
    )
    default = Options()
    parser.add_argument("--burst", type=int, default=default.burst, help="resources at once")
    parser.add_argument("--idle", type=int, default=default.idle, help="resources in turn")
    parser.add_argument("--start", type=int, default=default.start, help="resources that are there")
    parser.add_argument("--chaos", type=int, default=default.chaos, help="resources in all")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="of chaos")
    parser.add_argument("--replicas", type=int, default=default.replicas, help="in the chaos")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="cProfile's figures of the operator's loop"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    options = parser.parse_args()
    if unknown := set(options.what) - set(NAMES):
        parser.error(f"no measurement {', '.join(sorted(unknown))}: use {', '.join(NAMES)}")
    # A limit of time must not leave a cluster behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = {name: getattr(options, name) for name in Options.__dataclass_fields__}
    found = list(measured(options.what or DEFAULT, Options(**chosen)))
    if options.json:
        options.json.write_text(as_json(found))
    if options.profile:
        figures = pstats.Stats(str(options.profile), stream=sys.stdout)
        for order in ("tottime", "cumulative"):
            figures.sort_stats(order).print_stats(25)
    # Threads of watches may wait for lines that don't come any more.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
