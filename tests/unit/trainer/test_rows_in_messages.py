"""What stands in a row is in no message or warning, which a status has; the log has it."""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.data_support import Prepare, bare_preparer, jsonl
from unit.trainer.objectives_support import chat, tokenizer_of

from luthier_trainer.data.examples import Labelled, Tagged
from luthier_trainer.errors import from_exception
from luthier_trainer.evaluation import metrics, script
from luthier_trainer.log import log_traceback
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.scoring import label_completions
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.training.ownloss import load_loss

SECRET = "Doe-HIV"
TEXT = f"Patient {SECRET}"
# What a template's or a user's own words hold, and a row doesn't.
OWN = "roles must alternate"

Call = Callable[[], Any]
Rows = tuple[str, dict[str, Any], dict[str, Any]]

ROWS: dict[str, Rows] = {
    "score": (
        "similarity",
        {"first": "a", "second": "b", "label": "y"},
        {"a": TEXT, "b": TEXT, "y": TEXT},
    ),
    "labels": ("classification", {"text": "t", "label": "y"}, {"t": TEXT, "y": [TEXT]}),
    "tag": ("extraction", {"tokens": "t", "tags": "y"}, {"t": [TEXT], "y": [f"I-{TEXT}"]}),
}
MESSAGES: dict[str, dict[str, Any]] = {
    "role": {"role": TEXT, "content": TEXT},
    "medium": {"content": [{"type": f"image {TEXT}", "text": TEXT}]},
    "part": {"content": [{"type": TEXT}]},
    "call": {"tool_calls": [{"function": {"name": TEXT, "arguments": TEXT}}]},
    "weight": {"content": TEXT, "weight": TEXT},
}
for _name, _message in MESSAGES.items():
    _turns = [{"role": "user", "content": TEXT}, {"role": "assistant", **_message}]
    ROWS[f"message's {_name}"] = "generation", {"messages": "m"}, {"m": _turns}


def refusing(words: str) -> Call:
    """A chat template that says them."""
    tokenizer = deepcopy(tokenizer_of("qwen2"))
    tokenizer.chat_template = words
    encoder = ChatEncoder(tokenizer, 64, False)
    return lambda: encoder.encode([chat(TEXT, "fine")])


def loss(body: str, folder: Path) -> Call:
    source = folder / "loss.py"

    def run() -> None:
        source.write_text(f"def loss(outputs, batch):\n    {body}\n")
        load_loss(source, "loss")({}, {"rows": [TEXT]})

    return run


def evaluation(body: str, folder: Path) -> Call:
    source = folder / "eval.py"

    def run() -> None:
        source.write_text(f"def evaluate_model(model, rows, kind):\n    {body}\n")
        function = script.load(source, "evaluate_model")
        script.evaluate(function, source, folder, [Labelled(TEXT, "ill", "test.jsonl:1")])

    return run


def library(error: Exception) -> Call:
    """What a library raises, as the end of a run tells it."""

    def run() -> None:
        try:
            raise error
        except Exception as caught:
            log_traceback(caught)
            raise from_exception(caught) from None

    return run


def ways(folder: Path, prepare: Prepare) -> dict[str, Call]:
    tokenizer = tokenizer_of("qwen2")
    of_rows = {
        name: partial(prepare, {"a.jsonl": jsonl(row)}, task=task, columns=columns)
        for name, (task, columns, row) in ROWS.items()
    }
    return {
        **of_rows,
        "json": lambda: metrics.check_gold(["json_f1"], [TEXT], ["test.jsonl:1"]),
        "class": lambda: Classifier(tokenizer, ["a", "b"], 16).encode(
            [Labelled("text", TEXT, "test.jsonl:1")]
        ),
        "tag of another": lambda: Tagger(tokenizer, ["PER"], 16).encode(
            [Tagged(("text",), (f"B-{TEXT}",), "test.jsonl:1")]
        ),
        "labels of the same tokens": lambda: label_completions(
            {f"{TEXT} {'long ' * 9}": [1], f"{TEXT}, {'long ' * 9}": [1]}, 0
        ),
        "template": refusing("{{ raise_exception(messages[0].content) }}"),
        "template's type": refusing("{{ messages[0][messages[0].content].none }}"),
        "loss": loss("raise ValueError(f'bad row {batch[\"rows\"][0]}')", folder),
        "loss's library": loss("{}[batch['rows'][0]]", folder),
        "evaluation": evaluation("raise ValueError(rows[0]['text'])", folder),
        "evaluation's value": evaluation("return {'a': rows[0]['text']}", folder),
        "evaluation's name": evaluation("return {rows[0]['text']: 1}", folder),
        "evaluation's result": evaluation("return rows", folder),
        "library": library(KeyError(TEXT)),
        "library out of room": library(RuntimeError(f"{TEXT}: No space left on device")),
        "loader": library(RuntimeError(f"DataLoader worker exited unexpectedly: {TEXT}")),
    }


def test_what_stands_in_rows_is_in_the_log_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, silent = [], []
    for name, call in ways(tmp_path, bare_preparer(tmp_path)).items():
        capsys.readouterr()
        with pytest.raises(Exception) as caught:  # noqa: PT011 - as the run's end takes them
            call()
        error = from_exception(caught.value).error
        if SECRET in f"{error.code} {error.message} {error.param}":
            told.append(f"{name}: {error.message}")
        if SECRET not in capsys.readouterr().err:
            silent.append(name)
    assert not told, "\n".join(told)
    assert not silent, "\n".join(silent)


def test_no_warning_has_it(tmp_path: Path) -> None:
    """Labels that are texts, one of which is text here and a number there."""
    prepare = bare_preparer(tmp_path)
    number = 19800303
    texts = [f"{TEXT} {n} {'long ' * 9}" for n in range(3)]
    labels = [*texts, texts[0].upper(), number, str(number)]
    rows = [{"text": f"{n}", "label": label} for n, label in enumerate(labels)]
    warnings = prepare({"a.jsonl": jsonl(*rows)}).warnings
    assert len(warnings) == 2
    for warning in warnings:
        assert SECRET.lower() not in warning.lower()
        assert str(number) not in warning


def test_words_of_ones_own_are_told(tmp_path: Path) -> None:
    """They stand in the template, or the code, and are what helps."""
    for call in (
        refusing(f"{{{{ raise_exception('it isn\\'t so:\\n{OWN}') }}}}"),
        loss(f"raise ValueError('{OWN}')", tmp_path),
        evaluation(f"raise ValueError({json.dumps(OWN)})", tmp_path),
    ):
        with pytest.raises(Exception, match=OWN):
            call()
