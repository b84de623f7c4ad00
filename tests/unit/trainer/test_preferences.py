"""Answers as one batch: what of it is learnt, measured and kept."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from unit.trainer.objectives_support import gradients, model_of, tokenizer_of
from unit.trainer.tiny import tiny_folder

from luthier_api.finetuning import FineTuning
from luthier_api.preference import Preference
from luthier_trainer.data.examples import Answers, Chat, Completion, Turn
from luthier_trainer.evaluation import preferences
from luthier_trainer.evaluation.measure import measure
from luthier_trainer.methods.apply import tune
from luthier_trainer.models.load import BaseSource
from luthier_trainer.models.precision import Precision
from luthier_trainer.objectives.answers import AnswerTokens, InContext
from luthier_trainer.objectives.chat import ChatEncoder
from luthier_trainer.objectives.preferences import Preferences, Scores
from luthier_trainer.objectives.start import Start
from luthier_trainer.objectives.tokens import Encoder


def answer(prompt: str, text: str) -> Completion:
    return Completion(prompt, text, text, "x:1")


def both(prompt: str, chosen: str, rejected: str) -> Answers:
    return Answers(answer(prompt, chosen), answer(prompt, rejected), "x:1")


PAIRS = [
    both("Text: a tomato\nColour:", " red", " deep blue, I guess"),
    both("Text: w1 w2 w3 w4 meadow 7\nColour:", " green", " red"),
    both("Text: ocean\nColour:", " deep blue", " w1 w2 w3"),
    both("w5 w6 w7 w8 w9 w10 w11 tomato w12\nColour:", " red", " green"),
]
SINGLE = [
    replace(each, chosen=None) if number % 2 else replace(each, rejected=None)
    for number, each in enumerate(PAIRS)
]
OBJECTIVES = ["dpo", "ipo", "orpo", "simpo", "kto"]


def objective_of(objective: str, max_length: int = 64, **settings: Any) -> Preferences:
    tokenizer = tokenizer_of("llama")
    encoder = Encoder(tokenizer, max_length, learn_prompt=False)
    wanted = Preference.model_validate({"objective": objective, **settings})
    return Preferences(tokenizer, encoder, max_length, wanted, max_new_tokens=4)


def in_context(objective: Preferences, rows: Any, start: Any = None) -> InContext:
    unrelated = objective.max_length if objective.kto else 0
    return InContext(objective.encode(rows), start=start, unrelated=unrelated)


def step(objective: Preferences, model: Any, items: Any, batches: list[list[int]]) -> Any:
    """Loss and gradients of an optimiser step."""
    made = [objective.collate([items[i] for i in batch]) for batch in batches]
    count = sum(map(objective.count_targets, made))
    made = objective.prepare(model, made, lambda _: None)
    loss = sum(objective.loss(model, batch, count) for batch in made)
    torch.autograd.backward(loss)  # type: ignore[arg-type]
    return float(loss.detach()), gradients(model)  # type: ignore[attr-defined]


def move(weights: Any, by: float = 0.05) -> None:
    """Away from the start, alike each time."""
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in weights:
            if weight.requires_grad:
                weight += by * torch.randn(weight.shape, generator=drawn)


@pytest.mark.parametrize(
    ("name", "rows"),
    [*((name, PAIRS) for name in OBJECTIVES), ("kto", SINGLE)],
    ids=[*OBJECTIVES, "kto, one by one"],
)
def test_small_batches_equal_a_large_one(name: str, rows: list[Answers]) -> None:
    """Also where KTO measures how far the model has moved by all rows of the step."""
    objective = objective_of(name, **({"beta": 0.9} if name == "kto" else {}))
    model, started = model_of("llama", objective), model_of("llama", objective)
    move(started.parameters())
    start = objective.of_start(started, list(in_context(objective, rows)), None)
    items = in_context(objective, rows, start)
    whole, parts = (
        step(objective, model, items, it) for it in ([[0, 1, 2, 3]], [[0, 1], [2], [3]])
    )
    assert parts[0] == pytest.approx(whole[0], rel=1e-5)
    for weight, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][weight], gradient, rtol=1e-3, atol=1e-6)
    if name == "kto":  # the estimate does something
        without = objective.collate([items[i] for i in range(4)])
        count = objective.count_targets(without)
        still = objective.loss(model, {**without, "moved": torch.zeros(())}, count)
        assert float(still.detach()) != pytest.approx(whole[0], rel=1e-4)


SPEC = FineTuning.model_validate(
    {
        "model": {"uri": "file:///model"},
        "task": "preference",
        "method": {"type": "lora", "lora": {"dropout": 0.5}},
        "dataset": {
            "uri": "file:///rows.jsonl",
            "columns": {"chosen": "chosen", "rejected": "rejected"},
            "evalFraction": 0.1,
        },
        "training": {"maxSteps": 1},
    }
)


@pytest.mark.parametrize("method", ["lora", "adapter", "ia3", "prefix", "prompt"])
@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_the_start_is_the_base_with_the_adapter_off(name: str, method: str) -> None:
    """The same losses and gradients as with what the base itself said before; and nothing is drawn
    for it, so that dropout is that of the model alone."""
    objective, spec = (
        objective_of(name),
        SPEC.model_copy(update={"method": SPEC.method.model_copy(update={"type": method})}),
    )
    source = BaseSource(tiny_folder("llama"), objective.head, 64, 0, 0.0, 0)
    tuned = tune(spec, source, Precision("fp32"))
    base = model_of("llama", objective)
    said = objective.of_start(base, list(in_context(objective, PAIRS)), None)
    model = tuned.model.train()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(
                    weight.shape, generator=torch.Generator().manual_seed(1)
                )

    def learnt(start: Any) -> Any:
        torch.manual_seed(3)
        return step(objective, model, in_context(objective, PAIRS, start), [[0, 1], [2, 3]])

    kept = learnt(said)
    objective.start = Start(tuned.base, None)
    asked = learnt(None)
    assert asked[0] == pytest.approx(kept[0], rel=1e-5)
    assert asked[1].keys() == kept[1].keys() > set()
    for weight, gradient in kept[1].items():
        torch.testing.assert_close(asked[1][weight], gradient, rtol=1e-4, atol=1e-6)


def test_under_autocast_the_start_takes_no_gradient_away() -> None:
    """What autocast casts once must not be what was cast without a gradient."""
    objective = objective_of("dpo")
    source = BaseSource(tiny_folder("llama"), objective.head, 64, 0, 0.0, 0)
    tuned = tune(SPEC, source, Precision("fp32"))
    objective.start = Start(tuned.base, torch.bfloat16)
    batch = objective.collate(objective.encode(PAIRS))
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective.loss(tuned.model, batch, 4)
    torch.autograd.backward(loss)
    trained = [weight for weight in tuned.model.parameters() if weight.requires_grad]
    assert all(weight.grad is not None for weight in trained)
    assert any(float(weight.grad.abs().max()) > 0 for weight in trained)


def test_many_targets_have_their_logits_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier_trainer.objectives import outputlayer

    objective = objective_of("simpo")
    model, items = model_of("llama", objective), in_context(objective, PAIRS)
    assert outputlayer.remember_plain_head(model, None)
    whole = step(objective, model, items, [[0, 1, 2, 3]])
    monkeypatch.setattr(outputlayer, "_PART", 3 * model.config.vocab_size)
    parts = step(objective, model, items, [[0, 1, 2, 3]])
    assert parts[0] == pytest.approx(whole[0], rel=1e-6)
    for weight, gradient in whole[1].items():
        torch.testing.assert_close(parts[1][weight], gradient, rtol=1e-4, atol=1e-7)


def test_answers_that_are_too_long_follow_on_one_prompt() -> None:
    objective = objective_of("dpo", max_length=24)
    words = " ".join(f"w{number}" for number in range(30))
    [item] = objective.encode([both(f"{words}\nColour:", " red", " " + " ".join(["blue"] * 9))])
    assert item.chosen
    assert item.rejected
    assert item.chosen.prompt == item.rejected.prompt
    assert len(item.rejected) <= 24
    assert item.cut == item.chosen.cut + item.rejected.cut > 0
    [whole] = objective_of("dpo", max_length=1000).encode(
        [both(f"{words}\nColour:", " red", " " + " ".join(["blue"] * 9))]
    )
    assert len(item) + item.cut == len(whole)
    assert AnswerTokens.of_numbers(item.numbers) == item
    assert pickle.loads(pickle.dumps(item)) == item


def test_of_a_conversation_what_comes_after_the_prompt_counts() -> None:
    tokenizer = tokenizer_of("qwen2")
    asked = (Turn("user", "colour of the sky?"), Turn("assistant", "well", learnt=False))
    again = Turn("user", "say it")

    def chat(*said: Turn) -> Chat:
        return Chat((*asked, again, *said), "x:1")

    row = Answers(
        chat(Turn("assistant", "blue"), Turn("user", "sure?"), Turn("assistant", "yes")),
        chat(Turn("assistant", "food")),
        "x:1",
    )
    encoder = ChatEncoder(tokenizer, 200, learn_all=False)
    objective = Preferences(tokenizer, encoder, 200, Preference())
    [item] = objective.encode([row])
    counted = "".join(text for text, counts in objective.mask_view([item], 1)[0] if counts)
    assert counted.split() == ["blue<|im_end|>", "yes<|im_end|>", "food<|im_end|>"]
    assert objective.show(row) == ("user: colour of the sky?\nassistant: well\nuser: say it")


@pytest.mark.parametrize("rows", [PAIRS, SINGLE], ids=["pairs", "single"])
def test_kto_measures_how_far_it_moved_by_other_rows_answers(rows: list[Answers]) -> None:
    """Whatever batch a row comes into."""
    objective = objective_of("kto")
    items = in_context(objective, rows)
    for number, item in enumerate(items):
        behind = items[(number + 1) % len(items)]
        assert item.unrelated
        assert item.unrelated.prompt == item.given[0].prompt
        assert item.unrelated.completion in [each.completion for each in behind.given]
    plain = objective.encode(rows)
    assert list(items.lengths) == [len(each) for each in plain]


def test_kl_is_that_of_the_next_tokens() -> None:
    objective = objective_of("dpo")
    objective.kl = True
    source = BaseSource(tiny_folder("llama"), objective.head, 64, 0, 0.0, 0)
    tuned = tune(SPEC, source, Precision("fp32"))
    objective.start = Start(tuned.base, None)
    items, values = objective.encode(PAIRS), ("kl",)

    def kl(model: Any) -> float:
        measured = measure(model, objective, items, PAIRS, values, batch_size=3)
        return measured.values(values)["kl"]

    with objective.start() as base:
        assert kl(base) == 0
    with torch.no_grad():
        for weight in tuned.model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(
                    weight.shape, generator=torch.Generator().manual_seed(2)
                )
    tuned.model.eval()
    total, tokens = 0.0, 0
    base = model_of("llama", objective)
    for item in items:
        for each in item.given:
            ids, begin = torch.tensor([list(each.ids)]), len(each.prompt) - 1
            with torch.no_grad():
                ours, theirs = (
                    m(ids).logits[0, begin:-1].log_softmax(-1) for m in (tuned.model, base)
                )
            total += float((ours.exp() * (ours - theirs)).sum())
            tokens += len(ours)
    assert kl(tuned.model) == pytest.approx(total / tokens, rel=1e-4)
    assert total > 0


def test_metrics_count_what_they_say() -> None:
    pairs = [
        # Likelier per token, though less likely as a whole.
        Scores(-9.0, -5.0, 9, 2, 0.5, -0.5),
        Scores(-4.0, -2.0, 2, 2, -1.0, 1.0),
        Scores(-2.0, -2.0, 2, 2, 0.0, 0.0),
    ]
    found = np.array(pairs, float)
    sums = preferences.of_pairs(found).sum(axis=0, keepdims=True)
    assert preferences.means(sums)[0].tolist() == pytest.approx([0.5, (1.5 - 1 + 0) / 3])
    sums = preferences.of_rewards(found).sum(axis=0, keepdims=True)
    assert preferences.rewards(sums)[0].tolist() == pytest.approx([0.5, -1 / 6 - 1 / 6])
    single = np.array(
        [
            Scores(chosen_reward=0.4),
            Scores(chosen_reward=-0.2),
            Scores(rejected_reward=-0.6),
        ],
        float,
    )
    sums = preferences.of_rewards(single).sum(axis=0, keepdims=True)
    assert preferences.rewards(sums)[0].tolist() == pytest.approx([2 / 3, 0.1 + 0.6])
    assert np.isnan(
        preferences.means(preferences.of_pairs(single).sum(axis=0, keepdims=True))
    ).all()
