"""Writes docs/methods.md: `python scripts/methods_table.py`.

What works is luthier_trainer.methods.support.SUPPORTED and the forms of examples; what proves it
are the cells that tests/unit/trainer/test_run_methods.py runs. `make verify` fails when the file
isn't what this writes. Raises ValueError where something is supported and no test runs it.
"""

import sys
from collections import defaultdict
from pathlib import Path
from typing import get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from unit.trainer.run_cells import (  # noqa: E402 - from the path above
    CELLS,
    GROUPS,
    KINDS,
    Form,
    architecture_of,
    architectures_of,
    methods_of,
)
from unit.trainer.tiny import ARCHITECTURES  # noqa: E402

from luthier_api.methods import MethodType  # noqa: E402

FILE = ROOT / "docs/methods.md"
_NAMES = {
    "AutoModelForCausalLM": "a language model",
    "AutoModelForSeq2SeqLM": "an encoder-decoder language model",
    "AutoModelForSequenceClassification": "a model with a head for classes",
    "AutoModelForTokenClassification": "a model with a head for tags",
    "AutoModel": "a model without a head",
}
# (kind, class of transformers) → why virtual tokens don't work there.
_NO_TOKENS = {
    ("decoder", "AutoModelForSequenceClassification"): "its head looks for the text's last token, "
    "and virtual tokens move it",
    ("encoder-decoder", "AutoModelForSequenceClassification"): "its head looks for the text's end "
    "token, and virtual tokens have none",
}
_NO_PREFIX = "an encoder has no cache of keys and values for a prefix to stand in"
_TAGGED = "a tagger would tag virtual tokens too"
_COMPARED = "the output has a vector for each virtual token too, and pooling would count them"
# Name of a form → why some kinds of model can't learn it.
_NO_CLASS = {
    "chat": "a conversation is continued by a decoder",
    "simpo": "an answer is continued by a decoder",
    "cosine": "one vector for a text is the work of an encoder or a decoder",
}
_NO_WORDS = "it writes no text: take columns.text and label, or tokens and tags"


def page() -> str:
    """Markdown."""
    proofs = _proofs()
    parts = [_HEAD]
    for number, group in enumerate(GROUPS):
        parts += [f"## {_title(group)}", _class_names(group[0]), _table(number, proofs)]
    return "\n\n".join(parts) + "\n"


def _title(group: tuple[Form, ...]) -> str:
    tasks = " and ".join(dict.fromkeys(form.task for form in group))
    forms = " / ".join(dict.fromkeys(form.words.partition(":")[0] for form in group))
    return f"{tasks.capitalize()}: {forms}"


def _class_names(form: Form) -> str:
    """What the model becomes, and which architectures are run."""
    lines = []
    for kind in KINDS:
        if kind in form.classes:
            tried = ", ".join(f"`{name}`" for name in architectures_of(form, kind))
            name = form.classes[kind]
            lines.append(f"- {kind}: {_NAMES[name]} (`{name}`); {tried}{_lacking(form, kind)}")
    return "\n".join(lines)


def _lacking(form: Form, kind: str) -> str:
    """Architectures of the kind that can't learn the form."""
    can = {name for each in KINDS for name in architectures_of(form, each)}
    others = [n for n in ARCHITECTURES if architecture_of(n).kind == kind and n not in can]
    if not others:
        return ""
    why = "no chat template" if form.name == "chat" else "no such class in transformers"
    return f" (not {', '.join(f'`{name}`' for name in others)}: {why})"


def _table(number: int, proofs: dict[tuple[int, str, str], list[str]]) -> str:
    form = GROUPS[number][0]
    kinds = [kind for kind in KINDS if architectures_of(form, kind)]
    lines = [f"| method | {' | '.join(kinds)} |", "|---" * (1 + len(kinds)) + "|"]
    for method in get_args(MethodType):
        cells = []
        for kind in kinds:
            if method not in methods_of(form, kind):
                cells.append(f"no: {_reason(kind, form.classes[kind], method)}")
                continue
            proof = proofs[number, kind, method]
            if not proof:
                raise ValueError(f"no test runs {method} on a {kind} for {form.name}")
            cells.append("✔ " + ", ".join(f"`{name}`" for name in proof))
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    refused = [kind for kind in KINDS if kind not in kinds]
    text = "\n".join(lines)
    if refused:
        why = _NO_CLASS.get(form.name, _NO_WORDS)
        text += f"\n\nRefused on an {' or '.join(refused)} (`WrongArchitecture`): {why}."
    return text


def _reason(kind: str, auto_class: str, method: str) -> str:
    if auto_class == "AutoModelForTokenClassification":
        return _TAGGED
    if kind == "encoder" and method == "prefix":
        return _NO_PREFIX
    return _NO_TOKENS.get((kind, auto_class), _COMPARED)


def _proofs() -> dict[tuple[int, str, str], list[str]]:
    """(group, kind, method) → names of the cells."""
    found: dict[tuple[int, str, str], list[str]] = defaultdict(list)
    for cell in CELLS:
        for number, group in enumerate(GROUPS):
            if cell.form in group:
                found[number, cell.kind, cell.method].append(cell.name)
    return found


_HEAD = """# What works with what

<!-- Written by scripts/methods_table.py: change that, and run `make generate`. -->

Which `method.type` works for which form of examples, by the kind of the base model. ✔ names the
tests: `pytest tests/unit/trainer/test_run_methods.py -k NAME` runs the whole fine-tuning of a tiny
model, loads its artifact with plain transformers and peft as the model card says, and finds by
them, one row at a time, the loss that was reported, and loss and gradients of a training step.
What doesn't work is refused before the weights are loaded, with the code `MethodNotSupported` or
`WrongArchitecture`.

A kind of model is told from its `config.json`: decoders (Llama, Mistral, Qwen, Phi, Gemma, GPT-2),
encoders (BERT, RoBERTa, DeBERTa), encoder-decoders (T5, BART).

Mixtures of experts (Mixtral, Qwen-MoE, OLMoE, …): `targetModules: [auto]` and `[all-linear]` mean
the experts' weights too, without `dropout` and `dora`, which peft can't do there. Where more than
1% of the layers' weights get no update, log and `status.resolved` (`withoutUpdate`) say which.
`ia3` and `adapter` leave experts as they are, with a warning."""


if __name__ == "__main__":
    FILE.write_text(page())
