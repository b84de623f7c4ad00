"""Runs the tests, stage by stage, and ends with what took the time.

`make test` calls it with no argument: everything that a change can break. `--all` adds the complete
matrices; `--faults` runs faults that last, and nothing else. Tests run on all cores at once. A
report of each stage lies in out/tests as JUnit XML.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
REPORTS = ROOT / "out" / "tests"
# Those that wait come first: others compute meanwhile.
HERE = ("tests/integration", "tests/contract", "tests/unit")
NODE = ("tests/e2e",)
FAULTS = ("tests/integration",)
SLOWEST = 10
_STEAL = ["--dist", "worksteal"]


@dataclass(frozen=True)
class Stage:
    """A command, in words of what it checks."""

    name: str
    words: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        return REPORTS / f"{self.name}.xml"


@dataclass(frozen=True)
class Ended:
    stage: Stage
    code: int
    seconds: float
    interrupted: bool

    @property
    def good(self) -> bool:
        return self.code == 0


def stages(workers: int, matrices: bool, order: str) -> list[Stage]:
    """All of them, in the order in which they run: what fails fast comes first."""
    marks = "not faults" if matrices else "not faults and not matrix and not engines"
    return [
        Stage("lint", "linters, types, who imports whom", ["make", "--no-print-directory", "lint"]),
        Stage("generated", "generated files", ["make", "--no-print-directory", "verify"]),
        _prepared(),
        _tests("tests", "unit, contract, integration", HERE, workers, marks, order),
        _tests("e2e", "on a real node", NODE, workers, marks, order),
    ]


def faults(workers: int, order: str) -> list[Stage]:
    """Those of `make faults`, whose tests wait more than they compute."""
    words = "faults that last"
    return [_prepared(), _tests("faults", words, FAULTS, workers, "faults", order)]


def _prepared() -> Stage:
    command = [sys.executable, "-m", "luthier_demo", "prepare", "--for-tests"]
    return Stage("prepare", "binaries and images of the cluster", command)


def _tests(
    name: str, words: str, folders: Sequence[str], workers: int, marks: str, order: str
) -> Stage:
    """pytest on `folders`, by workers beside each other."""
    command = [sys.executable, "-m", "pytest", *folders, "-q", "-n", str(workers)]
    # Neighbouring tests go to one worker, so that what a module's tests share is made once. On
    # the node a whole module does: its runs are applied together, by its first test.
    command += ["--dist", "loadfile", "--no-loadscope-reorder"] if folders is NODE else _STEAL
    command += [f"--junitxml={REPORTS / name}.xml", "-o", "junit_duration_report=total"]
    command += ["-m", marks]
    if order != "fixed":
        command += ["-p", "randomly", f"--randomly-seed={order}"]
    # One thread for each worker: tiny models gain nothing of a second one.
    environment = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    return Stage(name, words, command, environment)


def run(stage: Stage) -> Ended:
    """Run it to its end, also when the terminal's Ctrl-C ends it: it cleans up behind itself."""
    print(f"\n\033[1m[{stage.name}]\033[0m {stage.words}", flush=True)
    stage.report.unlink(missing_ok=True)
    started = time.monotonic()
    process = subprocess.Popen(stage.command, cwd=ROOT, env={**os.environ, **stage.environment})
    interrupted = False
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            interrupted = True  # it has had the same signal
            continue
        return Ended(stage, code, time.monotonic() - started, interrupted)


def times(report: Path) -> Iterator[tuple[float, str]]:
    """Seconds of each test with its fixtures, and its name."""
    if not report.exists():
        return
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        yield float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}"


def summary(ended: Sequence[Ended]) -> str:
    """A table of the stages, and the slowest tests."""
    lines = ["", "\033[1mSlowest tests\033[0m"]
    found = [entry for end in ended for entry in times(end.stage.report)]
    lines += [f"  {seconds:6.1f} s  {name}" for seconds, name in sorted(found)[: -SLOWEST - 1 : -1]]
    lines += ["", "\033[1mStages\033[0m"]
    for end in ended:
        word = "passed" if end.good else f"\033[31mfailed ({end.code})\033[0m"
        lines.append(f"  {end.stage.name:<12} {_clock(end.seconds)}  {word}")
    lines.append(f"  {'all':<12} {_clock(sum(end.seconds for end in ended))}")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:3d}:{int(seconds) % 60:02d} min"


def main() -> None:
    """Exit code: 0, or 1 if a stage failed, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--all", action="store_true", help="the complete matrices, too")
    parser.add_argument("--faults", action="store_true", help="faults that last, instead")
    parser.add_argument("--workers", type=int, default=(os.cpu_count() or 1) + 2)
    parser.add_argument("--order", default="fixed", help="fixed (default), random, or a seed")
    parser.add_argument("--stage", action="append", help="only this one; can be repeated")
    options = parser.parse_args()
    order = str(random.getrandbits(32)) if options.order == "random" else options.order
    chosen = (
        faults(options.workers, order)
        if options.faults
        else stages(options.workers, options.all, order)
    )
    if unknown := set(options.stage or ()) - {stage.name for stage in chosen}:
        parser.error(f"no stage {', '.join(unknown)}; {', '.join(s.name for s in chosen)}")
    REPORTS.mkdir(parents=True, exist_ok=True)
    ended: list[Ended] = []
    for stage in chosen:
        if options.stage and stage.name not in options.stage:
            continue
        ended.append(run(stage))
        if ended[-1].interrupted:
            break
    print(summary(ended))
    if ended[-1].interrupted:
        raise SystemExit(130)
    raise SystemExit(int(not all(end.good for end in ended)))


if __name__ == "__main__":
    main()
