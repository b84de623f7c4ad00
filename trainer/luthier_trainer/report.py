"""What people read about a run: model card, loss curve, samples."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier_api.finetunejob import EvaluationResult
from luthier_api.runspec import RunSpec
from luthier_trainer.journal import Journal
from luthier_trainer.tensorboard import event_file

_CARD = """\
---
base_model: {base}
library_name: peft
tags: [lora, luthier]
---
# {name}

LoRA adapter for `{base}`, made by the FineTuneJob `{namespace}/{name}`, revision `{revision}`.

## Result

{metrics}

## How to use it

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("adapter")  # this folder's adapter/, downloaded
base = AutoModelForCausalLM.from_pretrained("base")  # {base}, downloaded
model = PeftModel.from_pretrained(base, "adapter")
```

The prompt is the template's text before its last column:

```text
{template}
```

## How it was made

| | |
|---|---|
| base model | `{base}` ({base_digest}) |
| data | `{dataset}` ({summary}) |
| data digest | `{dataset_digest}` |
| task | {task} |
| method | LoRA, rank {rank}, alpha {alpha}, on {targets} |
| steps | {steps} |
| seed | {seed} |

All settings are in `manifest.json`, the course of training in `report/`.
"""


def write_report(
    folder: Path,
    spec: RunSpec,
    journal: Journal,
    evaluation: EvaluationResult | None,
    samples: list[dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Fill `folder` with README.md and report/."""
    report = folder / "report"
    (report / "tensorboard").mkdir(parents=True, exist_ok=True)
    for name, content in curves(journal).items():
        (report / name).write_bytes(content)
    _write_json(report / "samples.json", samples)
    _write_json(report / "evaluation.json", evaluation.to_json() if evaluation else {})
    plot_loss(journal, report / "loss.png", f"{spec.run.namespace}/{spec.run.name}")
    (folder / "README.md").write_text(_card(spec, evaluation, facts))


def curves(journal: Journal) -> dict[str, bytes]:
    """The course of training for programs: file below report/ → content."""
    trained = journal.entries[-1]["seconds"] if journal.entries else 0.0
    return {
        "metrics.jsonl": journal.to_jsonl(),
        "tensorboard/events.out.tfevents.0.luthier": event_file(journal, time.time() - trained),
    }


def plot_loss(journal: Journal, path: Path, title: str) -> None:
    """The loss curve as PNG. matplotlib is imported here: it is slow, and only used here."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(*journal.series("loss"), label="train", color="tab:blue", marker=".")
    steps, losses = journal.series("eval_loss")
    if steps:
        axes.plot(steps, losses, label="eval", color="tab:orange", marker="o")
    axes.set(xlabel="step", ylabel="loss", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def metrics_table(evaluation: EvaluationResult, order: Sequence[str] = ()) -> str:
    """Base and tuned side by side, as Markdown."""
    names = list(order) or list(evaluation.tuned)
    rows = [
        f"| {name} | {evaluation.base[name]:.4g} | {evaluation.tuned[name]:.4g} |"
        for name in names
        if name in evaluation.base and name in evaluation.tuned
    ]
    return "\n".join(["| metric | base | tuned |", "|---|---|---|", *rows])


def _card(spec: RunSpec, evaluation: EvaluationResult | None, facts: dict[str, Any]) -> str:
    tuning = spec.fine_tuning
    if evaluation:
        metrics = f"Measured on {evaluation.examples} rows of `{evaluation.split}`"
        metrics += (
            ", which training never saw.\n\n"
            if evaluation.split == "test"
            else (", which may have guided choices: optimistic.\n\n")
        )
        metrics += metrics_table(evaluation)
    else:
        metrics = "Not measured: the dataset names neither `eval` nor `test` rows."
    return _CARD.format(
        base=tuning.model.uri,
        name=spec.run.name,
        namespace=spec.run.namespace,
        revision=spec.run.revision,
        metrics=metrics,
        template=tuning.dataset.template,
        dataset=tuning.dataset.uri,
        task=tuning.task,
        rank=tuning.method.lora.rank,
        alpha=f"{tuning.method.lora.alpha:g}",
        seed=tuning.training.seed,
        **facts,
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
