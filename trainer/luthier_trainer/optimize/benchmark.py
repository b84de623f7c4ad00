"""How fast a model reads and generates, and what memory it takes: each measurement in a process
of its own, so that load time and peak memory are its own."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import Benchmark
from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation.timing import Timing
from luthier_trainer.machine import child
from luthier_trainer.machine.runtime import hide_unused_packages, peak_resident_bytes
from luthier_trainer.packages.contract import FormatName, Runner, Source

_SECONDS = 3600
_DIGITS = 4


@dataclass(frozen=True)
class Subject:
    """What is timed: a package, or the source itself (then `folder` is its own)."""

    folder: Path
    format: FormatName | None
    source: Source


def benchmark(
    subject: Subject, wanted: Benchmark, threads: int, scratch: Path, vocabulary: Sequence[int]
) -> list[Timing]:
    """Every prompt length with every batch size. `vocabulary`: tokens that prompts are made of.

    Raises TrainerError (BenchmarkFailed, OutOfMemory).
    """
    return [
        _one(subject, wanted, tokens, rows, threads, scratch, vocabulary)
        for tokens in wanted.prompt_tokens
        for rows in wanted.batch_sizes
    ]


def _one(
    subject: Subject,
    wanted: Benchmark,
    tokens: int,
    rows: int,
    threads: int,
    scratch: Path,
    vocabulary: Sequence[int],
) -> Timing:
    order, answer = scratch / "benchmark.json", scratch / "timing.json"
    pool = [vocabulary[(7919 * index) % len(vocabulary)] for index in range(tokens * rows)]
    source = subject.source
    document = {
        "folder": str(subject.folder),
        "format": subject.format,
        "head": [source.head.auto_class, source.head.labels],
        "padId": source.pad_id,
        "longest": source.longest,
        "bottleneck": str(source.bottleneck) if source.bottleneck else None,
        "threads": threads,
        "prompts": [pool[tokens * row : tokens * (row + 1)] for row in range(rows)],
        "newTokens": wanted.new_tokens,
        "repeats": wanted.repeats,
    }
    order.write_text(json.dumps(document))
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "luthier_trainer.optimize.benchmark", str(order), str(answer)]
    try:
        child.run(command, scratch / "benchmark.log", _SECONDS, {"OMP_NUM_THREADS": str(threads)})
    except child.ChildError as error:
        raise TrainerError(
            ExitCode.INTERNAL,
            "OutOfMemory" if error.killed else "BenchmarkFailed",
            f"{rows} prompts of {tokens} tokens and {wanted.new_tokens} new ones can't be timed: "
            f"{error}",
            "benchmark",
        ) from error
    return Timing(**json.loads(answer.read_bytes()))


def main() -> None:
    """The process of one measurement: ORDER.json TIMING.json."""
    order = json.loads(Path(sys.argv[1]).read_bytes())
    _prepare(order)
    started = time.perf_counter()
    runner = _open(order)
    load_seconds = time.perf_counter() - started
    prompts, new_tokens = order["prompts"], order["newTokens"]
    _timed(runner, prompts, min(new_tokens, 2))  # warm: pages, thread pools, kernels
    found = [_timed(runner, prompts, new_tokens) for _ in range(order["repeats"])]
    timing = _timing(prompts, found, load_seconds, new_tokens)
    Path(sys.argv[2]).write_text(json.dumps(asdict(timing)))


def _prepare(order: dict[str, Any]) -> None:
    """Imports, which aren't load time."""

    if order["format"] is None:
        hide_unused_packages()
        import torch
        import transformers

        getattr(transformers, order["head"][0])
        torch.set_num_threads(order["threads"])
    elif order["format"] == "genai":
        from luthier_trainer.packages.genai.runner import library

        library()
    else:
        import onnxruntime  # noqa: F401


def _open(order: dict[str, Any]) -> Runner:
    from luthier_trainer.packages import formats

    folder = Path(order["folder"])
    if order["format"] is not None:
        return formats.open_package(order["format"], folder, order["threads"])
    # Of what PyTorch runs alone: its import would count in a package's memory.
    from luthier_trainer.models.heads import Head
    from luthier_trainer.optimize.torchrunner import TorchRunner

    name, labels = order["head"]
    bottleneck = Path(order["bottleneck"]) if order["bottleneck"] else None
    source = Source(
        folder, Head(name, tuple(labels)), "", order["padId"], order["longest"], bottleneck
    )
    return TorchRunner(source.load())


def _timed(runner: Runner, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[float]:
    """Seconds from the request to each token."""
    stamps: list[float] = []
    started = time.perf_counter()
    runner.answer(prompts, new_tokens, lambda: stamps.append(time.perf_counter() - started))
    return stamps


def _timing(
    prompts: Sequence[Sequence[int]],
    found: Sequence[Sequence[float]],
    load_seconds: float,
    new_tokens: int,
) -> Timing:
    import numpy as np

    rows, tokens = len(prompts), len(prompts[0])
    first = np.array([stamps[0] for stamps in found])
    rates = [
        rows * (len(stamps) - 1) / (stamps[-1] - stamps[0]) for stamps in found if len(stamps) > 1
    ]
    return Timing(
        prompt_tokens=tokens,
        batch_size=rows,
        new_tokens=new_tokens if rates else 0,
        load_seconds=round(load_seconds, _DIGITS),
        memory_bytes=peak_resident_bytes(),
        prompt_tokens_per_second=round(float(np.median(rows * tokens / first)), 2),
        first_token_ms=round(1000 * float(np.median(first)), _DIGITS),
        first_token_p95_ms=round(1000 * float(np.quantile(first, 0.95)), _DIGITS),
        generated_tokens_per_second=round(float(np.median(rates)), 2) if rates else None,
    )


if __name__ == "__main__":
    main()
