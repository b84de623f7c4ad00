"""Which objective a task gets, losses of the user's own, what is shown."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer import metaspace
from unit.trainer.objectives_support import (
    CHATS,
    COMPLETIONS,
    LABELLED,
    LABELS,
    PAIRS,
    SEVERAL,
    TAGGED,
    VALUED,
    assert_same,
    backward,
    gradients,
    learnt,
    model_of,
    tokenizer_of,
)
from unit.trainer.tiny import POSITIONS, tiny_folder

from luthier_api.finetunejob import DatasetFacts
from luthier_api.finetuning import FineTuning
from luthier_api.training import Similarity
from luthier_trainer.data.examples import Completion, Examples, Labelled, Pair
from luthier_trainer.errors import TrainerError
from luthier_trainer.methods.apply import tune
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives import items as items_module
from luthier_trainer.objectives.choose import batching, choose, completions_of
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import token_texts
from luthier_trainer.training.ownloss import load_loss


def spec_of(task: str, method: str = "lora", **training: Any) -> FineTuning:
    return FineTuning.model_validate(
        {
            "model": {"uri": "file:///model"},
            "task": task,
            "method": {"type": method},
            "dataset": {"uri": "file:///rows.jsonl", "template": "{a} {b}", "evalFraction": 0.1},
            "training": {"maxSteps": 1, **training},
            "evaluation": {"maxNewTokens": 8},
        }
    )


def chosen(
    task: str,
    rows: Any,
    labels: list[str],
    name: str,
    method: str = "lora",
    pooling: str = "mean",
    **options: Any,
) -> Any:
    facts = DatasetFacts.model_construct()
    examples = Examples(rows, [], [], labels, "sha256:0", facts, scale=(5.0, 20.0))
    architecture = describe(tiny_folder(name))
    spec = spec_of(task, method, similarity={"pooling": pooling})
    return choose(spec, examples, tokenizer_of(name), architecture, **options)


@pytest.mark.parametrize(
    ("task", "rows", "labels", "name", "kind", "answer"),
    [
        ("classification", COMPLETIONS, LABELS, "llama", "Causal", "label"),
        ("generation", COMPLETIONS, [], "llama", "Causal", "text"),
        ("generation", CHATS, [], "qwen2", "Causal", "text"),
        ("summarization", COMPLETIONS, [], "t5", "Seq2Seq", "text"),
        ("classification", COMPLETIONS, LABELS, "bart", "Seq2Seq", "label"),
        ("classification", LABELLED, LABELS, "bert", "Classifier", "label"),
        ("classification", LABELLED, LABELS, "llama", "Classifier", "label"),
        ("classification", SEVERAL, LABELS, "bert", "MultiLabel", "labels"),
        ("regression", VALUED, [], "llama", "Regressor", "number"),
        ("extraction", TAGGED, ["LOC", "PER"], "roberta", "Tagger", "tags"),
        ("similarity", PAIRS, [], "bert", "Pairs", "score"),
    ],
)
def test_chosen(task: str, rows: Any, labels: Any, name: str, kind: str, answer: str) -> None:
    objective = chosen(task, rows, labels, name)
    assert type(objective).__name__ == kind
    assert objective.answer_kind == answer
    items = objective.encode(rows)
    assert pickle.loads(pickle.dumps(items[0])) == items[0]
    batch = objective.collate(items)
    with torch.inference_mode():
        found = objective.predict(model_of(name, objective), items, answers=True)
    for each, example in zip(found, rows, strict=True):
        assert type(each.answer) is type(objective.gold(example))
        assert objective.show(example)
    assert objective.count_tokens(batch) >= objective.count_targets(batch) > 0
    shown = objective.mask_view(items, 2)
    assert len(shown) == 2
    assert any(counted for _, counted in shown[0])
    if kind == "Causal" and rows is COMPLETIONS:
        completion = rows[0].completion + tokenizer_of(name).eos_token
        counted = "".join(text for text, counts in shown[0] if counts)
        assert counted == completion if task == "classification" else counted.endswith(completion)


@pytest.mark.parametrize(
    "tokenizer",
    [*map(tokenizer_of, ("llama", "bert", "deberta-v2", "t5")), metaspace.llama(legacy=True)],
    ids=lambda tokenizer: type(tokenizer).__name__,
)
def test_tokens_are_shown_with_the_blanks_between_them(tokenizer: Any) -> None:
    ids = tokenizer("the quick tomato", add_special_tokens=False)["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == "the quick tomato"


@pytest.mark.parametrize(
    ("task", "rows", "name", "code"),
    [
        ("generation", COMPLETIONS, "bert", "WrongArchitecture"),
        ("generation", CHATS, "gpt2", "NoChatTemplate"),
        ("generation", CHATS, "t5", "WrongArchitecture"),
        ("similarity", PAIRS, "t5", "WrongArchitecture"),
        ("generation", LABELLED, "bert", "WrongForm"),
    ],
)
def test_refused(task: str, rows: Any, name: str, code: str) -> None:
    with pytest.raises(TrainerError) as caught:
        chosen(task, rows, [], name)
    assert caught.value.error.code == code


def test_texts_fit_the_model() -> None:
    from transformers import AutoConfig

    positions = {
        n: positions_of(AutoConfig.from_pretrained(tiny_folder(n)))
        for n in ("bert", "roberta", "gpt2", "t5")
    }
    assert positions == {"bert": 256, "roberta": 256, "gpt2": 256, "t5": None}
    objective = chosen("classification", LABELLED, LABELS, "bert", positions=9)
    item = objective.encode(LABELLED[-1:])[0]
    tokenizer = tokenizer_of("bert")
    assert len(item) == 9
    assert item.ids[0] == tokenizer.cls_token_id
    assert item.ids[-1] == tokenizer.sep_token_id
    whole = chosen("classification", LABELLED, LABELS, "bert").encode(LABELLED[-1:])[0]
    assert whole.cut == 0
    assert item.cut == len(whole) - 9


@pytest.mark.parametrize(
    ("name", "method", "task", "form"),
    [
        ("gpt2", "prompt", "generation", Completion),
        ("gpt2", "prefix", "generation", Completion),
        ("gpt2", "prompt", "classification", Completion),
        ("gpt2", "prefix", "classification", Completion),
        ("bart", "prefix", "summarization", Completion),
        ("bart", "prompt", "summarization", Completion),
        ("bert", "prompt", "classification", Labelled),
    ],
)
def test_long_texts_leave_positions_for_virtual_tokens(
    name: str, method: str, task: str, form: type
) -> None:
    words = "word " * POSITIONS
    red, green = " red" * (POSITIONS if name == "bart" else 1), " green"
    rows = [
        form(words, label.strip(), "x:1") if form is Labelled else form(words, label, label, "x:1")
        for label in (red, green)
    ]
    labels = sorted({each.label for each in rows}) if task == "classification" else []
    objective = chosen(task, rows, labels, name, method, positions=POSITIONS)
    assert objective.max_length == POSITIONS - 20
    base = BaseSource(
        tiny_folder(name), objective.head, POSITIONS, 0, 0.0, getattr(objective, "pad_id", 0)
    )
    model = tune(spec_of(task, method), base, Precision("fp32")).model.eval()
    items = objective.encode(rows)
    assert all(item.cut for item in items)
    with torch.inference_mode():
        objective.loss(model, objective.collate(items), 2)
        assert len(objective.predict(model, items, answers=True)) == 2


def test_virtual_tokens_that_leave_no_room_are_refused() -> None:
    with pytest.raises(TrainerError, match="27 positions: 20 virtual tokens") as caught:
        chosen("generation", COMPLETIONS, [], "gpt2", "prompt", positions=27)
    assert caught.value.error.code == "NoRoomForText"
    assert chosen("generation", COMPLETIONS, [], "gpt2", positions=27).max_length == 27


def test_every_label_fits_the_model_behind_a_question() -> None:
    label, tokenizer = "neither of these", tokenizer_of("gpt2")
    rows = [*COMPLETIONS, Completion("Colour:", f" {label}", label, "x:5")]
    objective = chosen("classification", rows, [*LABELS, label], "gpt2", positions=14)
    longest = len(tokenizer(f" {label}")["input_ids"])
    assert longest > len(tokenizer(" red")["input_ids"]) + 1
    assert all(len(item.question) <= 14 - longest for item in objective.encode(rows))


def test_completions_of_labels() -> None:
    assert completions_of(COMPLETIONS, LABELS) == {label: f" {label}" for label in LABELS}


@pytest.mark.parametrize("per_example", [False, True])
def test_a_custom_loss_accumulates_as_one_large_batch(per_example: bool) -> None:
    def custom(outputs: Any, batch: Any) -> Any:
        losses = (outputs.logits - 1).square().mean(-1) * (1 + batch["labels"])
        return losses if per_example else losses.mean()

    objective = chosen("classification", LABELLED, LABELS, "bert", custom=custom)
    model, items = model_of("bert", objective), objective.encode(LABELLED)
    whole = learnt(objective, model, items, [[0, 1, 2, 3]])
    assert_same(model, learnt(objective, model, items, [[2], [0, 1, 3]]), whole)


def test_a_loss_of_pairs_gets_vectors_and_labels() -> None:
    class Contrastive:
        of_pairs = True

        def __call__(self, output1: Any, output2: Any, label: Any) -> Any:
            distance = torch.nn.functional.pairwise_distance(output1, output2)
            apart = (2 - distance).clamp(min=0)
            return ((1 - label) * distance**2 + label * apart**2).mean()

    objective = Pairs(tokenizer_of("bert"), 64, Similarity(), custom=Contrastive())
    model, items = model_of("bert", objective), objective.encode(PAIRS)
    means = [
        [
            model(input_ids=torch.tensor([list(ids)])).last_hidden_state.mean(1)
            for ids in (item.first, item.second)
        ]
        for item in items
    ]
    label = torch.tensor([item.label for item in items])
    first, second = (torch.cat(side) for side in zip(*means, strict=True))
    plain = Contrastive()(first, second, label)
    expected = backward(plain), gradients(model)
    assert_same(model, learnt(objective, model, items, [[0, 1], [2, 3]]), expected)


def test_pairs_without_label() -> None:
    row = Pair("a", "b", None, "x:7")
    with pytest.raises(TrainerError, match="x:7") as caught:
        Pairs(tokenizer_of("bert"), 64, Similarity()).encode([row])
    assert caught.value.error.code == "MissingLabel"
    negatives = Pairs(tokenizer_of("bert"), 64, Similarity(objective="in_batch_negatives"))
    assert len(negatives.encode([row])) == 1


def test_a_decoder_has_no_first_token_that_knows_the_text() -> None:
    for pooling, name in (("cls", "bert"), ("mean", "llama"), ("last", "llama")):
        chosen("similarity", PAIRS, [], name, pooling=pooling)
    with pytest.raises(TrainerError, match=r"WrongPooling.*mean or last") as caught:
        chosen("similarity", PAIRS, [], "llama", pooling="cls")
    assert caught.value.error.param == "training.similarity.pooling"


def test_a_loss_of_pairs_needs_their_labels(tmp_path: Path) -> None:
    code = "def of_pairs(one, other, label): ...\ndef of_outputs(outputs, batch): ...\n"
    (tmp_path / "loss.py").write_text(code)
    rows = [Pair("a", "b", None, "x:7")]
    chosen("similarity", rows, [], "bert", custom=load_loss(tmp_path / "loss.py", "of_outputs"))
    loss = load_loss(tmp_path / "loss.py", "of_pairs")
    chosen("similarity", PAIRS, [], "bert", custom=loss)
    with pytest.raises(TrainerError, match="MissingLabel") as caught:
        chosen("similarity", rows, [], "bert", custom=loss)
    assert caught.value.error.param == "dataset.columns.label"


@pytest.mark.parametrize("name", ["bert", "roberta", "llama"])
def test_the_first_token_of_a_word_carries_its_tag(name: str) -> None:
    tagger, tokenizer = Tagger(tokenizer_of(name), ["LOC", "PER"], 64), tokenizer_of(name)
    for example, item in zip(TAGGED, tagger.encode(TAGGED), strict=True):
        assert min(item.places) >= 0
        assert list(item.places) == sorted(set(item.places))
        ends = [*item.places[1:], len(item)]
        for word, begin, end in zip(example.tokens, item.places, ends, strict=True):
            text = tokenizer.decode(item.ids[begin:end], skip_special_tokens=True)
            assert text.replace(" ", "") in (word, word.lower())
        named = [tagger.head.labels[t] for t in item.targets if t != -100]
        assert named == list(example.tags)


@pytest.mark.parametrize("before", [None, "false"])
def test_the_tokenizer_has_all_threads_only_while_examples_are_encoded(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaders fork later, and a pool of threads isn't there after a fork."""
    name = "TOKENIZERS_PARALLELISM"
    if before is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, before)
    seen = []

    def encode(examples: Any) -> list[Any]:
        seen.append(os.environ[name])
        if not examples[0].prompt:
            raise ValueError("no prompt")
        return list(examples)

    items_module.encoded(COMPLETIONS, encode)
    with pytest.raises(ValueError, match="no prompt"):
        items_module.encoded([Completion("", "red", "red", "row 1")], encode)
    assert seen == ["true", "true"]
    assert os.environ.get(name) == before


def test_when_rows_are_packed() -> None:
    """On a CPU no kernel is there that would make joined rows faster than padded ones."""
    causal = chosen("generation", COMPLETIONS, [], "llama")
    pairs = chosen("similarity", PAIRS, [], "bert")
    llama, bert = model_of("llama", causal), model_of("bert", pairs)

    def found(wish: str, objective: Any, model: Any, **settings: Any) -> str:
        given = {"on_gpu": False, **settings}
        task = "generation" if objective is causal else "similarity"
        return batching(spec_of(task, packing=wish), objective, model, **given)

    assert found("Auto", causal, llama) == "padded"
    assert found("Auto", causal, llama, on_gpu=True) == "padded"
    # As older versions did of themselves on a GPU.
    assert found("Auto", causal, llama, kept="on") == "packed"
    assert found("Auto", causal, llama, on_gpu=True, kept="off") == "padded"
    assert found("Auto", pairs, bert, on_gpu=True) == "padded"
    assert found("Always", causal, llama) == "packed"
    assert found("Never", causal, llama, on_gpu=True) == "padded"
    with pytest.raises(TrainerError, match="PackingNotSupported"):
        found("Always", pairs, bert, on_gpu=True)
