"""ask.json: how a model is asked, told by the run that tuned it, beside its weights.

It travels with them: packages and bundles show what it says. One test row is in it, so that a
reader can try what the run itself asked; nothing else of the data is.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from luthier_api.finetuning import FineTuning
from luthier_api.meta import Model
from luthier_trainer.data.examples import (
    Answers,
    Chat,
    Completion,
    Example,
    Labelled,
    MultiLabelled,
    Pair,
    Tagged,
    Valued,
)
from luthier_trainer.data.template import parse_template
from luthier_trainer.evaluation.answered import Answered
from luthier_trainer.objectives import chattemplate
from luthier_trainer.objectives.reading import Reading
from luthier_trainer.objectives.segments import plain_ids
from luthier_trainer.objectives.tokens import begin_tokens

ASK = "ask.json"
# Of the row that is shown; longer ones are looked over, or cut.
MOST_PROMPT, MOST_ANSWER = 2_000, 1_000
MOST_BYTES = 200_000
_MOST_LABELS = 1_000

Form = Literal["template", "prompt", "chat", "text", "words", "pair"]
Name = Annotated[str, StringConstraints(max_length=300)]


class Stop(Model):
    """A token that ends an answer."""

    id: int = Field(ge=0, lt=1 << 31)
    text: Name


class Message(Model):
    role: Name
    content: Annotated[str, StringConstraints(max_length=2 * MOST_PROMPT)]


class Row(Model):
    """A test row. `prompt`: what the model reads, to the letter; of two texts, the first.
    `messages`: the same as a conversation. `answer`: what the tuned model said; None: the row was
    cut. `expected`: what the data says."""

    prompt: Annotated[str, StringConstraints(max_length=2 * MOST_PROMPT)]
    second: Annotated[str, StringConstraints(max_length=2 * MOST_PROMPT)] | None = None
    messages: list[Message] | None = Field(None, max_length=64)
    answer: Annotated[str, StringConstraints(max_length=2 * MOST_ANSWER)] | None = None
    expected: Annotated[str, StringConstraints(max_length=2 * MOST_ANSWER)] = ""


class Ask(Model):
    """`columns`: those that the prompt is made of; `answer_column`: what the model learnt to say.
    `begin`: tokens that stand before every text. `choices`: the answers that there are, where the
    run chose the likeliest. `reading`: how the logits of a head become an answer."""

    format: Literal[1] = 1
    form: Form
    auto_class: Name
    template: Annotated[str, StringConstraints(max_length=8_000)] | None = None
    columns: list[Name] = Field([], max_length=100)
    answer_column: Name | None = None
    choices: list[Name] = Field([], max_length=_MOST_LABELS)
    begin: list[Annotated[int, Field(ge=0, lt=1 << 31)]] = Field([], max_length=8)
    stop: list[Stop] = Field([], max_length=64)
    max_new_tokens: int = Field(128, ge=1, le=1_000_000)
    reading: Reading | None = None
    row: Row | None = None


def describe(
    tuning: FineTuning,
    objective: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    items: Sequence[Any],
    answers: Sequence[Answered],
    first: Example,
    ends: Sequence[int],
) -> Ask:
    """`examples`, as the objective's `items`, are those of `answers`, in order; `first`: any
    example, for their form. `ends`: tokens that end an answer."""
    first, examples = _asked(first), list(map(_asked, examples))
    fields: dict[str, Any] = {"form": _form(first, tuning), "auto_class": objective.head.auto_class}
    if fields["form"] == "template":
        template = parse_template(tuning.dataset.template or "")
        fields["template"] = str(tuning.dataset.template)[:8_000]
        fields["columns"] = [name[:300] for name in template.columns[:-1]][:100]
        fields["answer_column"] = template.label_column[:300]
    elif fields["form"] == "prompt" and tuning.dataset.columns:
        named = tuning.dataset.columns
        # Answers that begin alike have their prompt in no column of its own.
        fields["columns"] = [named.prompt[:300]] if named.prompt else []
        fields["answer_column"] = str(named.completion or named.chosen)[:300]
    if isinstance(first, Completion | Chat):
        fields["stop"] = [Stop(id=end, text=tokenizer.decode([end])[:300]) for end in ends][:64]
        fields["max_new_tokens"] = tuning.evaluation.max_new_tokens
        if isinstance(first, Completion) and tuning.task == "classification":
            known = {example.label for example in examples if isinstance(example, Completion)}
            fields["choices"] = sorted(label[:300] for label in known)[:_MOST_LABELS]
    fields["reading"] = getattr(objective, "reading", None)
    if isinstance(first, Completion) and objective.head.auto_class == "AutoModelForCausalLM":
        fields["begin"] = begin_tokens(tokenizer)
    rows = list(zip(examples, items, answers, strict=False))
    short = [row for row in rows if _fits(*row)]
    if rows:
        fields["row"] = _row(tokenizer, *(short or rows)[0], whole=bool(short))
    return Ask(**fields)


def write(folder: Path, ask: Ask) -> None:
    (folder / ASK).write_text(json.dumps(ask.to_json(), indent=2, ensure_ascii=False) + "\n")


def parse(data: bytes | None) -> Ask | None:
    """None where there is none, or what isn't one: a model goes without."""
    if data is None or len(data) > MOST_BYTES:
        return None
    try:
        return Ask.read_json(data)
    except ValidationError:
        return None


