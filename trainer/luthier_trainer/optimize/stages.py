"""The stages that need torch: the source measured, candidates built and measured, one chosen."""

import gc
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from luthier_api.optimizejob import Candidate
from luthier_api.result import ExitCode, OptimizeResult
from luthier_trainer import publish
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation.measure import measure
from luthier_trainer.log import log
from luthier_trainer.models.load import base_config
from luthier_trainer.objectives.choose import positions_of
from luthier_trainer.objectives.items import lengths
from luthier_trainer.optimize import formats
from luthier_trainer.optimize.benchmark import Subject, benchmark
from luthier_trainer.optimize.choose import choose
from luthier_trainer.optimize.contract import Runner
from luthier_trainer.optimize.devices import machine, runs_here
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.optimize.gates import judge
from luthier_trainer.optimize.likeness import fixed_rows, ordinary_tokens, outputs
from luthier_trainer.optimize.measured import Measured, Told, baseline, from_json, told
from luthier_trainer.optimize.report import Summary, Tried, write_report
from luthier_trainer.optimize.rows import read_rows
from luthier_trainer.optimize.run import Optimization, artifact_of
from luthier_trainer.optimize.shelf import Shelf, key_of
from luthier_trainer.optimize.source import assemble, head_of, tokenizer_of
from luthier_trainer.optimize.torchrunner import TorchRunner
from luthier_trainer.runtime import cpu_limit
from luthier_trainer.storage.objectstore import ObjectStore

_REASON = 300  # characters of Candidate.reason
# Errors that one candidate may end with while others go on.
_OF_A_CANDIDATE = ("BuildFailed", "DoesNotRun", "BenchmarkFailed", "OutOfMemory")


