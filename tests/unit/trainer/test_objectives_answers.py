"""Answers don't depend on padding or on the other examples of a batch."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from unit.trainer.objectives_support import (
    CHATS,
    COMPLETIONS,
    LABELLED,
    LABELS,
    PAIRS,
    TAGGED,
    model_of,
    tokenizer_of,
)
from unit.trainer.tiny import DECODERS, ENCODER_DECODERS

from luthier_api.training import Similarity
from luthier_trainer.data.examples import Tagged
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.classifier import Classifier
from luthier_trainer.objectives.pairs import Pairs
from luthier_trainer.objectives.scoring import score_labels
from luthier_trainer.objectives.seq2seq import Seq2Seq
from luthier_trainer.objectives.tagger import Tagger
from luthier_trainer.objectives.tokens import Encoder

SEVERAL = {"a": [5, 9, 11], "b": [5, 9, 12], "c": [7], "d": [8, 4]}


def causal(name: str, **options: Any) -> Causal:
    tokenizer = tokenizer_of(name)
    return Causal(tokenizer, Encoder(tokenizer, 64, False), 64, max_new_tokens=12, **options)


def naive_scores(model: Any, prompt: list[int], labels: Any) -> list[float]:
    scores = []
    for ids in labels:
        logp = model(input_ids=torch.tensor([[*prompt, *ids]]), use_cache=False).logits[0]
        logp = logp[-len(ids) - 1 : -1].float().log_softmax(-1)
        scores.append(float(logp[torch.arange(len(ids)), torch.tensor(ids)].sum()))
    return scores


@pytest.mark.parametrize("name", DECODERS)
def test_labels_are_scored_as_by_themselves(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = causal(name, labels=SEVERAL)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    seen = []

    def watched(*arguments: Any) -> Any:
        seen.append(score_labels(*arguments))
        return seen[-1]

    monkeypatch.setattr("luthier_trainer.objectives.causal.score_labels", watched)
    with torch.inference_mode():
        found = objective.predict(model, items, answers=True)
        expected = torch.tensor(
            [naive_scores(model, list(item.prompt), SEVERAL.values()) for item in items]
        )
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)
    best = [list(SEVERAL)[index] for index in expected.argmax(1).tolist()]
    assert [each.answer for each in found] == best


@pytest.mark.parametrize("learn_prompt", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_labels_of_rows_that_are_cut_follow_the_prompts_end(name: str, learn_prompt: bool) -> None:
    tokenizer, cue = tokenizer_of(name), "\nColour:"
    encoder = Encoder(tokenizer, 20, learn_prompt, longest_label=3)
    objective = Causal(tokenizer, encoder, 20, labels=SEVERAL)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    assert 0 < sum(item.cut > 0 for item in items) < len(items)
    with torch.inference_mode():
        found = objective.predict(model, items, answers=True)
        losses = objective.predict(model, items, answers=False)
        for item, each, unasked in zip(items, found, losses, strict=True):
            assert tokenizer.decode(item.question).endswith(cue)
            assert len(item.question) + 3 <= 20
            scores = naive_scores(model, item.question, SEVERAL.values())
            assert each.answer == list(SEVERAL)[scores.index(max(scores))]
            assert (each.targets, each.loss) == (unasked.targets, pytest.approx(unasked.loss))


@pytest.mark.parametrize("name", ["gpt2", "llama"])  # without a begin token, and with one
def test_a_text_without_a_prompt_begins_by_itself(name: str) -> None:
    tokenizer = tokenizer_of(name)
    objective = Causal(tokenizer, Encoder(tokenizer, 64, True), 64, max_new_tokens=4)
    items = objective.encode([replace(each, prompt="") for each in COMPLETIONS])
    with torch.inference_mode():
        found = objective.predict(model_of(name, objective), items, answers=True)
    assert all(isinstance(each.answer, str) for each in found)


@pytest.mark.parametrize("name", DECODERS)
def test_generation_equals_that_of_each_prompt_alone(name: str) -> None:
    objective = causal(name)
    tokenizer, model = tokenizer_of(name), model_of(name, objective)
    items = objective.encode(COMPLETIONS)
    with torch.inference_mode():
        found = [each.answer for each in objective.predict(model, items, answers=True)]
        for item, answer in zip(items, found, strict=True):
            ids = torch.tensor([list(item.prompt)])
            output = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
            )
            text = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
            assert answer == text
    assert any(found)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_answers_as_alone(name: str) -> None:
    tokenizer = tokenizer_of(name)
    objective = Seq2Seq(tokenizer, 64, max_new_tokens=12)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    with torch.inference_mode():
        found = [each.answer for each in objective.predict(model, items, answers=True)]
        for item, answer in zip(items, found, strict=True):
            ids = torch.tensor([list(item.source)])
            output = model.generate(ids, max_new_tokens=12, do_sample=False, num_beams=1)
            assert answer == tokenizer.decode(output[0], skip_special_tokens=True)


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_an_encoder_decoder_scores_labels(name: str) -> None:
    tokenizer = tokenizer_of(name)
    labels = {each.label: each.completion for each in COMPLETIONS}
    objective = Seq2Seq(tokenizer, 64, labels=labels)
    model, items = model_of(name, objective), objective.encode(COMPLETIONS)
    with torch.inference_mode():
        found = objective.predict(model, items, answers=True)
        for item, each in zip(items, found, strict=True):
            scores = {}
            for label, text in labels.items():
                ids = torch.tensor([tokenizer(text_target=text)["input_ids"][:-1]])
                logits = model(input_ids=torch.tensor([list(item.source)]), labels=ids).logits
                logp = logits.log_softmax(-1)[0]
                scores[label] = float(logp[torch.arange(ids.shape[1]), ids[0]].sum())
            assert each.answer == max(scores, key=scores.__getitem__)


@pytest.mark.parametrize(
    ("objective", "examples", "name"),
    [
        (lambda: Classifier(tokenizer_of("bert"), LABELS, 64), LABELLED, "bert"),
        (lambda: Classifier(tokenizer_of("llama"), LABELS, 64), LABELLED, "llama"),
        (lambda: Tagger(tokenizer_of("roberta"), ["LOC", "PER"], 64), TAGGED, "roberta"),
        (lambda: Pairs(tokenizer_of("bert"), 64, Similarity()), PAIRS, "bert"),
        (lambda: causal("gemma3"), COMPLETIONS, "gemma3"),
    ],
)
def test_batch_mates_change_nothing(objective: Any, examples: Any, name: str) -> None:
    made = objective()
    model, items = model_of(name, made), made.encode(examples)
    with torch.inference_mode():
        together = made.predict(model, items, answers=True)
        alone = [made.predict(model, [item], answers=True)[0] for item in items]
    for one, other in zip(together, alone, strict=True):
        assert one.targets == other.targets
        assert one.loss == pytest.approx(other.loss, rel=1e-4, abs=1e-5)
        same = one.answer == other.answer
        assert same or one.answer == pytest.approx(other.answer, abs=1e-5)


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_virtual_tokens(config: Any) -> None:
    """Prompt and prefix tuning: answers, losses and labels as of each example by itself."""
    objective = causal("llama", labels=SEVERAL)
    generating = causal("llama")
    items = objective.encode(COMPLETIONS)
    torch.manual_seed(0)
    model = get_peft_model(
        model_of("llama", objective), config(task_type="CAUSAL_LM", num_virtual_tokens=3)
    ).eval()
    with torch.inference_mode():
        for each in (objective, generating):
            together = each.predict(model, items, answers=True)
            alone = [each.predict(model, [item], answers=True)[0] for item in items]
            assert [p.answer for p in together] == [p.answer for p in alone]
            for one, other in zip(together, alone, strict=True):
                assert one.loss == pytest.approx(other.loss, rel=1e-4)
        for item, found in zip(items, objective.predict(model, items, answers=True), strict=True):
            labels = torch.tensor([list(item.targets)])
            output = model(
                input_ids=torch.tensor([list(item.ids)]),
                attention_mask=torch.ones_like(labels),
                labels=labels,
            )
            assert found.loss / found.targets == pytest.approx(float(output.loss), rel=1e-4)
            scores = []
            for ids in SEVERAL.values():
                row = torch.tensor([[*item.prompt, *ids]])
                logits = model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0]
                logp = logits[-len(ids) - 1 : -1].log_softmax(-1)
                scores.append(float(logp[torch.arange(len(ids)), torch.tensor(ids)].sum()))
            assert found.answer == list(SEVERAL)[scores.index(max(scores))]


def test_chat_answers_the_last_question() -> None:
    tokenizer = tokenizer_of("qwen2")
    objective = Causal(tokenizer, ChatEncoder(tokenizer, 128, False), 128, max_new_tokens=6)
    model, items = model_of("qwen2", objective), objective.encode(CHATS)
    with torch.inference_mode():
        found = objective.predict(model, items, answers=True)
    for example, each in zip(CHATS, found, strict=True):
        messages = [{"role": t.role, "content": t.content} for t in example.turns[:-1]]
        ids = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        output = model.generate(**ids, max_new_tokens=6, do_sample=False)
        text = tokenizer.decode(output[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
        assert each.answer == text
        assert objective.gold(example) == example.turns[-1].content


def test_words_beyond_the_length_are_outside() -> None:
    tagger = Tagger(tokenizer_of("bert"), ["PER"], 8)
    example = Tagged(("Ada",) * 9, ("B-PER",) * 9, "x:1")
    item = tagger.encode([example])[0]
    assert len(item) == 8
    assert item.cut == len(Tagger(tokenizer_of("bert"), ["PER"], 64).encode([example])[0]) - 8
    with torch.inference_mode():
        answer = tagger.predict(model_of("bert", tagger), [item], answers=True)[0].answer
    assert len(answer) == 9
    assert answer[-1] == "O"
    assert item.places[-1] == -1