def read(folder: Path) -> Ask | None:
    """Of a folder with weights."""
    path = folder / ASK
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return None
    return parse(path.read_bytes())


def _asked(example: Example) -> Example:
    """Who learns which answer is better is asked for one, as any language model."""
    return example.any if isinstance(example, Answers) else example


def _form(example: Example, tuning: FineTuning) -> Form:
    match example:
        case Completion():
            return "template" if tuning.dataset.template else "prompt"
        case Chat():
            return "chat"
        case Labelled() | MultiLabelled() | Valued():
            return "text"
        case Tagged():
            return "words"
        case Pair():
            return "pair"
        case Answers():
            return _form(example.any, tuning)


def _texts(example: Example) -> tuple[str, str | None]:
    match example:
        case Completion():
            return example.prompt, None
        case Chat():
            return "\n".join(turn.content or "" for turn in example.turns[:-1]), None
        case Labelled() | MultiLabelled() | Valued():
            return example.text, None
        case Tagged():
            return " ".join(example.tokens), None
        case Pair():
            return example.first, example.second
        case Answers():
            return _texts(example.any)


def _fits(example: Example, item: Any, answered: Answered) -> bool:
    """Whether it can be shown whole, as it was asked."""
    prompt, second = _texts(example)
    asked = len(prompt) <= MOST_PROMPT and len(second or "") <= MOST_PROMPT
    short = max(len(answered.tuned), len(answered.expected)) <= MOST_ANSWER
    few = not isinstance(example, Chat) or len(example.turns) <= 64
    return asked and short and few and not getattr(item, "cut", 0)


def _row(tokenizer: Any, example: Example, item: Any, answered: Answered, *, whole: bool) -> Row:
    prompt, second = _texts(example)
    messages = None
    if isinstance(example, Chat):
        prompt, messages = _conversation(tokenizer, example, list(item.question))
    if len(prompt) > 2 * MOST_PROMPT:  # what a template adds counts, too
        whole, messages = False, None
    return Row(
        prompt=prompt if whole else prompt[:MOST_PROMPT],
        second=None if second is None else second[:MOST_PROMPT],
        messages=messages if whole else None,
        answer=answered.tuned if whole else None,
        expected=answered.expected[:MOST_ANSWER],
    )


def _conversation(
    tokenizer: Any, example: Chat, question: list[int]
) -> tuple[str, list[Message] | None]:
    """What the model was asked, as text; and as messages where its chat template, as anybody
    calls it, makes the same of them."""
    turns = [{"role": turn.role, "content": turn.content} for turn in example.turns[:-1]]
    try:
        text: str = chattemplate.run(tokenizer, turns, tokenize=False, add_generation_prompt=True)
    except Exception:
        text = ""
    if text and plain_ids(tokenizer, [text])[0] == question:
        return text, [Message(role=turn["role"], content=turn["content"]) for turn in turns]
    return tokenizer.decode(question), None
