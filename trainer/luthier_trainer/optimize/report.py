"""What people read about an optimisation: model card, page, and all figures for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import Candidate
from luthier_api.runspec import OptimizeOrder
from luthier_trainer.optimize.measured import Measured, Told
from luthier_trainer.published.ask import Ask


@dataclass(frozen=True)
class Tried:
    """A candidate: its values, and what they come from."""

    told: Told
    measured: Measured

    def as_chosen(self) -> "Tried":
        candidate = self.told.candidate.model_copy(update={"verdict": "Chosen"})
        return replace(self, told=replace(self.told, candidate=candidate))


@dataclass(frozen=True)
class Summary:
    """All that a report tells. `rows`: how many of `split` were measured; 0: none.
    `options`: by precision, what shaped a package beside it. `chosen`: the published precision.
    `custom_code`: whether code of the user's took part in making the source.
    `ask`: how the model is asked; `begin`: the tokens before every text.
    """

    order: OptimizeOrder
    baseline: Candidate
    source: Measured
    tried: Sequence[Tried]
    chosen: str | None
    format: str
    options: dict[str, dict[str, Any]]
    machine: str
    rows: int = 0
    split: str = ""
    licence: str | None = None
    custom_code: bool = False
    ask: Ask | None = None
    begin: Sequence[int] = ()

    @property
    def title(self) -> str:
        return f"{self.order.run.namespace}/{self.order.run.name}"


def write_report(folder: Path, summary: Summary) -> None:
    """Fill `folder` with report/; with a chosen candidate README.md too."""
    from luthier_trainer.optimize.card import card
    from luthier_trainer.optimize.page import page

    report = folder / "report"
    report.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(summary), indent=2, ensure_ascii=False)
    (report / "candidates.json").write_text(text + "\n")
    (report / "index.html").write_text(page(summary))
    if summary.chosen:
        from luthier_trainer.optimize.howto import explain

        (folder / "README.md").write_text(card(summary, explain(folder / "model", summary)))


def document(summary: Summary) -> dict[str, Any]:
    """For programs: all that was measured, every prompt length and batch size."""
    return {
        "machine": summary.machine,
        "rows": summary.rows,
        "split": summary.split or None,
        "gates": summary.order.optimizing.gates.to_json(),
        "chosen": summary.chosen,
        "source": {
            **summary.baseline.to_json(),
            "timings": [asdict(timing) for timing in summary.source.timings],
            "secondsToMeasure": summary.source.seconds,
        },
        "candidates": [
            {
                **each.told.candidate.to_json(),
                "options": summary.options.get(each.told.candidate.precision, {}),
                "evaluation": each.told.evaluation.to_json() if each.told.evaluation else None,
                "timings": [asdict(timing) for timing in each.measured.timings],
                "secondsToMeasure": each.measured.seconds,
            }
            for each in summary.tried
        ],
    }
