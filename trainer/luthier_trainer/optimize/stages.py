"""The stages that need torch: the source measured, candidates built and measured, one chosen."""

from pathlib import Path

import torch

from luthier_api.optimizejob import Candidate
from luthier_api.result import OptimizeResult
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.machine.runtime import threads
from luthier_trainer.optimize.asked import asked
from luthier_trainer.optimize.benchmark import Subject
from luthier_trainer.optimize.candidate import OF_A_CANDIDATE, Workbench
from luthier_trainer.optimize.choose import choose
from luthier_trainer.optimize.devices import machine, runs_here
from luthier_trainer.optimize.fetch import Fetched
from luthier_trainer.optimize.gates import judge
from luthier_trainer.optimize.keys import package_key, source_key
from luthier_trainer.optimize.load import load
from luthier_trainer.optimize.measured import Measured, Told, baseline, told
from luthier_trainer.optimize.meter import Meter
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.optimize.publish import none_passed, publish_package, publish_report
from luthier_trainer.optimize.report import Summary, Tried, write_report
from luthier_trainer.optimize.run import Optimization
from luthier_trainer.optimize.source import require_finite
from luthier_trainer.optimize.torchrunner import TorchRunner
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.progress import Pace
from luthier_trainer.storage.objectstore import ObjectStore

_REASON = 300  # characters of Candidate.reason


class Stages:
    """What the stages of an optimisation share."""

    def __init__(
        self,
        run: Optimization,
        attempts: Attempts,
        output: ObjectStore,
        cache: PackageCache,
        fetched: Fetched,
        folder: Path,
    ) -> None:
        self.run = run
        self.reporter = run.pod.reporter
        self.wanted = run.order.optimizing
        self.attempts = attempts
        self.output = output
        self.cache = cache
        self.fetched = fetched
        self.folder = folder
        self.tried: list[Tried] = []
        self.keys: dict[str, str] = {}  # precision → key in the cache

    def execute(self) -> OptimizeResult:
        """Raises TrainerError, Interrupted or Superseded."""
        torch.set_num_threads(threads())
        self._load()
        self._measure_source()
        for precision in self.loaded.precisions:
            self._try(precision)
        chosen = choose(self.run.candidates, self.wanted)
        if chosen is None:
            raise self._refusal()
        return self._publish(chosen)

    def _load(self) -> None:
        self.reporter.stage("Loading")
        order, pod, fence = self.run.order, self.run.pod, self.attempts.fence
        loaded = load(order, self.fetched, pod.interrupt, self.folder, pod.began)
        self.loaded = loaded
        self.here = runs_here(self.wanted.target.device)
        self.meter = Meter(loaded, self.wanted.benchmark, self.cache, fence, self.folder)
        self.workbench = Workbench(
            source=loaded.source,
            builder=loaded.builder,
            here=self.here,
            cache=self.cache,
            meter=self.meter,
            stage=self.reporter.stage,
            fence=fence,
            folder=self.folder / "candidates",
        )
        self.pace = Pace(0, 1 + len(loaded.precisions))
        self.reporter.update(total_steps=1 + len(loaded.precisions))
        log(f"candidates: {', '.join(loaded.precisions)} as {loaded.builder.format}")

    def _measure_source(self) -> None:
        """The source by PyTorch, once per resource and kind of machine."""
        self.reporter.stage("Measuring the source")
        source = self.loaded.source
        self.source_key = source_key(source)
        found = self.meter.known(self.source_key)
        if found is None:
            subject = Subject(source.folder, None, source)
            size = self.fetched.weight_bytes
            found = self.meter.measure(size, TorchRunner(source.load()), subject)
            require_finite(found.outputs, self.fetched)
            self.meter.keep(self.source_key, found)
        self.source_measured = found
        self.run.baseline = baseline(found, self.loaded.rows, self.wanted.gates.metric)
        self._advance()

    def _try(self, precision: str) -> None:
        """One candidate: what is told of it."""
        loaded = self.loaded
        key = package_key(loaded.source, loaded.builder, precision, self.wanted.target.device)
        self.keys[precision] = key
        try:
            found = self.workbench.candidate(precision, key)
        except (TrainerError, RuntimeError) as error:
            if isinstance(error, TrainerError) and error.error.code not in OF_A_CANDIDATE:
                raise
            log(f"{precision}: failed: {error}")
            failed = Candidate(precision=precision, verdict="Failed", reason=str(error)[:_REASON])
            self._tell(Tried(Told(failed), Measured(0)))
            return
        self._tell(Tried(self._judged(precision, found), found))

    def _judged(self, precision: str, found: Measured) -> Told:
        gates, rows = self.wanted.gates, self.loaded.rows
        values = told(precision, found, self.source_measured, rows, gates.metric)
        assert self.run.baseline
        judgement = judge(
            values.candidate, self.run.baseline, gates, len(rows.examples) if rows else 0
        )
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
        self.run.tell()
        done = 1 + len(self.run.candidates)
        self.reporter.update(step=done)
        self.reporter.set(eta_seconds=self.pace.eta_seconds(done))
        self.attempts.advance(self.cache.finished(), self.run.pod.usage())
        self.reporter.set(usage=self.attempts.usage)

    def _refusal(self) -> TrainerError:
        """The report is published all the same."""
        folder = self.folder / "artifact"
        write_report(folder, self._summary(None))
        self.attempts.fence()
        publish_report(self.output, folder)
        return none_passed(self.run.candidates)

    def _publish(self, chosen: int) -> OptimizeResult:
        self.reporter.stage("Publishing")
        self.tried[chosen] = self.tried[chosen].as_chosen()
        self.run.candidates[chosen] = self.tried[chosen].told.candidate
        self.run.tell()
        precision, folder = self.run.candidates[chosen].precision, self.folder / "artifact"
        if not self.cache.fetch(self.keys[precision], folder / "model"):
            raise OSError(f"the package of {precision} isn't as it was put into storage")
        write_report(folder, self._summary(precision))
        result = publish_package(
            self.run,
            self.attempts,
            self.output,
            self.loaded,
            precision,
            folder,
            custom_code=self.fetched.custom_code,
        )
        self.cache.keep_only({self.source_key, *self.keys.values()})
        self.reporter.stage("Done")
        self.reporter.close()
        return result

    def _summary(self, chosen: str | None) -> Summary:
        assert self.run.baseline
        builder, rows = self.loaded.builder, self.loaded.rows
        return Summary(
            order=self.run.order,
            baseline=self.run.baseline,
            source=self.source_measured,
            tried=self.tried,
            chosen=chosen,
            format=builder.format,
            options={name: builder.options(name) for name in self.loaded.precisions},
            machine=machine(),
            rows=len(rows.examples) if rows else 0,
            split=rows.split if rows else "",
            licence=self.fetched.licence,
            custom_code=self.fetched.custom_code,
            ask=asked(self.fetched, rows, self.source_measured),
            begin=self.loaded.begin,
        )
