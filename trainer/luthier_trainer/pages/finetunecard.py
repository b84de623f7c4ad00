"""The model card: README.md of an artifact. Pure."""

from luthier_api.finetunejob import EvaluationResult
from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunSpec
from luthier_trainer.pages.facts import Facts
from luthier_trainer.pages.howto import section
from luthier_trainer.pages.markdown import code, fenced, front_matter, inline, row
from luthier_trainer.pages.numbers import compared, measured, signed
from luthier_trainer.pages.snippet import fetching, needs, snippet
from luthier_trainer.pod.usercode import has_code

_OWN_CODE = (
    "Code of the user's own ran in this run (`training.loss` or `evaluation.script`), with the "
    "rights of the trainer: who doesn't trust that code has no reason to trust these numbers."
)
_PEFT = ("lora", "qlora", "ia3", "prefix", "prompt")
_NAMES = {
    "full": "full fine-tuning",
    "lora": "LoRA",
    "qlora": "LoRA on a 4-bit base (QLoRA)",
    "adapter": "bottleneck adapters",
    "ia3": "IA³",
    "prefix": "prefix tuning",
    "prompt": "prompt tuning",
}


def card(spec: RunSpec, evaluation: EvaluationResult | None, facts: Facts) -> str:
    """Markdown with the front matter that hubs read."""
    tuning, run = spec.fine_tuning, spec.run
    library = "peft" if tuning.method.type in _PEFT else "transformers"
    method = tuning.method.type
    similarity = tuning.training.similarity
    about = {
        "base model": f"{code(tuning.model.uri)} ({inline(facts.base_digest)})",
        **({"its commit": code(facts.commit)} if facts.commit else {}),
        **({"its licence": inline(facts.licence)} if facts.licence else {}),
        **({"went on from": code(facts.started_from)} if facts.started_from else {}),
        "data": f"{code(tuning.dataset.uri)} ({inline(facts.summary)})",
        "data digest": code(facts.dataset_digest),
        "task": tuning.task,
        "method": _method(tuning),
        "steps": str(facts.steps)
        + (f"; the weights are those of step {facts.best_step}" if facts.best_step else ""),
        "seed": str(tuning.training.seed),
        **{inline(name): inline(value) for name, value in facts.resolved.items()},
    }
    program = snippet(method, facts, facts.ask, similarity.pooling if similarity else "mean")
    parts = [
        front_matter(
            {
                "base_model": tuning.model.uri.removeprefix("hf://"),
                "library_name": library,
                "tags": [method, "luthier"],
            }
        ),
        f"# {inline(run.name)}",
        f"{_NAMES[method]} of {code(tuning.model.uri)}, made by the FineTuneJob "
        f"{code(f'{run.namespace}/{run.name}')}, revision {code(run.revision)}.",
        "## Result",
        _result(evaluation),
        *_merged(facts),
        *([_OWN_CODE] if has_code(spec) else []),
        "## How to use it",
        *_base(tuning, facts),
        f"In the folder of this card; it needs {needs(method)}:",
        fenced(program, "python"),
        *section(facts.ask),
        *_classes(facts),
        "## How it was made",
        "\n".join(["| | |", "|---|---|", *(row(pair) for pair in about.items())]),
        *(f"> {inline(warning)}" for warning in facts.warnings),
        "All settings are in `manifest.json`, the course of training in `report/index.html`.",
    ]
    return "\n\n".join(parts) + "\n"


def _base(tuning: FineTuning, facts: Facts) -> list[str]:
    """How the base of an adapter gets to where the program looks for it."""
    if tuning.method.type == "full":
        return []
    return [
        "The adapter is loaded on its base model, which the program takes from the folder `base`:",
        fenced(fetching(tuning.model.uri, facts.commit), "sh"),
    ]


def _classes(facts: Facts) -> list[str]:
    if not facts.labels:
        return []
    reading = facts.ask.reading if facts.ask else None
    if reading and reading.answer == "number":
        return [f"It tells the number {code(facts.labels[0])} of a text."]
    return [f"Its classes: {', '.join(code(name) for name in facts.labels)}."]


def metrics_table(evaluation: EvaluationResult) -> str:
    """Base, what was in use, and tuned side by side, with their intervals, as Markdown."""
    heads, rows = compared(evaluation)
    lines = [row(heads), "|---" * len(heads) + "|"]
    lines += [row([inline(name), *cells]) for name, *cells in rows]
    return "\n".join(lines)


def _result(evaluation: EvaluationResult | None) -> str:
    if evaluation is None:
        return "Not measured: the dataset names neither `eval` nor `test` rows."
    seen = (
        "which training never saw."
        if evaluation.split == "test"
        else "which may have guided choices: optimistic."
    )
    head = f"Measured on {evaluation.examples} rows of `{evaluation.split}`, {seen}"
    parts = [head, metrics_table(evaluation)]
    if evaluation.compared_with is not None:
        parts.append(
            f"In use was {code(evaluation.compared_with)}, which answered the same rows in this "
            "run: the gain is over that."
        )
    return "\n\n".join(parts)


def _merged(facts: Facts) -> list[str]:
    """What the merge into the unquantised base changed."""
    if not facts.merged_metrics:
        return []
    lines = [
        row([inline(name), measured(each["merged"]), signed(each["change"])])
        for name, each in facts.merged_metrics.items()
    ]
    return [
        "The tuned model was measured on the 4-bit base. The merged one, in `model/`, has the "
        "unquantised base's weights and differs:",
        "\n".join(["| metric | merged | change to tuned |", "|---|---|---|", *lines]),
    ]


def _method(tuning: FineTuning) -> str:
    method, name = tuning.method, _NAMES[tuning.method.type]
    if method.type in ("lora", "qlora"):
        return f"{name}, rank {method.lora.rank}, alpha {method.lora.alpha:g}"
    return name
