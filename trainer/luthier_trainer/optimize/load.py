"""What an optimisation works with, read before anything is measured: rows, source, builder."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier_api.optimizejob import Benchmark
from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError, unsupported
from luthier_trainer.log import log
from luthier_trainer.models.load import base_config
from luthier_trainer.objectives.items import lengths
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.objectives.tokens import begin_tokens
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.optimize.job import Job
from luthier_trainer.optimize.outputs import ordinary_tokens
from luthier_trainer.optimize.rows import Rows, read_rows
from luthier_trainer.optimize.source import assemble, head_of, tokenizer_of
from luthier_trainer.packages import formats
from luthier_trainer.packages.contract import Builder, Source


@dataclass(frozen=True)
class Loaded:
    """`rows`: None where nothing is measured on any. `precisions`: the candidates. `ordinary`:
    tokens of words, which prompts are made of. `begin`: those that every text begins with."""

    source: Source
    builder: Builder
    precisions: list[str]
    rows: Rows | None
    ordinary: Sequence[int]
    begin: Sequence[int]


def load(job: Job) -> Loaded:
    """Raises TrainerError: BenchmarkTooLong, ArchitectureNotSupported, PrecisionNotSupported, and
    what read_rows and assemble raise.
    """
    wanted, fetched, folder, pod = job.wanted, job.fetched, job.folder, job.state.pod
    tokenizer = tokenizer_of(fetched)
    objective, rows = read_rows(fetched, job.order, tokenizer, folder / "data", pod.began)
    head = head_of(fetched, objective)
    timed = _timed(wanted.benchmark, fetched)
    source = assemble(
        fetched,
        head,
        tokenizer,
        max([*(lengths(rows.items) if rows else []), timed]),
        fetched.tuning.training.seed if fetched.tuning else 0,
        folder / "merged",
        apart=wanted.adapter == "Separate",
    )
    builder = formats.choose(wanted, source, pod.interrupt)
    vocabulary = base_config(source.folder).get_text_config().vocab_size
    return Loaded(
        source=source,
        builder=builder,
        precisions=_precisions(wanted.precisions, builder, source),
        rows=rows,
        ordinary=ordinary_tokens(tokenizer, vocabulary),
        begin=begin_tokens(tokenizer),
    )


def _timed(benchmark: Benchmark, fetched: Fetched) -> int:
    """Tokens of the longest text that is timed, which the model must be able to read."""
    longest = max(benchmark.prompt_tokens) + benchmark.new_tokens
    positions = positions_of(base_config(fetched.model))
    if positions and longest > positions:
        raise TrainerError(
            ExitCode.UNSUPPORTED,
            "BenchmarkTooLong",
            f"{longest} tokens are to be timed, and the model reads {positions} at most: lower "
            "benchmark.promptTokens or benchmark.newTokens",
            "benchmark.promptTokens",
        )
    return longest


def _precisions(wanted: Sequence[str], builder: Builder, source: Source) -> list[str]:
    if list(wanted) == ["auto"]:
        found = list(builder.automatic(source))
        able = [each for each in found if builder.unbuildable(source, each) is None]
        for precision in found:
            if refusal := builder.unbuildable(source, precision):
                log(f"warning: {precision} is left out: {refusal}")
        return able
    for precision in wanted:
        builder.require(precision)
        if refusal := builder.unbuildable(source, precision):
            raise unsupported("PrecisionNotSupported", refusal, "int4")
    return list(wanted)
