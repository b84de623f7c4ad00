"""How often the rule of docs/overfitting.md speaks on real trainings, and is right.

The encoder's examples, each on many rows that are seen once and on few that are seen over and over,
with an evaluation every few steps. What a run then knows judges what it was told: false is
what was followed by a lower loss on `eval`; missed is a run whose loss ended above its lowest, by
more than the rule's margin, and that was told nothing.
"""

import sys
import tempfile
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import yaml

from bench.cases import Json
from bench.figures import Rows
from bench.results import EXAMPLES, model_of, prepared
from bench.training import journal, train

NAMES = ("encoder", "entities", "pairs")
SEEDS = (1, 2, 3)
STEPS, BATCH = 120, 32
EVERY = 5  # steps between evaluations
FEW = 256  # rows: 15 passes
EVAL_ROWS = 400


@dataclass(frozen=True)
class Judged:
    """One run, afterwards. `told`: at one of its evaluations at least."""

    told: bool
    false: bool
    by_heart: bool


def judge(entries: list[Json]) -> Judged:
    """`entries`: of metrics.jsonl. The rule sees what it saw then: those up to each evaluation."""
    from luthier_trainer.training.journal import Journal
    from luthier_trainer.training.overfitting import MARGIN, overfitting

    until = [Journal(entries[: n + 1]) for n, entry in enumerate(entries) if "eval_loss" in entry]
    told = [bool(overfitting(seen.series("loss"), seen.series("eval_loss"))) for seen in until]
    _, losses = Journal(entries).series("eval_loss")
    lowest = list(accumulate(losses, min))
    return Judged(
        told=any(told),
        false=any(now and lowest[-1] < low for now, low in zip(told, lowest, strict=True)),
        by_heart=losses[-1] > (1 + MARGIN) * lowest[-1],
    )


def measure(name: str, work: Path, seed: int, rows: int | None) -> Judged:
    """Train an example's task. `rows`: how many it learns from; None is all."""
    spec = yaml.safe_load((EXAMPLES / name / "finetunejob.yaml").read_text())["spec"]
    data = prepared(name, "data", work / name)
    dataset = {
        "uri": f"file://{data}",
        "columns": spec["dataset"]["columns"],
        "train": f"train[:{rows}]" if rows else "train",
        "eval": f"test[:{EVAL_ROWS}]",
    }
    what: Json = {
        "model": {"uri": f"file://{model_of(spec, work)}"},
        "task": spec["task"],
        "dataset": dataset,
        "method": spec["method"],
    }
    training = {
        **spec["training"],
        "maxSteps": STEPS,
        "perDeviceBatchSize": BATCH,
        "seed": seed,
        "evalEverySteps": EVERY,
        "logEverySteps": EVERY,
        "saveEverySteps": STEPS,
    }
    with tempfile.TemporaryDirectory() as folder:
        train(what, training, Path(folder))
        return judge(journal(Path(folder)))


def rows() -> Rows:
    """(what, figure) for the table."""
    found = []
    with tempfile.TemporaryDirectory(prefix="luthier-overfitting-") as folder:
        for what, count in (("all rows", None), (f"{FEW} rows, over and over", FEW)):
            judged = []
            for name in NAMES:
                for seed in SEEDS:
                    judged.append(measure(name, Path(folder), seed, count))
                    print(f"{name}, {what}, seed {seed}: {judged[-1]}", file=sys.stderr)
            found.append((what, _counts(judged)))
    return found


def _counts(judged: list[Judged]) -> str:
    return (
        f"{len(judged)} runs, {sum(run.by_heart for run in judged)} ended above their lowest loss; "
        f"{sum(run.told for run in judged)} told, {sum(run.false for run in judged)} falsely, "
        f"{sum(run.by_heart and not run.told for run in judged)} missed"
    )
