"""What people read about an optimisation: model card, page, and all figures for programs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from luthier_trainer.optimize.howto import explain
from luthier_trainer.pages.optimize import page
from luthier_trainer.pages.optimizecard import card
from luthier_trainer.pages.summary import Summary


def write_report(folder: Path, summary: Summary) -> None:
    """Fill `folder` with report/; with a chosen candidate README.md too."""
    report = folder / "report"
    report.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(summary), indent=2, ensure_ascii=False)
    (report / "candidates.json").write_text(text + "\n")
    (report / "index.html").write_text(page(summary))
    if summary.chosen:
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
            "timings": [asdict(timing) for timing in summary.timings],
            "secondsToMeasure": summary.seconds,
        },
        "candidates": [
            {
                **each.candidate.to_json(),
                "options": summary.options.get(each.candidate.precision, {}),
                "evaluation": each.evaluation.to_json() if each.evaluation else None,
                "timings": [asdict(timing) for timing in each.timings],
                "secondsToMeasure": each.seconds,
            }
            for each in summary.tried
        ],
    }
