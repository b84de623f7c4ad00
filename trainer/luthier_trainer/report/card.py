"""The model card: README.md of an artifact. Pure."""

from luthier_api.finetunejob import EvaluationResult
from luthier_api.finetuning import FineTuning
from luthier_api.runspec import RunSpec
from luthier_trainer.report.facts import Facts
from luthier_trainer.report.numbers import changed, measured, signed

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
    about = {
        "base model": f"`{tuning.model.uri}` ({facts.base_digest})",
        **({"its commit": f"`{facts.commit}`"} if facts.commit else {}),
        **({"its licence": facts.licence} if facts.licence else {}),
        "data": f"`{tuning.dataset.uri}` ({facts.summary})",
        "data digest": f"`{facts.dataset_digest}`",
        "task": tuning.task,
        "method": _method(tuning),
        "steps": str(facts.steps)
        + (f"; the weights are those of step {facts.best_step}" if facts.best_step else ""),
        "seed": str(tuning.training.seed),
        **facts.resolved,
    }
    parts = [
        f"---\nbase_model: {tuning.model.uri}\nlibrary_name: {library}\n"
        f"tags: [{tuning.method.type}, luthier]\n---",
        f"# {run.name}",
        f"{_NAMES[tuning.method.type]} of `{tuning.model.uri}`, made by the FineTuneJob "
        f"`{run.namespace}/{run.name}`, revision `{run.revision}`.",
        "## Result",
        _result(evaluation),
        *_merged(facts),
        "## How to use it",
        f"```python\n{snippet(tuning.method.type, facts)}\n```",
        *_template(tuning),
        *(
            [f"Its classes: {', '.join(f'`{name}`' for name in facts.labels)}."]
            if facts.labels
            else []
        ),
        "## How it was made",
        "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in about.items())]),
        *(f"> {warning}" for warning in facts.warnings),
        "All settings are in `manifest.json`, the course of training in `report/index.html`.",
    ]
    return "\n\n".join(parts) + "\n"


def snippet(method: str, facts: Facts) -> str:
    """Python that loads the artifact, whose folders lie beside it, downloaded."""
    auto, folder = facts.auto_class, facts.artifact
    tokenizer = f'tokenizer = AutoTokenizer.from_pretrained("{folder}")'
    if method == "full":
        return (
            f"from transformers import {auto}, AutoTokenizer\n\n{tokenizer}\n"
            f'model = {auto}.from_pretrained("{folder}")'
        )
    options = f", num_labels={len(facts.labels)}" if facts.labels and "For" in auto else ""
    options = options if "Classification" in auto else ""
    base = f'base = {auto}.from_pretrained("base"{options})  # the base model'
    if method == "qlora":
        base += (
            "\n# Measured on the 4-bit base: to get the same numbers, load it with\n"
            "# quantization_config=BitsAndBytesConfig(load_in_4bit=True, …)"
        )
    imports = f"from transformers import {auto}, AutoTokenizer"
    if method == "adapter":
        load = 'model = bottleneck.load(base, Path("' + folder + '"))'
        ours = "from luthier_trainer.methods import bottleneck"
        imports = f"from pathlib import Path\n\n{imports}\n\n{ours}"
    else:
        load = f'model = PeftModel.from_pretrained(base, "{folder}")'
        imports = f"from peft import PeftModel\n{imports}"
    merged = (
        f'\n\n# Or the merged model, without adapters:\nmodel = {auto}.from_pretrained("model")'
        if facts.merged
        else ""
    )
    return f"{imports}\n\n{tokenizer}\n{base}\n{load}{merged}"


def metrics_table(evaluation: EvaluationResult) -> str:
    """Base and tuned side by side, with the change and its interval, as Markdown."""
    lines = ["| metric | base | tuned | change | 95% interval |", "|---|---|---|---|---|"]
    for name, tuned in evaluation.tuned.items():
        base = evaluation.base.get(name)
        change, interval = changed(evaluation.change.get(name))
        lines.append(f"| {name} | {measured(base)} | {measured(tuned)} | {change} | {interval} |")
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
    return f"{head}\n\n{metrics_table(evaluation)}"


def _merged(facts: Facts) -> list[str]:
    """What the merge into the unquantised base changed."""
    if not facts.merged_metrics:
        return []
    lines = [
        f"| {name} | {measured(each['merged'])} | {signed(each['change'])} |"
        for name, each in facts.merged_metrics.items()
    ]
    return [
        "The tuned model was measured on the 4-bit base. The merged one, in `model/`, has the "
        "unquantised base's weights and differs:",
        "\n".join(["| metric | merged | change to tuned |", "|---|---|---|", *lines]),
    ]


def _template(tuning: FineTuning) -> list[str]:
    template = tuning.dataset.template
    if not template:
        return []
    return [
        "The prompt is the template's text before its last column:",
        f"```text\n{template}\n```",
    ]


def _method(tuning: FineTuning) -> str:
    method, name = tuning.method, _NAMES[tuning.method.type]
    if method.type in ("lora", "qlora"):
        return f"{name}, rank {method.lora.rank}, alpha {method.lora.alpha:g}"
    return name
