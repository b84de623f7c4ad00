"""How fast packages generate, beside transformers and Olive: `python -m bench optimize`.

One model for all: SmolLM2-135M-Instruct with a LoRA of the example's, merged. It is run by
transformers in fp32, as the packages that an OptimizeJob makes of it, and as those that `olive`
makes of it. Each measurement is a process of its own, with the same prompt and threads, and the
sides take turns: a busy moment of the machine hits them all. Accuracy is that of the trainer's
own evaluation, on the same rows.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import olive_program
from bench.cases import cases
from bench.figures import Rows, figure, ratio
from bench.training import train
from luthier_api.optimizejob import Benchmark, Optimizing, SourceRef
from luthier_api.runspec import OptimizeOrder, RunIdentity
from luthier_trainer.evaluation.compare import compare
from luthier_trainer.evaluation.measure import Measurement, measure
from luthier_trainer.evaluation.timing import Timing
from luthier_trainer.machine.runtime import threads
from luthier_trainer.models.load import base_config
from luthier_trainer.optimize.benchmark import Subject, benchmark
from luthier_trainer.optimize.fetch import fetch
from luthier_trainer.optimize.outputs import ordinary_tokens
from luthier_trainer.optimize.rows import Rows as Measured
from luthier_trainer.optimize.rows import read_rows
from luthier_trainer.optimize.source import assemble, tokenizer_of
from luthier_trainer.optimize.torchrunner import TorchRunner
from luthier_trainer.packages import formats
from luthier_trainer.packages.contract import Source
from luthier_trainer.packages.genai.build import GenaiBuilder, size_of

ROUNDS = 5
TIMED = Benchmark(prompt_tokens=[64], batch_sizes=[1], new_tokens=64, repeats=3)
ROWS = 300
STEPS, BATCH = 30, 32
OLIVE_SECONDS = 300
PEER = "transformers generate, fp32"


@dataclass(frozen=True)
class Sides:
    """By name. `lacking`: those that Olive makes no package of, and what it says; `vocabulary`:
    what prompts are made of."""

    subjects: dict[str, Subject]
    lacking: dict[str, str]
    source: Source
    measured: Measured
    vocabulary: list[int]


def prepare(place: Path) -> Sides:
    """Train, merge, and build all packages below `place`."""
    source, measured, vocabulary = _merged(place)
    subjects = {PEER: Subject(source.folder, None, source)}
    for precision in ("int8", "int4", "fp32"):
        folder = place / "ours" / precision
        folder.parent.mkdir(exist_ok=True)
        GenaiBuilder(Optimizing()).build(source, precision, folder)
        subjects[f"Luthier, {precision}"] = Subject(folder, "genai", source)
    lacking = {}
    for precision in ("int8", "int4"):
        name = f"Olive {olive_program.VERSION}, {precision}"
        try:
            found = _by_olive(source.folder, precision, place)
        except olive_program.FailedError as failure:
            lacking[name] = str(failure)
        else:
            subjects[name] = Subject(found, "genai", source)
    return Sides(subjects, lacking, source, measured, vocabulary)


def _merged(place: Path) -> tuple[Source, Measured, list[int]]:
    """The model, the rows that it is measured on, and its words."""
    case = cases()[0]
    training = {
        "maxSteps": STEPS,
        "perDeviceBatchSize": BATCH,
        "learningRate": 2 * case.learning_rate,
        "maxLength": 128,
    }
    what = case.for_us()
    (place / "trained").mkdir()
    train(what, training, place / "trained")
    evaluation = {
        "task": what["task"],
        "dataset": what["dataset"],
        "metrics": ["accuracy"],
        "batchSize": BATCH,
        "maxSamples": ROWS,
    }
    order = OptimizeOrder(
        run=RunIdentity(
            kind="OptimizeJob",
            namespace="bench",
            name="optimize",
            uid="bench",
            revision="r1",
            attempt=1,
        ),
        shape_hash="0" * 64,
        output=f"file://{place}/output",
        optimizing=Optimizing.model_validate({"evaluation": evaluation}),
        source=SourceRef(uri=f"file://{case.model}"),
        adapter_uri=f"file://{place}/trained/output/adapter",
        cache_dir=f"{place}/cache",
        scratch_dir=f"{place}/scratch",
        file_roots=["/"],
    )
    fetched = fetch(order, place / "fetched")
    tokenizer = tokenizer_of(fetched)
    objective, rows = read_rows(fetched, order, tokenizer, place / "rows", None)
    assert objective
    assert rows
    source = assemble(fetched, objective.head, tokenizer, 128, 0, place / "merged", apart=False)
    config = base_config(source.folder).get_text_config()
    return source, rows, ordinary_tokens(tokenizer, config.vocab_size)


def _by_olive(model: Path, precision: str, place: Path) -> Path:
    """The folder of the package that `olive` makes. Raises FailedError."""
    folder = place / "olive" / precision
    folder.mkdir(parents=True)
    command = [
        *("auto-opt", "--model_name_or_path", str(model), "--output_path", str(folder)),
        *("--device", "cpu", "--provider", "CPUExecutionProvider"),
        *("--use_model_builder", "--use_ort_genai", "--precision", precision),
    ]
    olive_program.run(command, place, OLIVE_SECONDS)
    found = list(folder.rglob("genai_config.json"))
    if len(found) != 1:
        made = sorted(path.name for path in folder.rglob("*.onnx*"))
        raise olive_program.FailedError(f"no package of onnxruntime-genai, but {made}")
    return found[0].parent


def time_all(sides: Sides, place: Path) -> dict[str, list[Timing]]:
    """Of each side, once a round."""
    found: dict[str, list[Timing]] = {name: [] for name in sides.subjects}
    for number in range(ROUNDS):
        for name, subject in sides.subjects.items():
            found[name] += benchmark(subject, TIMED, threads(), place, sides.vocabulary)
            rate = found[name][-1].tokens_per_second
            print(f"round {number + 1}: {name}: {rate:.1f} tokens/s", file=sys.stderr, flush=True)
    return found


def answers(sides: Sides) -> dict[str, Measurement]:
    """What each side makes of the rows."""
    import torch

    torch.set_num_threads(threads())
    found = {}
    for name, subject in sides.subjects.items():
        if subject.format:
            runner = formats.open_package(subject.format, subject.folder, threads())
        else:
            runner = TorchRunner(sides.source.load())
        rows = sides.measured
        found[name] = measure(
            runner.as_model(),
            rows.objective,
            rows.items,
            rows.examples,
            rows.values,
            batch_size=rows.batch_size,
        )
        print(f"{name}: {found[name].values(rows.values)}", file=sys.stderr, flush=True)
    return found


def rows() -> Rows:
    """(what, figure) for the table."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        sides = prepare(place)
        timings = time_all(sides, place)
        measured = answers(sides)
        sizes = {name: size_of(each.folder) for name, each in sides.subjects.items()}
    table = [row for name in timings for row in _rows(name, timings, measured, sizes[name])]
    return [*table, *sides.lacking.items()]


