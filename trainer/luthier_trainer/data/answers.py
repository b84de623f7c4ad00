"""Rows that are answers, better and worse ones: as TRL's and the hub's datasets have them.

{prompt, chosen, rejected}; {chosen, rejected} that begin alike (Anthropic's HH, UltraFeedback); and
{prompt, completion, label} of answers one by one, as KTO takes them.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile

from luthier_api.evaluation import Evaluation
from luthier_api.finetuning import FineTuning
from luthier_trainer.data import chats
from luthier_trainer.data.examples import Answer, Answers, Completion, Examples
from luthier_trainer.data.row import Row, hidden
from luthier_trainer.data.values import as_text, mistake
from luthier_trainer.errors import data_error

# How HH's texts write whose turn it is.
_ANSWERING = "\n\nAssistant:"
_LAST_WORD = re.compile(r"\s*\S*$")
_SIDES = ("chosen", "rejected")


def chosen_and_rejected(names: Mapping[str, str], row: Row) -> Answers:
    """Raises TrainerError (EmptyCompletion, NoPrompt, MixedForms, and what chats' do)."""
    chosen, rejected = _explicit(names, row) if "prompt" in names else _implicit(names, row)
    if type(chosen) is not type(rejected):
        columns = " and ".join(repr(names[side]) for side in _SIDES)
        raise data_error(
            "MixedForms",
            f"{row.place}: of {columns} one is a text, and the other a list of messages; write "
            "both in one form",
        )
    return Answers(chosen, rejected, row.place)


def one_by_one(names: Mapping[str, str], row: Row) -> Answers:
    """Raises TrainerError (EmptyCompletion, InvalidLabel, and what chats' do)."""
    answer = _answer(names["prompt"], names["completion"], row)
    if _is_desirable(row, names["label"]):
        return Answers(answer, None, row.place)
    return Answers(None, answer, row.place)


def as_generation(tuning: FineTuning, examples: Examples) -> tuple[FineTuning, Examples]:
    """How the result is used: asked for an answer, as any language model. Of the rows that it was
    measured on the better answers are left. Other tasks stay as they are."""
    first = examples.train[0]
    if not isinstance(first, Answers):
        return tuning, examples
    rows = [each for each in examples.reported if isinstance(each, Answers)]
    kept = [row.chosen for row in rows if row.chosen] or [row.any for row in rows]
    told = tuning.evaluation.model_copy(update={"metrics": Evaluation().metrics})
    settings = {"task": "generation", "evaluation": told}
    return tuning.model_copy(update=settings), replace(examples, train=[first.any], reported=kept)


def _explicit(names: Mapping[str, str], row: Row) -> tuple[Answer, Answer]:
    chosen, rejected = (_answer(names["prompt"], names[side], row) for side in _SIDES)
    return chosen, rejected


def _answer(prompt: str, column: str, row: Row) -> Answer:
    found = chats.of_prompt_and_answer({"prompt": prompt, "completion": column}, row)
    if found is not None:
        return found
    return _text(as_text(row.values[prompt]), as_text(row.values[column]), column, row)


def _text(prompt: str, answer: str, column: str, row: Row) -> Completion:
    if not answer.strip():
        raise data_error(
            "EmptyCompletion",
            f"{row.place}: {column!r} is empty: there is nothing to learn; fill it in or remove "
            "the row",
        )
    return Completion(prompt, answer, answer, row.place)


def _implicit(names: Mapping[str, str], row: Row) -> tuple[Answer, Answer]:
    columns = names["chosen"], names["rejected"]
    if found := chats.of_chosen_and_rejected(columns, row):
        return found
    texts = [as_text(row.values[column]) for column in columns]
    prompt = shared_prompt(*texts)
    if not prompt.strip():
        problem = f"{columns[0]!r} and {columns[1]!r} begin with different words: there is no "
        raise mistake("NoPrompt", row, problem + "prompt; name it in columns.prompt")
    chosen, rejected = (
        _text(prompt, text[len(prompt) :], column, row)
        for text, column in zip(texts, columns, strict=True)
    )
    return chosen, rejected


def shared_prompt(one: str, other: str) -> str:
    """What both texts begin with: up to where the last answer begins, where they say it as HH's do;
    else without the last word, which answers may have in common."""
    signs = zip(one.rstrip(), other.rstrip(), strict=False)
    pairs = takewhile(lambda pair: pair[0] == pair[1], signs)
    shared = "".join(sign for sign, _ in pairs)
    answering = shared.rfind(_ANSWERING)
    if answering >= 0:
        return shared[: answering + len(_ANSWERING)]
    last = _LAST_WORD.search(shared)
    return shared[: last.start()] if last else shared


def _is_desirable(row: Row, column: str) -> bool:
    value = row.values[column]
    words = str(value).strip().lower()
    if words in ("true", "1", "1.0"):
        return True
    if words in ("false", "0", "0.0"):
        return False
    raise mistake(
        "InvalidLabel",
        row,
        f"{column!r} is {hidden(row.place, value)}, not true (a desirable answer) or false",
    )