class Stages:
    """What the stages of an optimisation share."""

    def __init__(
        self, run: Optimization, output: ObjectStore, shelf: Shelf, fetched: Fetched, folder: Path
    ) -> None:
        self.run = run
        self.pod = run.pod
        self.order = run.order
        self.wanted = run.order.optimizing
        self.output = output
        self.shelf = shelf
        self.fetched = fetched
        self.folder = folder
        self.tried: list[Tried] = []
        self.keys: dict[str, str] = {}  # precision → key on the shelf

    def execute(self) -> OptimizeResult:
        """Raises TrainerError, Interrupted or Superseded."""
        torch.set_num_threads(cpu_limit())
        self._load()
        self._measure_source()
        for precision in self.precisions:
            self._try(precision)
        chosen = choose(self.run.candidates, self.wanted)
        if chosen is None:
            raise self._none_passed()
        return self._publish(chosen)

    def _load(self) -> None:
        """The rows, the source as one model, and what is tried of it."""
        self.pod.reporter.stage("Loading")
        wanted, fetched = self.wanted, self.fetched
        tokenizer = tokenizer_of(fetched)
        objective, self.rows = read_rows(fetched, self.order, tokenizer, self.folder / "data")
        head = head_of(fetched, objective)
        self._check_benchmark()
        measured = lengths(self.rows.items) if self.rows else []
        longest = max([*measured, *self._benchmark_lengths()])
        seed = fetched.tuning.training.seed if fetched.tuning else 0
        self.source = assemble(
            fetched,
            head,
            tokenizer,
            longest,
            seed,
            self.folder / "merged",
            apart=wanted.adapter == "Separate",
        )
        self.builder = formats.choose(wanted, self.source, self.pod.interrupt)
        self.precisions = self._precisions()
        config = base_config(self.source.folder)
        self.ordinary = ordinary_tokens(tokenizer, config.get_text_config().vocab_size)
        self.probe = fixed_rows(self.ordinary, head)
        self.here = runs_here(wanted.target.device)
        self.pod.reporter.update(total_steps=1 + len(self.precisions))
        log(f"candidates: {', '.join(self.precisions)} as {self.builder.format}")

    def _benchmark_lengths(self) -> list[int]:
        timed = self.wanted.benchmark
        return [tokens + timed.new_tokens for tokens in timed.prompt_tokens]

    def _precisions(self) -> list[str]:
        if self.wanted.precisions == ["auto"]:
            return list(self.builder.automatic(self.source))
        for precision in self.wanted.precisions:
            self.builder.require(precision)
        return list(self.wanted.precisions)

    def _check_benchmark(self) -> None:
        positions = positions_of(base_config(self.fetched.model))
        if positions and max(self._benchmark_lengths()) > positions:
            raise TrainerError(
                ExitCode.UNSUPPORTED,
                "BenchmarkTooLong",
                f"{max(self._benchmark_lengths())} tokens are to be timed, and the model reads "
                f"{positions} at most: lower benchmark.promptTokens or benchmark.newTokens",
                "benchmark.promptTokens",
            )

    def _measure_source(self) -> None:
        """The source by PyTorch, once per resource and kind of machine."""
        self.pod.reporter.stage("Measuring the source")
        self.source_key = key_of({"source": self.source.digest, **self._made_by()})
        found = self._from_shelf(self.source_key)
        if found is None:
            # As it lies in storage: merged, it is in fp32.
            folders = [self.fetched.model, self.fetched.adapter]
            weights = sum(
                path.stat().st_size
                for each in filter(None, folders)
                for path in each.glob("*.safetensors")
            )
            found = self._measured(
                weights,
                TorchRunner(self.source.load()),
                Subject(self.source.folder, None, self.source),
            )
            self._keep(self.source_key, found)
        self.source_measured = found
        self.run.baseline = baseline(found, self.rows, self.wanted.gates.metric)
        self._advance()

    def _try(self, precision: str) -> None:
        """Build and measure one candidate, or take it from the shelf."""
        key = key_of(
            {
                "source": self.source.digest,
                "precision": precision,
                "format": self.builder.format,
                "device": self.wanted.target.device,
                "options": self.builder.options(precision),
                **self._made_by(),
            }
        )
        self.keys[precision] = key
        try:
            found = self._candidate(precision, key)
        except (TrainerError, RuntimeError) as error:
            if isinstance(error, TrainerError) and error.error.code not in _OF_A_CANDIDATE:
                raise
            log(f"{precision}: failed: {error}")
            failed = Candidate(precision=precision, verdict="Failed", reason=str(error)[:_REASON])
            self._tell(Tried(Told(failed), Measured(0)))
            return
        self._tell(Tried(self._judged(precision, found), found))

    def _candidate(self, precision: str, key: str) -> Measured:
        reporter, folder = self.pod.reporter, self.folder / "candidates" / precision
        found = self._from_shelf(key)
        if found:
            log(f"{precision}: built and measured before")
            return found
        reporter.stage(f"Building {precision}")
        try:
            size = self._built(precision, key, folder)
            if not self.here:
                return Measured(size)
            reporter.stage(f"Measuring {precision}")
            subject = Subject(folder, self.builder.format, self.source)
            found = self._measured(size, self._opened(folder), subject)
            self._keep(key, found)
            return found
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _built(self, precision: str, key: str, folder: Path) -> int:
        """A package in `folder` and on the shelf (where its device isn't here, on the shelf at
        least); returns its size."""
        if (files := self.shelf.listing(key)) and (not self.here or self.shelf.fetch(key, folder)):
            log(f"{precision}: built before")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            self.builder.build(self.source, precision, folder)
            self._fence()
            files = self.shelf.put(key, folder)
        return sum(int(file["bytes"]) for file in files.values())

    def _opened(self, folder: Path) -> Runner:
        """Raises TrainerError (DoesNotRun)."""
        try:
            return self.builder.open(folder, cpu_limit())
        except Exception as error:
            raise TrainerError(
                ExitCode.UNSUPPORTED,
                "DoesNotRun",
                f"it was built, but can't be loaded: {type(error).__name__}: {str(error)[:400]}",
                "precisions",
            ) from error

    def _measured(self, size: int, runner: Runner, subject: Subject) -> Measured:
        """Outputs, answers, speed and memory; `runner` is gone before the latter are measured."""
        started = time.monotonic()
        model = runner.as_model()
        found = outputs(model, self.probe)
        predictions = None
        if self.rows:
            predictions = measure(
                model,
                self.rows.objective,
                self.rows.items,
                self.rows.examples,
                self.rows.values,
                batch_size=self.rows.batch_size,
            ).predictions
        seconds = time.monotonic() - started
        del model, runner
        gc.collect()
        timings = benchmark(subject, self.wanted.benchmark, cpu_limit(), self.folder, self.ordinary)
        return Measured(size, found, predictions, round(seconds, 2), tuple(timings))

    def _judged(self, precision: str, found: Measured) -> Told:
        gates = self.wanted.gates
        values = told(precision, found, self.source_measured, self.rows, gates.metric)
        assert self.run.baseline
        rows = len(self.rows.items) if self.rows else 0
        judgement = judge(values.candidate, self.run.baseline, gates, rows)
        reason = judgement.reason
        if not self.here:
            note = f"built for {self.wanted.target.device}, which isn't here: not benchmarked"
            reason = f"{note}; {reason}" if reason else note
        changes = {"verdict": judgement.verdict, "reason": reason[:_REASON] or None}
        return Told(values.candidate.model_copy(update=changes), values.evaluation)

    def _tell(self, tried: Tried) -> None:
        self.tried.append(tried)
        found = tried.told.candidate
        self.run.candidates.append(found)
        log(f"{found.precision}: {found.verdict}{f': {found.reason}' if found.reason else ''}")
        self._advance()

    def _advance(self) -> None:
        assert self.pod.attempts
        self.run.tell()
        self.pod.reporter.update(step=1 + len(self.run.candidates))
        self.pod.attempts.advance(self.shelf.finished(), self.pod.usage())
        self.pod.reporter.set(usage=self.pod.attempts.usage)

    def _from_shelf(self, key: str) -> Measured | None:
        document = self.shelf.measured(key, self._measured_by())
        return from_json(document) if document else None

    def _keep(self, key: str, found: Measured) -> None:
        self._fence()
        self.shelf.put_measured(key, self._measured_by(), found.to_json())

    def _fence(self) -> None:
        assert self.pod.attempts
        self.pod.attempts.fence()

    def _made_by(self) -> dict[str, Any]:
        return {"versions": publish.versions(onnx=True)}

    def _measured_by(self) -> str:
        """All that shapes a measurement of one package."""
        return key_of(
            {
                "rows": self.rows.digest if self.rows else None,
                "benchmark": self.wanted.benchmark.to_json(),
                "machine": machine(),
            }
        )

    def _none_passed(self) -> TrainerError:
        """The report is published all the same, without a manifest: there is no artifact."""
        report = self.folder / "artifact"
        self._write_report(report, None)
        self._fence()
        for path in sorted((report / "report").rglob("*")):
            self.output.upload(path.relative_to(report).as_posix(), path)
        reasons = "; ".join(
            f"{it.precision}: {it.verdict}, {it.reason}" for it in self.run.candidates
        )
        if all(it.verdict == "Failed" for it in self.run.candidates):
            return TrainerError(
                ExitCode.UNSUPPORTED, "BuildFailed", f"no candidate works: {reasons}", "precisions"
            )
        return TrainerError(
            ExitCode.NOT_GOOD_ENOUGH,
            "GatesNotMet",
            f"no candidate keeps all gates: {reasons}. Loosen the gates, name other precisions, or "
            "measure on more rows; the report is in report/",
            "gates",
        )

    def _publish(self, chosen: int) -> OptimizeResult:
        self.pod.reporter.stage("Publishing")
        candidates, precision = self.run.candidates, self.run.candidates[chosen].precision
        candidates[chosen] = candidates[chosen].model_copy(update={"verdict": "Chosen"})
        self.tried[chosen] = self.tried[chosen].as_chosen()
        self.run.tell()
        folder = self.folder / "artifact"
        if not self.shelf.fetch(self.keys[precision], folder / "model"):
            raise OSError(f"the package of {precision} isn't as it was put into storage")
        self._write_report(folder, precision)
        attempts = self.pod.attempts
        assert attempts
        attempts.end("Succeeded", None, self.pod.usage())
        result = self.run.result("Succeeded")
        details = {
            "source": self.order.source.to_json(),
            "adapterUri": self.order.adapter_uri,
            "sourceDigest": self.source.digest,
            "package": {
                "precision": precision,
                "format": self.builder.format,
                "device": self.wanted.target.device,
                "options": self.builder.options(precision),
            },
            "machine": machine(),
        }
        reference = publish.publish(
            self.output, folder, self.order, details, result, attempts.fence
        )
        self.shelf.keep_only({self.source_key, *self.keys.values()})
        log(f"published {reference.uri}: {precision}")
        self.pod.reporter.stage("Done")
        self.pod.reporter.close()
        return result.model_copy(update={"artifact": artifact_of(details, reference)})

    def _write_report(self, folder: Path, chosen: str | None) -> None:
        assert self.run.baseline
        summary = Summary(
            order=self.order,
            baseline=self.run.baseline,
            source=self.source_measured,
            tried=self.tried,
            chosen=chosen,
            format=self.builder.format,
            options={name: self.builder.options(name) for name in self.precisions},
            machine=machine(),
            rows=len(self.rows.items) if self.rows else 0,
            split=self.rows.split if self.rows else "",
            licence=self.fetched.licence,
        )
        write_report(folder, summary)
