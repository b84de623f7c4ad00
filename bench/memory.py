"""How much memory a training was expected to need, and needed: every method on a decoder, an
encoder and an encoder-decoder.

Each cell is a process of its own that learns from two batches of the longest rows, twice: the
largest one comes again when the optimiser has its state. Both numbers are from its manifest.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.cases import Case, cases
from bench.figures import Rows
from bench.training import train

METHODS = ("full", "lora", "qlora", "adapter")
BATCHES = (8, 32)
STEPS = 4


def models() -> dict[str, Case]:
    """What is learnt by each kind of model: SmolLM2-135M, MiniLM and an untrained T5."""
    found = {case.name: case for case in cases()}
    return {
        "SmolLM2, 135 M": found["LoRA, loss on the answer"],
        "MiniLM, 23 M": found["encoder, full (MiniLM)"],
        "T5, 69 M": found["seq2seq, LoRA (T5, random weights)"],
    }


def measure(case: Case, batch: int) -> tuple[int, int]:
    """(expected, measured) bytes at the peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        what = case.for_us()
        learnt = longest(case.data, 2 * batch, folder)
        what["dataset"] = {**what["dataset"], "uri": f"file://{learnt}"}
        del what["dataset"]["test"]  # nothing is evaluated
        training = {
            "maxSteps": STEPS,
            "saveEverySteps": STEPS // 2,  # uploaded while the next steps run
            "perDeviceBatchSize": batch,
            "learningRate": case.learning_rate,
            "maxLength": 128,
        }
        train(what, training, folder)
        found = json.loads((folder / "output" / "manifest.json").read_text())["estimate"]
    return found["memoryBytes"], found["measuredMemoryBytes"]


def longest(data: Path, count: int, folder: Path) -> Path:
    """A file of so many of the longest training rows."""
    lines = (data / "train.jsonl").read_text().splitlines(keepends=True)
    path = folder / "longest.jsonl"
    path.write_text("".join(sorted(lines, key=len)[-count:]))
    return path


def rows() -> Rows:
    """(what, figure) for the table."""
    found = []
    for name, case in models().items():
        for method in METHODS:
            for batch in BATCHES:
                expected, measured = measure(replace(case, method=method), batch)
                what = f"{name}: {method}, batch {batch}"
                figure = (
                    f"{expected / 1e6:,.0f} MB expected, {measured / 1e6:,.0f} MB measured, "
                    f"{100 * (expected / measured - 1):+.0f} %"
                )
                print(f"{what}: {figure}", file=sys.stderr)
                found.append((what, figure))
    return found
