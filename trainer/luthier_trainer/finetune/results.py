"""The end of a run: base and tuned model measured, reports written, the artifact published."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from luthier_api.result import RunResult
from luthier_trainer.errors import TrainerError, measuring
from luthier_trainer.evaluation import script
from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.evaluation.compare import (
    Comparison,
    compare,
    not_compared,
    with_incumbent,
    with_incumbents_script,
    with_script,
)
from luthier_trainer.evaluation.measure import Measurement, OnRows, measure
from luthier_trainer.evaluation.progress import RowProgress
from luthier_trainer.evaluation.samples import answered
from luthier_trainer.finetune.incumbent import Base, NotComparableError, measure_incumbent
from luthier_trainer.finetune.report import write_report
from luthier_trainer.log import log, log_traceback
from luthier_trainer.machine import memory
from luthier_trainer.models import cache
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.models.save import write_ends
from luthier_trainer.objectives.ends import end_tokens
from luthier_trainer.objectives.forward import unwrapped
from luthier_trainer.objectives.items import begins
from luthier_trainer.objectives.objective import Item, Objective
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.sheet import sheet
from luthier_trainer.pod import publish
from luthier_trainer.pod.claim import Start
from luthier_trainer.pod.usercode import has_code
from luthier_trainer.published import ask as asking
from luthier_trainer.published.ask import Ask

if TYPE_CHECKING:
    from luthier_trainer.finetune.stages import Stages

# Rows of the sheet for people, and of samples.json.
_SAMPLES = 20


class Results:
    """What `stages` trained, measured and published."""

    def __init__(
        self,
        stages: "Stages",
        base: BaseModel,
        model_folder: Path,
        details: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`details`: of the manifest, beside what every run tells there."""
        self.details = details
        self.stages = stages
        self.run = stages.run
        self.spec = stages.run.spec
        self.base = base
        self.base_digest = cache.digest(model_folder, base)
        self.folder = stages.artifact
        self.comparison: Comparison | None = None
        self.items: Sequence[Item] = []  # the measured rows, encoded once for all models
        self.answers: list[Answered] = []
        self.warnings: list[str] = []

    def execute(self) -> RunResult:
        """Raises TrainerError, Interrupted or Superseded."""
        self.stages.tuned.settle()
        self._measure()
        self.run.interrupt.check()  # an exception of a signal's handler can get lost in a library
        self.run.reporter.stage("Publishing")
        merged = self._save()
        self._call_script()
        self.run.interrupt.check()
        self._compare_with_incumbent()
        self.run.interrupt.check()
        facts = self._write_report(merged)
        return self._publish(facts, merged)

    def _measure(self) -> None:
        """Base and tuned model on the same rows, with the same code."""
        stages, split = self.stages, self.stages.examples.report_split
        if split is None:
            log("warning: neither eval nor test rows: the result is not measured")
            return
        self.run.reporter.stage("Evaluating")
        started = time.monotonic()
        rows = stages.examples.reported
        self.items = stages.encoded("reported", rows)
        check = self.run.interrupt.check
        progress = RowProgress(self.run.reporter, "Evaluating", 2 * len(self.items), check)
        tuned = self._measured(stages.tuned.model, progress)
        with stages.tuned.base() as model:
            base = self._measured(model, progress)
        self._tell(compare(base, tuned, stages.values, split))
        self.measured = tuned
        self.answers = answered(stages.objective, rows, base, tuned, _SAMPLES)
        for name, value in self.run.evaluation.tuned.items() if self.run.evaluation else ():
            log(f"{name}: base {base.values([name])[name]:.4f}, tuned {value:.4f}")
        log(f"evaluated {len(rows)} {split} rows twice in {time.monotonic() - started:.1f} s")

    def _measured(self, model: Any, on_rows: OnRows) -> Measurement:
        return self._answers(model, self.stages.objective, self.items, on_rows)

    def _answers(
        self, model: Any, objective: Objective, items: Sequence[Item], on_rows: OnRows
    ) -> Measurement:
        stages = self.stages
        batch_size = stages.tuning.evaluation.batch_size
        with measuring(batch_size):
            return measure(
                model,
                objective,
                items,
                stages.examples.reported,
                stages.values,
                batch_size=batch_size,
                autocast=stages.autocast,
                samples=_SAMPLES,
                on_rows=on_rows,
            )

    def _tell(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.run.evaluation = comparison.result
        self.run.reporter.set(evaluation=comparison.result)

    def _save(self) -> dict[str, Any]:
        """Weights and tokenizer; returns what a merge changed."""
        stages = self.stages
        folders = [self.folder / stages.tuned.artifact]
        stages.tuned.save(folders[0])
        merged: dict[str, Any] = {}
        if stages.tuning.method.merge:
            done = stages.tuned.merge(
                self.folder / "model", memory.machine_bytes(self.run.spec.memory_bytes)
            )
            folders.append(done.folder)
            log(f"merged: logits differ by at most {done.difference:.1e}")
            merged = {"difference": done.difference}
            if done.warning:
                log(f"warning: merged: {done.warning}")
                merged["warning"] = done.warning
            if self.comparison and stages.tuning.method.type == "qlora":
                merged["metrics"] = self._against_quantized(done.folder)
        self.ask = self._ask()
        for folder in folders:
            stages.tokenizer.save_pretrained(folder)
            asking.write(folder, self.ask)
            if self.ask.stop:
                ends = [stop.id for stop in self.ask.stop]
                write_ends(folder, unwrapped(stages.tuned.model), ends)
        return merged

    def _ask(self) -> Ask:
        """How the model is asked, with the first short row of those that were measured."""
        stages = self.stages
        model = unwrapped(stages.tuned.model)
        generates = getattr(model, "generation_config", None) is not None
        return asking.describe(
            stages.tuning,
            stages.objective,
            stages.tokenizer,
            [stages.examples.reported[index] for index in range(len(self.answers))],
            [self.items[index] for index in begins(self.items)[: len(self.answers)]],
            self.answers,
            stages.examples.train[0],
            end_tokens(model, stages.tokenizer) if generates else [],
        )

    def _against_quantized(self, folder: Path) -> dict[str, dict[str, float]]:
        """The merged model's metrics, and how they differ from those on the 4-bit base."""
        assert self.comparison
        model = replace(self.stages.source, folder=folder).load(self.stages.precision)
        model.to(self.stages.tuned.model.device)
        check = self.run.interrupt.check
        progress = RowProgress(self.run.reporter, "Checking merge", len(self.items), check)
        values = self._measured(model, progress).values(self.stages.values)
        self.run.reporter.update(stage="Publishing")
        tuned = self.comparison.result.tuned
        found = {
            name: {"merged": value, "change": value - tuned[name]}
            for name, value in values.items()
            if name in tuned
        }
        for name, each in found.items():
            log(f"merged: {name} {each['merged']:.4f} ({each['change']:+.4f} to the 4-bit base's)")
        return found

    def _call_script(self) -> None:
        """The user's own evaluation of what will be published."""
        code, source = self.stages.tuning.evaluation.script, self.stages.script
        if code and source and self.comparison:
            function = script.load(source, code.entrypoint)
            found = script.evaluate(function, source, self.folder, self.stages.examples.reported)
            self._tell(with_script(self.comparison, found))

    def _compare_with_incumbent(self) -> None:
        """What is in use on the same rows, with the same code. The tuned model is saved: it makes
        room, so that there is one model at a time. Whatever prevents it is told, and no more: the
        result stands."""
        ref, comparison = self.spec.incumbent, self.comparison
        if ref is None or comparison is None:
            return
        self.run.reporter.update(stage="Comparing")
        self.stages.release()
        with TemporaryDirectory(prefix="incumbent-", dir=self.stages.folder) as folder:
            try:
                compared = self._compared(comparison, ref.revision or "", Path(folder))
            except Exception as error:
                why = str(error)
                if not isinstance(error, NotComparableError | TrainerError):
                    why = f"it can't be loaded ({type(error).__name__}); the log says more"
                    log_traceback(error)
                compared = not_compared(comparison, why)
                self.warnings.append(
                    f"the result isn't compared with {ref.revision}, which is in use: {why}"
                )
                log(f"warning: {self.warnings[-1]}")
        self._tell(compared)
        self.run.reporter.update(stage="Publishing")

    def _compared(self, comparison: Comparison, revision: str, folder: Path) -> Comparison:
        stages = self.stages
        progress = RowProgress(
            self.run.reporter, "Comparing", len(self.items), self.run.interrupt.check
        )

        def answers(model: Any, objective: Objective, items: Sequence[Item]) -> Measurement:
            return self._answers(model, objective, items, progress)

        base = Base(stages.source.folder, self.base_digest)
        found = measure_incumbent(stages, base, folder, answers)
        compared = with_incumbent(comparison, self.measured, found, stages.values, revision)
        code, source = stages.tuning.evaluation.script, stages.script
        if code and source:
            function = script.load(source, code.entrypoint)
            rows = stages.examples.reported
            values = script.evaluate(function, source, folder, rows)
            compared = with_incumbents_script(compared, values)
        for name, gain in compared.result.gain.items():
            before = compared.result.in_use[name]
            log(f"{name}: in use ({revision}) {before:.4f}, tuned {gain.by:+.4f}")
        return compared

    def _write_report(self, merged: Mapping[str, Any]) -> Facts:
        """What people read: card, pages, curves, samples."""
        stages, report = self.stages, self.folder / "report"
        report.mkdir(parents=True, exist_ok=True)
        told, seed = self.run.reporter.report, stages.tuning.training.seed
        facts = Facts(
            base_digest=self.base_digest,
            commit=self.base.commit,
            licence=self.base.licence,
            dataset_digest=stages.examples.digest,
            summary=self.run.data_summary() or "",
            steps=stages.outcome.step,
            artifact=stages.kind,
            auto_class=stages.objective.head.auto_class,
            labels=stages.objective.head.labels,
            best_step=stages.outcome.best_step,
            started_from=_told(self.run.pod.started_from),
            merged=stages.tuning.method.merge,
            merged_metrics=merged.get("metrics", {}),
            resolved=stages.notes,
            warnings=tuple(
                filter(
                    None,
                    [
                        *stages.examples.warnings,
                        *self.warnings,
                        told.overfitting,
                        merged.get("warning"),
                        self.run.writer.warning if self.run.writer else None,
                    ],
                )
            ),
            ask=self.ask,
            estimate=told.estimate or stages.resolved.estimate,
        )
        if self.answers:
            title = f"{self.spec.run.namespace}/{self.spec.run.name}"
            (report / "sheet.html").write_text(sheet(title, self.answers, seed))
        samples = [asdict(answer) for answer in self.answers]
        write_report(
            self.folder, self.spec, stages.outcome.journal, self.comparison, samples, facts
        )
        return facts

    def _publish(self, facts: Facts, merged: dict[str, Any]) -> RunResult:
        stages, writer, attempts = self.stages, self.run.writer, self.stages.attempts
        assert writer
        writer.drain(self.spec.storage.retry_seconds + 60)
        attempts.end("Succeeded", None, self.run.pod.usage())
        started = self.run.pod.started_from
        details = {
            "baseModel": {
                "uri": stages.tuning.model.uri,
                "digest": self.base_digest,
                "revision": self.base.commit,
                "licence": self.base.licence,
            },
            "startedFrom": started.to_json() if started else None,
            "labels": list(stages.objective.head.labels) or None,
            "datasetDigest": stages.examples.digest,
            "dataset": stages.facts.to_json(),
            "datasetWarnings": stages.examples.warnings,
            "checkpointCost": writer.cost.to_json(),
            "estimate": facts.estimate.to_json(),
            "resolved": stages.notes,
            "merged": merged or None,
            "customCode": has_code(self.spec),
            **self.details,
        }
        result = self.run.result("Succeeded")
        ref = publish.publish(
            stages.target, self.folder, self.spec, details, result, attempts.fence
        )
        log(f"published {ref.uri}")
        self.run.reporter.stage("Done")
        self.run.reporter.close()
        return result.model_copy(update={"artifact": ref, "progress": self.run.reporter.progress})


def _told(start: Start | None) -> str | None:
    """For people."""
    if start is None:
        return None
    return f"{start.uri} ({start.revision})" if start.revision else start.uri