def _rows(
    name: str, timings: dict[str, list[Timing]], measured: dict[str, Measurement], size: int
) -> Rows:
    generated, read, first = (
        {each: [float(getattr(it, field)) for it in found] for each, found in timings.items()}
        for field in ("generated_tokens_per_second", "prompt_tokens_per_second", "first_token_ms")
    )
    memory = [it.memory_bytes / 1e6 for it in timings[name]]
    return [
        (name, f"{figure(generated[name], 'tokens/s')}, {ratio(generated[name], generated[PEER])}"),
        (
            f"{name}: reading",
            f"{figure(read[name], 'tokens/s', 0)}, {ratio(read[name], read[PEER])}",
        ),
        (f"{name}: first token", figure(first[name], "ms", 0)),
        (f"{name}: memory, at most", figure(memory, "MB", 0)),
        (f"{name}: size", f"{size / 1e6:.1f} MB"),
        (f"{name}: accuracy, perplexity", _quality(measured[PEER], measured[name])),
    ]


def _quality(source: Measurement, found: Measurement) -> str:
    """With the change of accuracy and what other rows could have made of it."""
    result = compare(source, found, ("accuracy", "perplexity")).result
    told = f"{result.tuned['accuracy']:.3f}, {result.tuned['perplexity']:.3f}"
    change = result.change["accuracy"]
    if change.low is None or change.high is None:
        return f"{told} ({change.by:+.3f}, {ROWS} rows)"
    return f"{told} ({change.by:+.3f}; {change.low:+.3f} to {change.high:+.3f}, {ROWS} rows)"
