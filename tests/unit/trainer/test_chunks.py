"""Texts that are longer than maxLength: every token is learnt once, and measured once."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.trainer.objectives_support import COMPLETIONS, LABELS, model_of, tokenizer_of
from unit.trainer.tiny import tiny_folder

from luthier_api.finetunejob import DatasetFacts
from luthier_api.finetuning import FineTuning
from luthier_trainer.data.examples import Completion, Example, Examples, Labelled
from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation.measure import mean_loss, measure
from luthier_trainer.finetune.inspection import check_whole, inspect, rows_of
from luthier_trainer.models.architecture import describe
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.choose import choose
from luthier_trainer.objectives.items import begins
from luthier_trainer.objectives.tokens import IGNORED, Encoder, Tokens

# With a begin token, with blanks put before, with neither.
TOKENIZERS = ("llama", "qwen2", "gemma2", "gpt2")
LONG = 10**6
WORDS = st.text(st.sampled_from("tomato meadow 7\né你<s>"), max_size=300)


def text(content: str, place: str = "x:1") -> Completion:
    return Completion("", content, content, place)


def objective(name: str, length: int, chunk: bool = True, learn_prompt: bool = True) -> Causal:
    tokenizer = tokenizer_of(name)
    return Causal(tokenizer, Encoder(tokenizer, length, learn_prompt, chunk=chunk), length)


def joined(rows: list[Tokens]) -> list[int]:
    """The text that rows are made of, each token once."""
    first, *rest = rows
    return list(first.ids) + [token for row in rest for token in row.ids[1:]]


@pytest.mark.parametrize("name", TOKENIZERS)
@given(prompt=WORDS, content=WORDS.filter(str.strip), length=st.integers(8, 40))
@settings(deadline=None, max_examples=60)
def test_every_token_is_learnt_once_and_in_order(
    name: str, prompt: str, content: str, length: int
) -> None:
    tokenizer = tokenizer_of(name)
    example = Completion(prompt, content, content, "x:1")
    [whole] = Encoder(tokenizer, LONG, learn_prompt=True).encode([example])
    rows = Encoder(tokenizer, length, learn_prompt=True, chunk=True).encode([example])
    assert joined(rows) == list(whole.ids)
    assert all(len(row) <= length for row in rows)
    assert all(len(row) == length for row in rows[:-1])
    assert not any(row.cut for row in rows)
    assert [row.continues for row in rows] == [False] + [True] * (len(rows) - 1)
    # Each row goes on behind the last token of the one before, and learns all but that.
    for before, row in pairwise(rows):
        assert row.ids[0] == before.ids[-1]
        assert list(row.targets) == [IGNORED, *row.ids[1:]]
    learnt = [target for row in rows for target in row.targets[1:] if target != IGNORED]
    assert learnt == list(whole.ids)[1:]
    assert sum(row.learnt_count for row in rows) == len(whole) - 1 == whole.learnt_count
    assert rows[-1].ids[-1] == tokenizer.eos_token_id


def test_a_text_that_fits_is_one_row_as_ever() -> None:
    tokenizer = tokenizer_of("llama")
    chunked = Encoder(tokenizer, 64, learn_prompt=True, chunk=True).encode(COMPLETIONS)
    assert chunked == Encoder(tokenizer, 64, learn_prompt=True).encode(COMPLETIONS)


def test_what_is_asked_is_as_of_a_text_that_is_cut() -> None:
    examples = [text("tomato meadow " * 30), Completion("w1 w2 " * 30, " red", "red", "x:2")]
    rows = objective("llama", 16).encode(examples)
    cut = objective("llama", 16, chunk=False).encode(examples)
    firsts = [rows[index] for index in begins(rows)]
    assert [row.question for row in firsts] == [row.question for row in cut]
    assert [list(row.ids) for row in firsts] == [list(row.ids) for row in cut]


def chosen(task: str, rows: list[Example], name: str, **dataset: Any) -> Any:
    """The objective of a run that chunks, with maxLength 8."""
    form = {"template": "{a} {b}"} if "columns" not in dataset else {}
    spec = FineTuning.model_validate(
        {
            "model": {"uri": "file:///model"},
            "task": task,
            "dataset": {"uri": "file:///x", "longRows": "Chunk", **form, **dataset},
            "training": {"maxSteps": 1, "maxLength": 8},
        }
    )
    examples = Examples(rows, [], [], LABELS, "sha256:0", DatasetFacts())
    return choose(spec, examples, tokenizer_of(name), describe(tiny_folder(name)))


def examples_of_lengths() -> list[Example]:
    return [text("tomato " * count, f"x:{count}") for count in (3, 40, 5, 70)]


def test_a_text_is_measured_as_a_whole() -> None:
    examples = examples_of_lengths()
    causal = objective("llama", 24)
    items = causal.encode(examples)
    model = model_of("llama", causal)
    found = measure(model, causal, items, examples, ["loss"], batch_size=3, samples=2)
    assert found.gold == [example.completion for example in examples]
    rows = rows_of(items).tolist()
    assert len(set(rows)) == len(found.predictions) == len(examples) < len(items)
    with torch.no_grad():
        each = [causal.predict(model, [item], answers=False)[0] for item in items]
    for number, prediction in enumerate(found.predictions):
        own = [one for one, row in zip(each, rows, strict=True) if row == number]
        assert prediction.targets == sum(one.targets for one in own)
        assert prediction.loss == pytest.approx(sum(one.loss for one in own), rel=1e-4)
        assert (prediction.answer is None) == (number >= 2)
    expected = sum(one.loss for one in each) / sum(one.targets for one in each)
    assert mean_loss(model, causal, items, batch_size=2) == pytest.approx(expected, rel=1e-4)
    assert found.values(["loss"])["loss"] == pytest.approx(expected, rel=1e-4)


def test_what_is_told_of_chunks_is_of_the_rows() -> None:
    examples = examples_of_lengths()
    whole = [len(item) for item in objective("llama", LONG).encode(examples)]
    causal = objective("llama", 24)
    items = causal.encode(examples)
    found = inspect(causal, items)
    assert found.lengths.tolist() == whole
    assert found.kept == sum(whole)
    assert found.learnt == sum(whole) - len(whole)
    facts = found.complete(DatasetFacts(train=4))
    long = [length for length in whole if length > 24]
    assert (facts.truncated, facts.chunked, facts.tokens) == (0, len(long), sum(whole))
    # The first 24 tokens, then 23 new ones a row.
    assert facts.chunks == sum(1 + -(-(length - 24) // 23) for length in long)
    assert f"{len(long)} rows are longer than maxLength" in found.sentences[-1]
    assert rows_of(items).tolist() == sorted(
        [0, 1, 2, 3] + [1] * (begins(items)[2] - 2) + [3] * (len(items) - begins(items)[3] - 1)
    )


def test_rows_that_are_too_long_are_named() -> None:
    examples = examples_of_lengths()
    causal = objective("llama", 24, chunk=False)
    items = causal.encode(examples)
    failure = check_whole(examples, items, 24)
    assert failure
    assert (failure.error.code, failure.error.param) == ("RowsTooLong", "dataset.longRows")
    lengths = [len(item) + item.cut for item in items]
    assert f"x:40 ({lengths[1]}), x:70 ({lengths[3]});" in failure.error.message
    assert check_whole(examples[:1], items[:1], 24) is None
    many = [examples[1]] * 9
    failure = check_whole(many, causal.encode(many), 24)
    assert failure
    assert "and 4 more;" in failure.error.message


@pytest.mark.parametrize(
    ("task", "rows", "architecture", "dataset"),
    [
        ("classification", COMPLETIONS, "llama", {}),
        ("generation", COMPLETIONS, "t5", {}),
        ("generation", COMPLETIONS, "llama", {"lossOn": "Completion"}),
        ("summarization", COMPLETIONS, "llama", {}),
        (
            "classification",
            [Labelled("a", label, "x:1") for label in LABELS],
            "bert",
            {"columns": {"text": "text", "label": "label"}},
        ),
    ],
)
def test_answers_are_not_chunked(
    task: str, rows: list[Example], architecture: str, dataset: dict[str, Any]
) -> None:
    with pytest.raises(TrainerError, match="ChunkNotSupported") as caught:
        chosen(task, rows, architecture, **dataset)
    assert caught.value.error.param == "dataset.longRows"


def test_texts_of_a_template_are_chunked() -> None:
    items = chosen("generation", [*COMPLETIONS], "llama").encode([text("tomato meadow " * 20)])
    assert len(items) > 1
    assert max(map(len, items)) == 8
