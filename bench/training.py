"""Training speed beside transformers.Trainer, and what checkpoints cost: the time that training
stands still, and, by steps with and without them, what their hashing, uploading and drawing takes
from it in the background.

Each measurement is a process of its own; the sides take turns, so that a busy moment of the
machine hits them all, and each round has another seed. Tokens are counted without padding, over
the second half of the steps: before, each size of batch touches new memory. The peer runs with its
defaults, and a second time with our batch size and bf16.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cases import Case, Json, cases
from bench.figures import Rows, figure, ratio
from luthier_api.finetuning import FineTuning
from luthier_api.revision import shape_hash
from luthier_api.runspec import RunIdentity, RunSpec

ROUNDS = 3
EXAMPLES = 640  # that each side learns from
PEER_BATCH = 8
LIMIT_SECONDS = 900
# A pod takes checkpoints this often unless told otherwise.
DEFAULT_INTERVAL = 100
# Where the whole cost of checkpoints is measured: this often, so that it stands out of the noise.
OFTEN = 2


@dataclass(frozen=True)
class Measured:
    """One process."""

    tokens_per_second: float
    first_step_seconds: float  # from the start of the process
    blocked_share: float = 0.0  # of training time, with a checkpoint every 100 steps
    losses: Sequence[float] = ()  # where they were asked for
    step_seconds: float = 0.0  # on the clock, from the first step to the last


def measure_ours(
    case: Case, batch: int, steps: int | None = None, gpus: int = 0, **changes: Any
) -> Measured:
    """Train as a pod would. `changes`: fields of spec.training."""
    steps = steps or max(EXAMPLES // batch, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training = {
            "maxSteps": steps,
            "perDeviceBatchSize": batch,
            "learningRate": case.learning_rate,
            "maxLength": 128,
            # The first step is logged, and the last with what came since half of them.
            "logEverySteps": steps // 2,
            "saveEverySteps": max(steps // 2, 1),
            **changes,
        }
        first = 0.0
        for since, line in train(case.for_us(), training, folder, gpus=gpus):
            if f" step 1/{steps} " in line:
                first = since
        output = folder / "output"
        logged = [entry for entry in journal(folder) if "loss" in entry]
        head, tail = logged[0], logged[-1]
        cost = json.loads((output / "manifest.json").read_text())["checkpointCost"]
        step_seconds = (tail["seconds"] - head["seconds"]) / (tail["step"] - head["step"])
        blocked = cost["blockedSeconds"] / cost["count"]
        return Measured(
            tail["tokens_per_second"],
            first,
            blocked / (DEFAULT_INTERVAL * step_seconds),
            step_seconds=step_seconds,
        )


def train(
    what: Json,
    training: Json,
    folder: Path,
    metrics: tuple[str, ...] = ("loss",),
    gpus: int = 0,
    module: str = "luthier_trainer",
) -> list[tuple[float, str]]:
    """Run the trainer, or another `module` that runs it, to its end: (seconds since its start,
    line) of its log.

    Raises SystemExit with the log's end when it fails.
    """
    tuning = FineTuning.model_validate(
        {
            **what,
            "training": training,
            "evaluation": {"metrics": list(metrics), "batchSize": 32, "maxSamples": 32},
        }
    )
    output = f"file://{folder}/output"
    spec = RunSpec(
        run=RunIdentity(namespace="bench", name="run", uid="bench", revision="r1-bench", attempt=1),
        fine_tuning=tuning,
        shape_hash=shape_hash(tuning, output),
        output=output,
        cache_dir=f"{folder}/cache",
        scratch_dir=f"{folder}/scratch",
        gpus=gpus,
        file_roots=["/"],
    )
    path = folder / "runspec.json"
    path.write_text(json.dumps(spec.to_json()))
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(path)],
        env={**os.environ, "LUTHIER_TERMINATION_LOG": str(folder / "result")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines = [(time.monotonic() - started, line) for line in process.stderr]
    if process.wait(LIMIT_SECONDS) != 0:
        raise SystemExit("".join(line for _, line in lines[-20:]))
    return lines


def journal(folder: Path) -> list[Json]:
    """What `train` measured on its way, by the entry."""
    lines = (folder / "output" / "report" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def measure_peer(case: Case, batch: int, bf16: bool, seed: int) -> Measured:
    """transformers.Trainer, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        steps = max(EXAMPLES // batch // (1 if bf16 else 2), 3)
        return run_peer(case.for_peer(Path(folder), steps, batch, bf16, seed), Path(folder))


def run_peer(case: Json, folder: Path) -> Measured:
    path = folder / "case.json"
    path.write_text(json.dumps(case))
    done = subprocess.run(
        [sys.executable, "-m", "bench.peer", str(path)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def sides(case: Case) -> dict[str, Callable[[int], Measured]]:
    """By name, the peer's defaults first: the measurement with a seed."""
    return {
        f"transformers.Trainer, batch {PEER_BATCH}": lambda seed: measure_peer(
            case, PEER_BATCH, False, seed
        ),
        f"transformers.Trainer, batch {case.batch}, bf16": lambda seed: measure_peer(
            case, case.batch, True, seed
        ),
        f"Luthier, batch {PEER_BATCH}": lambda seed: measure_ours(case, PEER_BATCH, seed=seed),
        _seldom(case): lambda seed: measure_ours(case, case.batch, seed=seed),
        _often(case): lambda seed: measure_ours(case, case.batch, seed=seed, saveEverySteps=OFTEN),
    }


def _seldom(case: Case) -> str:
    return f"Luthier, batch {case.batch}"


def _often(case: Case) -> str:
    return f"{_seldom(case)}, a checkpoint every {OFTEN} steps"


def rows() -> Rows:
    """(what, figure) for the table."""
    found = {case: {name: list[Measured]() for name in sides(case)} for case in cases()}
    for seed in range(ROUNDS):
        for case, measured in found.items():
            for name, side in sides(case).items():
                measured[name].append(side(seed))
                rate = measured[name][-1].tokens_per_second
                print(
                    f"round {seed + 1}: {case.name}: {name}: {rate:.0f} tokens/s", file=sys.stderr
                )
    return [row for case, measured in found.items() for row in _rows(case, measured)]


def _rows(case: Case, measured: dict[str, list[Measured]]) -> Rows:
    peer, *_ = rates = {n: [m.tokens_per_second for m in ms] for n, ms in measured.items()}
    table = [
        (f"{case.name}: {name}", f"{figure(values, 'tokens/s')}, {ratio(values, rates[peer])}")
        for name, values in rates.items()
    ]
    starts = {name: [m.first_step_seconds for m in ms] for name, ms in measured.items()}
    table += [
        (f"{case.name}: start → first step: {name}", figure(starts[name], "s"))
        for name in starts
        if str(PEER_BATCH) in name
    ]
    ours = [ms for n, ms in measured.items() if "Luthier" in n and n != _often(case)]
    shares = [100 * m.blocked_share for ms in ours for m in ms]
    table.append((f"{case.name}: held up by checkpoints", figure(shares, "%", 3)))
    # A little less than all: the other side takes one checkpoint halfway.
    whole = [
        100 * OFTEN / DEFAULT_INTERVAL * (often.step_seconds / seldom.step_seconds - 1)
        for often, seldom in zip(measured[_often(case)], measured[_seldom(case)], strict=True)
    ]
    table.append((f"{case.name}: slowed by checkpoints, all their work", figure(whole, "%", 3)))
    return table
