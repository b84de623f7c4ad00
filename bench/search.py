"""What a search costs beside its trainings, and what tpe finds that chance doesn't.

Overhead: the time between one trial's training and the next one's, in a worker whose cache is warm.
Found: the best loss on eval after so many trials of 20 steps of the encoder's task, over three
seeds.
"""

import re
import statistics
import sys
import tempfile
from itertools import accumulate, pairwise
from pathlib import Path

import yaml

from bench.cases import Json
from bench.figures import Rows, figure
from bench.results import EXAMPLES, model_of, prepared
from bench.training import train

TRIALS, STEPS, SEEDS = 20, 20, (1, 2, 3)
SHOWN = (5, 10, 20)
SPACE: Json = {
    "learningRate": {"type": "float", "low": 1e-6, "high": 1e-1, "log": True},
    "lora.rank": {"type": "int", "low": 2, "high": 64, "log": True},
    "perDeviceBatchSize": {"type": "choice", "values": [4, 8, 16]},
}
_TRAINED = re.compile(r"trained to step \d+ in ([\d.]+) s")
_ENDED = re.compile(r"trial (\d+): Complete, loss ([\d.]+) at step")
_BEGUN = re.compile(r"trial (\d+) of \d+: ")


def measure(strategy: str, seed: int, work: Path) -> tuple[list[float], list[float]]:
    """(the best loss after each trial, seconds of each trial but the first beside its training)."""
    spec = yaml.safe_load((EXAMPLES / "encoder" / "finetunejob.yaml").read_text())["spec"]
    data = prepared("encoder", "data", work / "encoder")
    what: Json = {
        "model": {"uri": f"file://{model_of(spec, work)}"},
        "task": spec["task"],
        "dataset": {
            "uri": f"file://{data}",
            "columns": spec["dataset"]["columns"],
            "eval": "test[:400]",
        },
        "method": {"type": "lora"},
        "search": {
            "strategy": strategy,
            "trials": TRIALS,
            "seed": seed,
            "objective": {"metric": "eval_loss", "direction": "minimize"},
            "space": SPACE,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        log = train(what, {"maxSteps": STEPS, "maxLength": 128}, Path(folder))
    begun = [since for since, line in log if _BEGUN.search(line)]
    trained = [float(found[1]) for _, line in log if (found := _TRAINED.search(line))]
    losses = [float(found[2]) for _, line in log if (found := _ENDED.search(line))]
    between = [after - before for before, after in pairwise(begun)]
    beside = [whole - training for whole, training in zip(between, trained, strict=False)]
    return list(accumulate(losses, min)), beside[1:]


def rows() -> Rows:
    """(what, figure) for the table."""
    best: dict[str, list[list[float]]] = {"random": [], "tpe": []}
    beside: list[float] = []
    with tempfile.TemporaryDirectory(prefix="luthier-search-") as folder:
        for seed in SEEDS:
            for strategy, found in best.items():
                course, overhead = measure(strategy, seed, Path(folder))
                found.append(course)
                beside += overhead
                print(f"{strategy}, seed {seed}: {course}", file=sys.stderr)
    told = [("a trial beside its training", figure(beside, "s", 2))]
    for count in SHOWN:
        for strategy, found in best.items():
            ends = [course[count - 1] for course in found]
            mean = f"{statistics.mean(ends):.4f} ({min(ends):.4f} to {max(ends):.4f})"
            told.append((f"best loss after {count} trials, {strategy}", mean))
    return told
