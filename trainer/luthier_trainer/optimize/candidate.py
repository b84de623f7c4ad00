"""One candidate, built and measured, or taken from the cache as far as it is there."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from luthier_api.result import ExitCode
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.machine.runtime import threads
from luthier_trainer.optimize.benchmark import Subject
from luthier_trainer.optimize.evaluator import Evaluator
from luthier_trainer.optimize.measured import Measured
from luthier_trainer.optimize.packagecache import PackageCache
from luthier_trainer.packages.contract import Builder, Runner, Source

# Errors that one candidate may end with while others go on.
OF_A_CANDIDATE = ("BuildFailed", "DoesNotRun", "BenchmarkFailed", "OutOfMemory")


@dataclass(frozen=True)
class Workbench:
    """`here`: whether packages run on this machine; else they are built alone. `stage` is told
    what is going on; `fence` is called before anything is put in the cache. Packages lie in
    `folder` while they are measured."""

    source: Source
    builder: Builder
    here: bool
    cache: PackageCache
    evaluator: Evaluator
    stage: Callable[[str], None]
    fence: Callable[[], None]
    folder: Path

    def candidate(self, precision: str, key: str) -> Measured:
        """`key`: of its package. Raises TrainerError (OF_A_CANDIDATE among others),
        RuntimeError, Interrupted, Superseded."""
        if found := self.evaluator.known(key):
            log(f"{precision}: built and measured before")
            return found
        self.stage(f"Building {precision}")
        folder = self.folder / precision
        try:
            size = self._built(precision, key, folder)
            if not self.here:
                return Measured(size)
            self.stage(f"Measuring {precision}")
            subject = Subject(folder, self.builder.format, self.source)
            found = self.evaluator.measure(size, self._opened(folder), subject)
            self.evaluator.keep(key, found)
            return found
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _built(self, precision: str, key: str, folder: Path) -> int:
        """A package in `folder` and in the cache (where its device isn't here, in the cache at
        least); returns its size."""
        if (files := self.cache.listing(key)) and (not self.here or self.cache.fetch(key, folder)):
            log(f"{precision}: built before")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            self.builder.build(self.source, precision, folder)
            self.fence()
            files = self.cache.put(key, folder)
        return sum(int(file["bytes"]) for file in files.values())

    def _opened(self, folder: Path) -> Runner:
        """Raises TrainerError (DoesNotRun)."""
        try:
            return self.builder.open(folder, threads())
        except Exception as error:
            raise TrainerError(
                ExitCode.UNSUPPORTED,
                "DoesNotRun",
                f"it was built, but can't be loaded: {type(error).__name__}: {str(error)[:400]}",
                "precisions",
            ) from error
