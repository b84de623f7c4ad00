"""`make demo`, `make demo-down`, and what `make test` prepares."""

import argparse
import subprocess
import sys

from luthier_cluster import Cluster, ClusterError
from luthier_cluster.output import say
from luthier_demo.play import NAME, play
from luthier_demo.prepare import prepare


def main() -> int:
    parser = argparse.ArgumentParser(prog="luthier_demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    upping = commands.add_parser("up", help="run the demo")
    upping.add_argument("--trainer-image", action="store_true", help="train in the built image")
    commands.add_parser("down", help="take the demo's cluster down")
    preparing = commands.add_parser("prepare", help="make what needs no cluster")
    preparing.add_argument("--for-tests", action="store_true", help="and what the tests need")
    chosen = parser.parse_args()
    try:
        match chosen.command:
            case "up":
                play(chosen.trainer_image)
            case "down":
                Cluster(NAME).down()
            case _:
                prepare(chosen.for_tests)
    except (ClusterError, subprocess.SubprocessError) as error:
        say(f"\nfailed: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ninterrupted; `make demo` goes on from here, `make demo-down` takes all down")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
