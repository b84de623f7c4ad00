"""What the start of a run costs on a large dataset: 1 GB of JSON lines, by the trainer's own code.

Preflight runs in a process of its own, as in a pod: all rows are checked before anything slow is
imported. Then 300,000 of them become tokens, with SmolLM2's tokenizer: for the first time, and as
the next pod or run finds them in the cache.
The rows are 200 to 1,000 characters long, no two are equal, and 1 % of them are held out by
label.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.figures import Rows, figure
from luthier_api.finetuning import FineTuning
from luthier_api.revision import shape_hash
from luthier_api.runspec import RunIdentity, RunSpec
from luthier_demo import content
from luthier_trainer.data.examples import Examples

BYTES = 10**9
ROUNDS = 3
LIMIT_SECONDS = 900
TOKEN_ROWS = 300_000
_LABELS = ("act", "animal", "artifact", "location", "person")


@dataclass(frozen=True)
class Measured:
    """One process. `peak_bytes` is of resident memory, when all rows have been checked."""

    rows: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    tokens: int
    first_seconds: float
    first_cpu_seconds: float
    again_seconds: float
    again_cpu_seconds: float


def rows() -> Rows:
    """(what, figure) for the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _generate(folder / "train.jsonl")
        spec = folder / "runspec.json"
        spec.write_text(json.dumps(_spec(folder).to_json()))
        measured = []
        for number in range(ROUNDS):
            measured.append(_measure(spec))
            print(f"round {number + 1}: preflight: {measured[-1]}", file=sys.stderr)
    what = f"preflight of 1 GB, {measured[0].rows:,} rows"
    return [
        (what, figure([one.seconds for one in measured], "s")),
        (f"{what}: CPU time", figure([one.cpu_seconds for one in measured], "s")),
        (f"{what}: peak memory", figure([one.peak_bytes / 1e6 for one in measured], "MB", 0)),
        *_of_tokens(measured),
    ]


def _of_tokens(measured: list[Measured]) -> Rows:
    what = f"{TOKEN_ROWS:,} rows as {measured[0].tokens:,} tokens"
    return [
        (f"{what}, first", figure([one.first_seconds for one in measured], "s")),
        (f"{what}, first: CPU time", figure([one.first_cpu_seconds for one in measured], "s")),
        (f"{what}, again", figure([one.again_seconds for one in measured], "s")),
        (f"{what}, again: CPU time", figure([one.again_cpu_seconds for one in measured], "s")),
    ]


def _generate(path: Path) -> None:
    rng = random.Random(0)  # noqa: S311 - text, not a secret
    words = ["".join(rng.choices("etaoinshrdlucmfwyp", k=rng.randint(2, 9))) for _ in range(5000)]
    prose = " ".join(rng.choices(words, k=200_000))
    written = number = 0
    with path.open("wb") as file:
        while written < BYTES:
            start, length = rng.randrange(len(prose) - 1000), rng.randint(200, 1000)
            text = f"{number} {prose[start : start + length]}"
            row = {"text": text, "label": rng.choice(_LABELS)}
            written += file.write(json.dumps(row).encode() + b"\n")
            number += 1


def _spec(folder: Path) -> RunSpec:
    tuning = FineTuning.model_validate(
        {
            "model": {"uri": f"file://{content.model()}"},
            "task": "classification",
            "dataset": {
                "uri": f"file://{folder}/train.jsonl",
                "template": "{text}\nCategory: {label}",
                "evalFraction": 0.01,
                "stratifyBy": "label",
            },
            "training": {"maxSteps": 1},
        }
    )
    output = f"file://{folder}/output"
    return RunSpec(
        run=RunIdentity(namespace="bench", name="run", uid="bench", revision="r1-bench", attempt=1),
        fine_tuning=tuning,
        shape_hash=shape_hash(tuning, output),
        output=output,
        cache_dir=f"{folder}/cache",
        scratch_dir=f"{folder}/scratch",
        file_roots=["/"],
    )


def _measure(spec: Path) -> Measured:
    done = subprocess.run(
        [sys.executable, "-m", "bench.preflight", str(spec)],
        check=True,
        stdout=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
    )
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Preflight of a run spec; prints what it took."""
    from luthier_trainer.data.prepare import load

    spec = RunSpec.model_validate(json.loads(Path(sys.argv[1]).read_text()))
    started = time.monotonic()
    examples = load(spec, Path(spec.scratch_dir))
    seconds, facts = time.monotonic() - started, examples.facts
    # Not ru_maxrss: that begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    cpu_seconds = time.process_time()
    found = Measured(facts.train + facts.eval, seconds, cpu_seconds, peak, *_encode(spec, examples))
    print(json.dumps(asdict(found)))


def _encode(spec: RunSpec, examples: Examples) -> tuple[int, float, float, float, float]:
    """Tokens; seconds and CPU seconds of the first and of the second time, without imports."""
    from luthier_trainer.finetune.inspection import inspect
    from luthier_trainer.finetune.tokencache import TokenCache, shape_of
    from luthier_trainer.models.architecture import describe
    from luthier_trainer.models.load import load_tokenizer
    from luthier_trainer.objectives.choose import choose

    folder = content.model()
    tokenizer = load_tokenizer(folder)
    objective = choose(spec.fine_tuning, examples, tokenizer, describe(folder))
    train = examples.train[:TOKEN_ROWS]
    took: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(2):
            started, cpu = time.monotonic(), time.process_time()
            shape = shape_of(spec, examples, objective, tokenizer, folder, None)
            cache = TokenCache(Path(name, "cache"), Path(name, "scratch"), shape)
            tokens = inspect(objective, cache.items("train", objective, train, _ignore)).kept
            took += [time.monotonic() - started, time.process_time() - cpu]
    first, first_cpu, again, again_cpu = took
    return tokens, first, first_cpu, again, again_cpu


def _ignore(_: int) -> None:
    return


if __name__ == "__main__":
    main()
