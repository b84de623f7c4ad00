"""The forms of examples: which columns they need, and how a row becomes one."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from luthier_api.finetuning import FineTuning
from luthier_trainer.data import answers, chats, textlabels
from luthier_trainer.data.examples import Chat, Completion, Example, Pair, Tagged
from luthier_trainer.data.row import Row, hidden
from luthier_trainer.data.tagging import to_bio, words_and_tags
from luthier_trainer.data.template import Template, parse_template
from luthier_trainer.data.values import as_text, empty, items_of, mistake
from luthier_trainer.errors import data_error


@dataclass(frozen=True)
class Form:
    """`columns`: column → field of the spec that names it. `convert` raises TrainerError.
    `optional`: columns that are read where a row has them. `unread`: what is in a row's columns,
    but not in its example."""

    columns: dict[str, str]
    convert: Callable[[Row], Example]
    template: Template | None = None
    unread: Callable[[Row], Iterable[str]] = lambda _: ()
    optional: Collection[str] = ()


def parse_form(tuning: FineTuning) -> Form:
    """The form that dataset.template or dataset.columns names. Raises TrainerError."""
    dataset = tuning.dataset
    if dataset.columns is None:
        template = parse_template(dataset.template or "")
        if tuning.task == "classification" and template.label_in_prompt:
            raise data_error(
                "LabelInPrompt",
                f"the template's last column {template.label_column!r} is the answer, and stands "
                "before it too: the model would only copy it; remove it from the prompt",
                "dataset.template",
            )
        columns = dict.fromkeys(template.columns, "dataset.template")
        classes = tuning.task == "classification"
        return Form(columns, partial(_by_template, template, classes), template)
    names = {
        name: getattr(dataset.columns, name)
        for name in type(dataset.columns).model_fields
        if getattr(dataset.columns, name)
    }
    columns = {column: f"dataset.columns.{name}" for name, column in names.items()}
    learn_all = dataset.loss_on == "All"
    convert: Callable[..., Example]
    if tuning.task == "preference":
        convert = answers.one_by_one if "label" in names else answers.chosen_and_rejected
        return Form(columns, partial(convert, names), optional=chats.BESIDE_MESSAGES)
    if "prompt" in names:
        return Form(
            columns,
            partial(_completion, names, learn_all=learn_all),
            unread=partial(chats.unread_of_prompt_and_completion, names),
            optional=chats.TOOLS,
        )
    if "messages" in names:
        return Form(
            columns,
            partial(chats.of_messages, names["messages"], learn_all=learn_all),
            unread=partial(chats.unread, names["messages"]),
            optional=chats.BESIDE_MESSAGES,
        )
    if "instruction" in names:
        asked = names.pop("input", None)
        columns = {column: field for column, field in columns.items() if column != asked}
        optional = filter(None, [asked, *chats.BESIDE_INSTRUCTION])
        convert = partial(chats.of_instruction, asked=asked)
        return Form(columns, partial(convert, names), optional=tuple(optional))
    if "tokens" in names:
        convert = _tagged
    elif "spans" in names:
        convert = _spans
    elif "first" in names:
        convert = partial(_pair, any_number=tuning.training.loss is not None)
    elif "labels" in names:
        convert = partial(textlabels.several, separator=dataset.label_separator)
    elif tuning.task == "regression":
        convert = textlabels.valued
    else:
        convert = textlabels.labelled
    return Form(columns, partial(convert, names))


def _by_template(template: Template, classes: bool, row: Row) -> Completion:
    if classes:
        textlabels.require_one(row, template.label_column)
    for column in template.columns:
        if chats.conversation(row, column) is not None:
            raise data_error(
                "ConversationInTemplate",
                f"{row.place}: {column!r} is a list of messages, which a template would write as "
                "JSON: set columns.messages instead, and the model's chat template writes them",
                "dataset.template",
            )
    values = {column: as_text(row.values[column]) for column in template.columns}
    label = values[template.label_column]
    if not label.strip():
        raise empty(row, template.label_column)
    text = template.render(values)
    return Completion(text.prompt, text.completion, label, row.place)


def _completion(names: dict[str, str], row: Row, *, learn_all: bool) -> Completion | Chat:
    if chat := chats.of_prompt_and_completion(names, row, learn_all=learn_all):
        return chat
    prompt, completion = (as_text(row.values[names[name]]) for name in ("prompt", "completion"))
    if not completion.strip():
        raise empty(row, names["completion"])
    return Completion(prompt, completion, completion, row.place)


def _tagged(names: dict[str, str], row: Row) -> Tagged:
    tokens, tags = items_of(row, names["tokens"]), items_of(row, names["tags"])
    if not tokens or not all(isinstance(token, str) and token.strip() for token in tokens):
        raise mistake("InvalidTokens", row, "tokens are words, and none is empty")
    if len(tokens) != len(tags):
        raise mistake("InvalidTag", row, f"{len(tokens)} tokens, but {len(tags)} tags")
    return Tagged(tuple(tokens), to_bio(tags, row.place), row.place)


def _spans(names: dict[str, str], row: Row) -> Tagged:
    text = as_text(row.values[names["text"]])
    if not text.strip():
        raise empty(row, names["text"])
    words, tags = words_and_tags(text, items_of(row, names["spans"]), row.place)
    return Tagged(words, tags, row.place)


def _pair(names: dict[str, str], row: Row, *, any_number: bool) -> Pair:
    first, second = (as_text(row.values[names[name]]) for name in ("first", "second"))
    for name, value in (("first", first), ("second", second)):
        if not value.strip():
            raise empty(row, names[name])
    label = None
    if "label" in names:
        value = row.values[names["label"]]
        try:
            label = float(value)
        except (TypeError, ValueError):
            label = float("nan")
        if not (abs(label) < float("inf") if any_number else 0 <= label <= 1):
            scale = "a number" if any_number else "a number from 0 to 1"
            found = hidden(row.place, value)
            raise mistake("InvalidScore", row, f"{names['label']!r} is {found}, not {scale}")
    return Pair(first, second, label, row.place)
