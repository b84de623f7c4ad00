"""The cells of the table of methods: form × architecture × method, and the runs of each.

`CELLS` has those that test_run_methods.py runs; scripts/methods_table.py makes the table in
docs/methods.md of them.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from unit.trainer.tiny import ARCHITECTURES

from luthier_trainer.methods.support import SUPPORTED
from luthier_trainer.models.architecture import Architecture, Kind, describe

Row = dict[str, Any]
KINDS: tuple[Kind, ...] = ("decoder", "encoder", "encoder-decoder")
# What a folder's config.json names an architecture where it isn't the name of the tiny model.
_MODEL_TYPES = {"gemma3": "gemma3_text", "dialogpt": "gpt2"}
_NO_CHAT_TEMPLATE = ("gpt2", "dialogpt")
_THINGS = {"red": "tomato", "green": "meadow", "deep blue": "ocean"}


@dataclass(frozen=True)
class Form:
    """A form of examples, as `name` and in the words of the table.

    `classes`: kind of model → class of transformers that learns it. `row`: number → a row.
    """

    name: str
    task: str
    words: str
    classes: dict[Kind, str]
    dataset: dict[str, Any]
    row: Callable[[int], Row]
    metrics: list[str]
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    form: Form
    architecture: str
    method: str

    @property
    def name(self) -> str:
        return f"{self.form.name}-{self.architecture}-{self.method}"

    @property
    def kind(self) -> Kind:
        return architecture_of(self.architecture).kind


def _colour(number: int) -> tuple[str, str]:
    """A sentence, of many lengths, and its colour."""
    label = list(_THINGS)[number % 3]
    words = " ".join(f"w{(number * 7 + i) % 50}" for i in range(number % 4))
    return f"{words} {number} {_THINGS[label]}".strip(), label


def _labelled(number: int) -> Row:
    text, label = _colour(number)
    return {"text": text, "label": label}


def _topics(number: int) -> Row:
    """A text of one or two colours, or of none."""
    text, label = _colour(number)
    other, second = _colour(number + 1)
    found = [[label], sorted({label, second}), []][number % 3]
    return {"text": f"{text} {other}" if len(found) > 1 else text, "labels": found}


def _number(number: int) -> Row:
    text, label = _colour(number)
    return {"text": text, "label": 100.0 * list(_THINGS).index(label) + number % 5}


def _json(number: int) -> Row:
    text, label = _colour(number)
    return {"text": text, "answer": json.dumps({"colour": label, "n": number % 2})}


def _completion(number: int) -> Row:
    text, label = _colour(number)
    return {"prompt": f"{text} is", "completion": f" {label}, {number % 3} times"}


def _messages(number: int) -> Row:
    """One turn of the assistant, or two."""
    text, label = _colour(number)
    turns = [("user", f"colour of {text}?"), ("assistant", label)]
    turns += [("user", "sure?"), ("assistant", "yes, " + label)] * (number % 2)
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def _tagged(number: int) -> Row:
    text, label = _colour(number)
    words = text.split()
    begin = ["O"] * (len(words) - 1) + [f"B-{label.split()[-1].upper()}"]
    return {"tokens": [*words, "fruit"], "tags": [*begin, "I" + begin[-1][1:]]}


def _spans(number: int) -> Row:
    text, label = _colour(number)
    start = text.rindex(" ") + 1
    spans = [{"start": start, "end": len(text), "label": label.split()[-1]}]
    return {"text": f"{text} (seen)", "spans": spans}


def _pair(number: int) -> Row:
    text, label = _colour(number)
    alike = number % 2
    return {"first": text, "second": label if alike else "w1 w2", "alike": alike}


def _answers(number: int) -> Row:
    text, label = _colour(number)
    names = list(_THINGS)
    wrong = names[(names.index(label) + 1) % 3]
    return {"prompt": f"{text} is", "chosen": f" {label}", "rejected": f" {wrong}, I guess"}


def _begun_answers(number: int) -> Row:
    """Without a prompt of their own, as HH has them."""
    row = _answers(number)
    asked = f"\n\nHuman: colour of {row['prompt']}?\n\nAssistant:"
    return {side: f"{asked}{row[side]}" for side in ("chosen", "rejected")}


_IN_WORDS: dict[Kind, str] = {
    "decoder": "AutoModelForCausalLM",
    "encoder-decoder": "AutoModelForSeq2SeqLM",
}
_CLASSES: dict[Kind, str] = dict.fromkeys(KINDS, "AutoModelForSequenceClassification")
_TAGS: dict[Kind, str] = dict.fromkeys(KINDS, "AutoModelForTokenClassification")
_VECTORS: dict[Kind, str] = {"decoder": "AutoModel", "encoder": "AutoModel"}
_PAIR = {"columns": {"first": "first", "second": "second", "label": "alike"}}
_UNLABELLED_PAIR = {"columns": {"first": "first", "second": "second"}}
_BOTH = {"columns": {"prompt": "prompt", "completion": "completion"}}


def _pairs(name: str, objective: str, metrics: list[str], dataset: dict[str, Any] = _PAIR) -> Form:
    similarity = {"similarity": {"objective": objective}}
    words = f"{', '.join(dataset['columns'])}: {objective}"
    return Form(name, "similarity", words, _VECTORS, dataset, _pair, metrics, similarity)


# Forms that are learnt alike: a row of the table. Its cells take them in turn.
GROUPS: tuple[tuple[Form, ...], ...] = (
    (
        Form(
            "classes-in-words",
            "classification",
            "template",
            _IN_WORDS,
            {"template": "Text: {text}\nColour: {label}"},
            _labelled,
            ["loss", "accuracy"],
        ),
    ),
    (
        Form(
            "completion",
            "generation",
            "prompt, completion",
            _IN_WORDS,
            _BOTH,
            _completion,
            ["loss", "exact_match"],
        ),
        Form(
            "summary",
            "summarization",
            "prompt, completion",
            _IN_WORDS,
            _BOTH,
            _completion,
            ["loss", "rouge"],
        ),
    ),
    (
        Form(
            "json",
            "extraction",
            "template",
            _IN_WORDS,
            {"template": "{text} as JSON: {answer}"},
            _json,
            ["loss", "json_f1"],
        ),
    ),
    (
        Form(
            "chat",
            "generation",
            "messages",
            {"decoder": "AutoModelForCausalLM"},
            {"columns": {"messages": "messages"}},
            _messages,
            ["loss", "perplexity"],
        ),
    ),
    (
        Form(
            "classes",
            "classification",
            "text, label",
            _CLASSES,
            {"columns": {"text": "text", "label": "label"}},
            _labelled,
            ["loss", "f1"],
        ),
    ),
    (
        Form(
            "tags",
            "extraction",
            "tokens, tags",
            _TAGS,
            {"columns": {"tokens": "tokens", "tags": "tags"}},
            _tagged,
            ["loss", "entity_f1"],
        ),
        Form(
            "spans",
            "extraction",
            "text, spans",
            _TAGS,
            {"columns": {"text": "text", "spans": "spans"}},
            _spans,
            ["loss", "entity_f1"],
        ),
    ),
    (
        _pairs("cosine", "cosine", ["loss", "spearman"]),
        _pairs("contrastive", "contrastive", ["loss", "pearson"]),
        _pairs("negatives", "in_batch_negatives", ["loss"], _UNLABELLED_PAIR),
    ),
    (
        Form(
            "simpo",
            "preference",
            "prompt, chosen, rejected",
            {"decoder": "AutoModelForCausalLM"},
            {"columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}},
            _answers,
            ["loss", "preference_accuracy"],
            {"preference": {"objective": "simpo"}},
        ),
        Form(
            "orpo",
            "preference",
            "chosen, rejected",
            {"decoder": "AutoModelForCausalLM"},
            {"columns": {"chosen": "chosen", "rejected": "rejected"}},
            _begun_answers,
            ["loss", "reward_margin"],
            {"preference": {"objective": "orpo"}},
        ),
    ),
)


# Learnt by the same heads as classes, on the same models and by the same methods.
TEXT_HEADS: tuple[Form, ...] = (
    Form(
        "topics",
        "classification",
        "text, labels",
        _CLASSES,
        {"columns": {"text": "text", "labels": "labels"}},
        _topics,
        ["loss", "f1"],
        {"classification": {"classWeights": "Balanced", "focalGamma": 1.0}},
    ),
    Form(
        "numbers",
        "regression",
        "text, label",
        _CLASSES,
        {"columns": {"text": "text", "label": "label"}},
        _number,
        ["loss", "mse", "pearson"],
    ),
)


@cache
def architecture_of(name: str) -> Architecture:
    """By what config.json says."""
    with tempfile.TemporaryDirectory() as folder:
        config = {"model_type": _MODEL_TYPES.get(name, name)}
        Path(folder, "config.json").write_text(json.dumps(config))
        return describe(Path(folder))


def methods_of(form: Form, kind: Kind) -> Sequence[str]:
    """Those that a kind of model supports; none where it can't learn the form."""
    return SUPPORTED[kind, form.classes[kind]] if kind in form.classes else ()


def architectures_of(form: Form, kind: Kind) -> list[str]:
    """The tiny models of a kind that can learn the form."""
    found = []
    for name in ARCHITECTURES:
        architecture = architecture_of(name)
        can = architecture.kind == kind and form.classes.get(kind) in architecture.auto_classes
        if can and not (form.name == "chat" and name in _NO_CHAT_TEMPLATE):
            found.append(name)
    return found


def _cells() -> Iterator[Cell]:
    """For each group and kind of model, its architectures and its methods side by side, the
    shorter list repeated, so that each occurs. Groups begin at different methods."""
    for number, group in enumerate(GROUPS):
        for kind in KINDS:
            names, methods = architectures_of(group[0], kind), list(methods_of(group[0], kind))
            if not names or not methods:
                continue
            start = number % len(methods)
            turned = cycle([*methods[start:], *methods[:start]])
            count = max(len(names), len(methods))
            pairs = zip(islice(cycle(names), count), turned, strict=False)
            for index, (name, method) in enumerate(pairs):
                # Another one each time, also when an architecture comes again.
                form = group[(index + index // len(names)) % len(group)]
                yield Cell(form, name, method)


CELLS = tuple(_cells())
