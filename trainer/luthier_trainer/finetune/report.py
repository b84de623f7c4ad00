"""What people read about a run: model card, page, loss curve, samples."""

import json
import time
from pathlib import Path
from typing import Any

from luthier_api.runspec import RunSpec
from luthier_trainer.evaluation.compare import Comparison
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.finetune import LINKS, page
from luthier_trainer.pages.finetunecard import card
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.tensorboard import event_file


def write_report(
    folder: Path,
    spec: RunSpec,
    journal: Journal,
    comparison: Comparison | None,
    samples: list[dict[str, Any]],
    facts: Facts,
) -> None:
    """Fill `folder` with README.md and report/. What others wrote to report/ before is linked."""
    report = folder / "report"
    (report / "tensorboard").mkdir(parents=True, exist_ok=True)
    for name, content in curves(journal).items():
        (report / name).write_bytes(content)
    _write_json(report / "samples.json", samples)
    _write_json(report / "evaluation.json", comparison.document if comparison else {})
    plot_loss(journal, report / "loss.png", f"{spec.run.namespace}/{spec.run.name}")
    links = [name for name in LINKS if (report / name).exists()]
    evaluation = comparison.result if comparison else None
    details = comparison.document if comparison else {}
    (report / "index.html").write_text(page(spec, journal, evaluation, facts, links, details))
    (folder / "README.md").write_text(card(spec, evaluation, facts))


def curves(journal: Journal) -> dict[str, bytes]:
    """The course of training for programs: file below report/ → content."""
    trained = journal.entries[-1]["seconds"] if journal.entries else 0.0
    return {
        "metrics.jsonl": journal.to_jsonl(),
        "tensorboard/events.out.tfevents.0.luthier": event_file(journal, time.time() - trained),
    }


_DOTS = 60  # at most so many points are marked
# As in pages/page.css.
_COLOURS = {"ink": "#1d2430", "dim": "#5b6575", "line": "#d5dae2", "a": "#2563c9", "b": "#c2620c"}


def plot_loss(journal: Journal, path: Path, title: str) -> None:
    """The loss curve as PNG. matplotlib is imported here: it is slow, and only used here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = journal.series("loss")
    marker = "." if len(steps) <= _DOTS else None
    axes.plot(steps, losses, label="train", color=_COLOURS["a"], marker=marker)
    steps, losses = journal.series("eval_loss")
    if steps:
        axes.plot(steps, losses, label="eval", color=_COLOURS["b"], marker="o", markersize=4)
        axes.legend(frameon=False, labelcolor="linecolor")
    axes.set_title(title, loc="left", color=_COLOURS["ink"])
    axes.set_xlabel("step", color=_COLOURS["dim"])
    axes.set_ylabel("loss", color=_COLOURS["dim"])
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.tick_params(colors=_COLOURS["dim"], length=0)
    axes.grid(axis="y", color=_COLOURS["line"])
    axes.spines[:].set_visible(False)
    figure.savefig(path)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
