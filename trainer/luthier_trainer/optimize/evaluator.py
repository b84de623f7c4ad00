"""The measuring of one model, the source's or a package's: all alike, so that they compare."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luthier_api.optimizejob import Benchmark
from luthier_trainer.evaluation.measure import measure
from luthier_trainer.machine.runtime import threads
from luthier_trainer.optimize.benchmark import Subject, benchmark
from luthier_trainer.optimize.cachekeys import measured_by
from luthier_trainer.optimize.load import Loaded
from luthier_trainer.optimize.measured import Measured, from_json
from luthier_trainer.optimize.outputs import fixed_rows, outputs
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.packages.contract import Runner

# Rows that are answered where no metric needs answers: a short one of them is shown to people.
SAMPLES = 4


@dataclass(frozen=True)
class Evaluator:
    """Measurements are kept in the cache, by the key of what was measured; `fence` is called
    before that. `scratch`: for files of the benchmark."""

    loaded: Loaded
    wanted: Benchmark
    cache: PackageCache
    fence: Callable[[], None]
    scratch: Path

    def known(self, key: str) -> Measured | None:
        """What was measured before, with the same rows and benchmark, on such a machine."""
        document = self.cache.measured(key, self._name)
        return from_json(document) if document else None

    def keep(self, key: str, found: Measured) -> None:
        self.fence()
        self.cache.put_measured(key, self._name, found.to_json())

    def measure(self, size: int, runner: Runner, subject: Subject) -> Measured:
        """Outputs, answers, speed and memory of a model of `size` bytes.

        The caller must hold `runner` no more: it has to be gone before memory is measured.
        Raises TrainerError (BenchmarkFailed, OutOfMemory).
        """
        rows, ordinary = self.loaded.rows, self.loaded.ordinary
        started = time.monotonic()
        model = runner.as_model()
        found = outputs(model, fixed_rows(ordinary, self.loaded.source.head))
        predictions = None
        if rows:
            predictions = measure(
                model,
                rows.objective,
                rows.items,
                rows.examples,
                rows.values,
                batch_size=rows.batch_size,
                samples=SAMPLES,
            ).predictions
        seconds = time.monotonic() - started
        del model, runner
        gc.collect()
        timings = benchmark(subject, self.wanted, threads(), self.scratch, ordinary)
        return Measured(size, found, predictions, round(seconds, 2), tuple(timings))

    @property
    def _name(self) -> str:
        rows = self.loaded.rows
        return measured_by(rows.digest if rows else None, self.wanted)
