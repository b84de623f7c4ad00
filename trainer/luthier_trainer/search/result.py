"""The best trial as the result of the run."""

import json
from collections.abc import Sequence
from pathlib import Path

from luthier_api.finetuning import FineTuning
from luthier_api.result import RunResult
from luthier_api.searchspace import active, applied, written
from luthier_trainer.finetune.finetune import fine_tune
from luthier_trainer.finetune.job import Job
from luthier_trainer.finetune.state import State
from luthier_trainer.log import log
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.pages.search import Row, search_page
from luthier_trainer.search import standing
from luthier_trainer.search.records import Record
from luthier_trainer.search.shared import Shared, TrialLedger


def publish(shared: Shared, best: Record, base: BaseModel, model_folder: Path) -> RunResult:
    """The weights of its checkpoint, measured on test beside the base; without training anew.

    Raises TrainerError, Interrupted or Superseded.
    """
    records, tuning = shared.records.read(), shared.tuning
    log(f"trial {best.number} is the best of {len(records)}: its weights are the result")
    shared.records.prune([it.number for it in records if it.number != best.number])
    shared.state.reporter.hold()  # what it says of itself is the run's now
    tuned = applied(tuning, best.settings).model_copy(update={"search": shared.search})
    order = shared.state.spec.model_copy(update={"fine_tuning": tuned})
    folder = shared.folder / "result"
    folder.mkdir(exist_ok=True)
    pod, telling = shared.state.pod, shared.state.telling
    telling.begin(shared.output, shared.folder, shared.examples.digest, base, pod.started_from)
    telling.know(**{"best.trial": str(best.number)})
    telling.know(**{f"best.{path}": written(it) for path, it in best.settings.items()})
    job = Job(
        state=State(order, pod, shared.examples, telling),
        attempts=TrialLedger(shared.attempts),
        output=shared.store_of(best.number),
        target=shared.output,
        base=base,
        model_folder=model_folder,
        examples=shared.examples,
        folder=folder,
        encodings=shared.encodings,
    )
    report = job.artifact / "report"
    report.mkdir(parents=True)
    name = f"{order.run.namespace}/{order.run.name}"
    trials = [standing.trial_of(tuning, it).to_json() for it in records]
    (report / "search.html").write_text(page(name, tuning, records), "utf-8")
    (report / "search.json").write_text(json.dumps(trials, indent=2) + "\n", "utf-8")
    status = standing.status_of(tuning, records)
    summary = {
        "best": standing.trial_of(tuning, best).to_json(),
        "trials": len(records),
        "complete": status.complete,
        "pruned": status.pruned,
        "failed": status.failed,
    }
    return fine_tune(job, {"search": summary})


def page(name: str, tuning: FineTuning, records: Sequence[Record]) -> str:
    """report/search.html."""
    search = tuning.search
    assert search is not None
    best = standing.best_of(search, records)
    rows = [
        Row(
            number=it.number,
            state=it.state,
            settings=active(tuning, it.settings),
            value=it.value,
            step=it.step,
            seconds=it.seconds,
            error=it.error,
        )
        for it in records
    ]
    stopped = standing.stopped(search, records)
    return search_page(name, search, rows, best.number if best else None, stopped)
