"""An evaluation of the user's own: `evaluate_model(model_path, test_dataset, metric_type)`.

It is called once, when the result is written:

- `model_path`: folder of the result, as it will be published: str. `adapter/` or `model/` lies
  in it.
- `test_dataset`: the rows that the result is measured on: a list of dicts with the names of
  dataset.columns: prompt, completion (and label, for the task classification), messages,
  text and label, tokens and tags, or first, second and label. Of the task preference: chosen and
  rejected, each of them such a dict, or None.
- `metric_type`: "all": every metric it knows.

It returns a dict of at most 16 finite numbers by name; they become `script_<name>` of the
tuned model. What it prints goes to the log. It runs in the trainer's process, with the
trainer's rights: the platform must allow it.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier_trainer.data.examples import Answers, Chat, Example
from luthier_trainer.pod.usercode import UserCode

Row = dict[str, Any]
Evaluate = Callable[[str, list[Row], str], Any]

PREFIX = "script_"
ALL = "all"
_MOST = 16
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,56}")


def load(path: Path, entrypoint: str) -> Evaluate:
    """The function `entrypoint` of the file. Raises TrainerError (UserCodeFailed), e.g. before
    a training whose result it couldn't evaluate."""
    code = _code(path)
    function: Evaluate = code.entrypoint(entrypoint)
    if not callable(function):
        raise code.refused(f"{entrypoint} of {path.name} can't be called: make it a function")
    return function


def evaluate(
    function: Evaluate, path: Path, model_folder: Path, examples: Sequence[Example]
) -> dict[str, float]:
    """Call the user's function; its numbers by name, `script_` before each.

    `path` is its file, for errors. Raises TrainerError (UserCodeFailed).
    """
    code = _code(path)
    rows = [as_row(example) for example in examples]
    with code.running():
        found = function(str(model_folder), rows, ALL)
    return _checked(found, code)


def as_row(example: Example) -> Row:
    """An example as the user knows it: by the names of dataset.columns."""
    if isinstance(example, Chat):
        tools = {"tools": list(example.tools)} if example.tools else {}
        return {"messages": [turn.message for turn in example.turns], **tools}
    if isinstance(example, Answers):
        sides = {"chosen": example.chosen, "rejected": example.rejected}
        return {name: as_row(answer) if answer else None for name, answer in sides.items()}
    row = dataclasses.asdict(example)
    del row["place"]
    return {name: list(each) if isinstance(each, tuple) else each for name, each in row.items()}


def _checked(found: Any, code: UserCode) -> dict[str, float]:
    if not isinstance(found, dict) or not found:
        raise code.refused(
            f"it returned {code.brief(found)}: return a dict of numbers by name, e.g. "
            '{"accuracy": 0.9}'
        )
    if len(found) > _MOST:
        raise code.refused(f"it returned {len(found)} numbers: return at most {_MOST}")
    values = {}
    for name, value in found.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise code.refused(
                f"it returned as the name {code.brief(name)}: use 1 to 56 of A-Z, a-z, 0-9, _, "
                "., @ and -"
            )
        number = _number(value)
        if number is None:
            raise code.refused(f"it returned {name}: {code.brief(value)}: return a finite number")
        values[f"{PREFIX}{name}"] = number
    return values


def _number(value: Any) -> float | None:
    """A finite float, or None. Those of numpy and torch count."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if math.isfinite(number) else None


def _code(path: Path) -> UserCode:
    return UserCode(path, "evaluation script", "evaluation.script")
