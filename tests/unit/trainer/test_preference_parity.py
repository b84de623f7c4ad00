"""Losses and gradients of preferences are TRL's, step by step, and the papers'."""

import json
import math
from typing import Any

import pytest
import torch
from unit.trainer import preference_case as case

from luthier_api.preference import Preference
from luthier_trainer.objectives.answers import AnswerTokens
from luthier_trainer.objectives.preferenceloss import Scored, kto_losses, pair_losses, rewards
from luthier_trainer.objectives.preferences import Preferences
from luthier_trainer.objectives.tokens import compact

GOLDEN = json.loads(case.GOLDEN.read_text())


class Tokenizer:
    """What the objective itself asks of one."""

    pad_token_id, eos_token_id = case.PAD, 2


def objective_of(settings: dict[str, Any]) -> Preferences:
    return Preferences(Tokenizer(), None, 64, Preference.model_validate(settings))


def items_of(rows: list[dict[str, Any]]) -> list[AnswerTokens]:
    def tokens(row: dict[str, Any], side: str) -> Any:
        return compact(row["prompt"], row[side], False) if row.get(side) else None

    sides = ("chosen", "rejected", "unrelated")
    return [
        AnswerTokens(chosen, rejected, (), unrelated)
        for chosen, rejected, unrelated in ([tokens(row, s) for s in sides] for row in rows)
    ]


@pytest.mark.parametrize("name", list(case.CASES))
def test_each_step_is_that_of_trl(name: str) -> None:
    settings, _ = case.CASES[name]
    objective, model = objective_of(settings), case.model()
    batches = [items_of(batch) for batch in case.batches(name)]
    started = [
        [AnswerTokens(it.chosen, it.rejected, tuple(start), it.unrelated) for it, start in pairs]
        for pairs in (
            list(zip(batch, objective.of_start(model, batch, None), strict=True))
            for batch in batches
        )
    ]
    expected = GOLDEN["cases"][name]
    assert len(expected) == len(started) == case.STEPS
    for items, step in zip(started, expected, strict=True):
        batch = objective.collate(items)
        loss = objective.loss(model, batch, objective.count_targets(batch))
        found = case.record(model, loss)
        assert found["loss"] == pytest.approx(step["loss"], rel=1e-5, abs=1e-6)
        assert found["gradients"] == pytest.approx(step["gradients"], rel=1e-3, abs=1e-6)
    losses = [step["loss"] for step in expected]
    assert len(set(losses)) == len(losses)


CHOSEN = Scored(torch.tensor([-6.0, -2.5]), torch.tensor([-7.0, -2.0]), torch.tensor([3.0, 5.0]))
REJECTED = Scored(torch.tensor([-5.0, -9.0]), torch.tensor([-4.0, -8.5]), torch.tensor([2.0, 4.0]))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def paper(settings: dict[str, Any], row: int) -> float:
    """The papers' formulas, in plain numbers."""
    (w, rw, nw), (l, rl, nl) = (  # noqa: E741 - as papers name them
        (float(s.model[row]), float(s.start[row]), float(s.tokens[row])) for s in (CHOSEN, REJECTED)
    )
    match settings["objective"]:
        case "dpo":
            h, eps = 0.1 * ((w - rw) - (l - rl)), settings.get("labelSmoothing", 0.0)
            loss = -(1 - eps) * math.log(sigmoid(h)) - eps * math.log(sigmoid(-h))
            return loss + settings.get("sftWeight", 0.0) * -w / nw
        case "ipo":
            return ((w - rw) / nw - (l - rl) / nl - 1 / (2 * 0.1)) ** 2
        case "orpo":
            pw, pl = math.exp(w / nw), math.exp(l / nl)
            odds = (pw / (1 - pw)) / (pl / (1 - pl))
            return -w / nw - 0.1 * math.log(sigmoid(math.log(odds)))
        case _:
            return -math.log(sigmoid(2.0 * w / nw - 2.0 * l / nl - 1.0))


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "dpo"},
        {"objective": "dpo", "labelSmoothing": 0.1},
        {"objective": "dpo", "sftWeight": 0.7},
        {"objective": "ipo"},
        {"objective": "orpo"},
        {"objective": "simpo"},
    ],
)
def test_losses_are_the_papers(settings: dict[str, Any]) -> None:
    found = pair_losses(Preference.model_validate(settings), CHOSEN, REJECTED)
    assert found.tolist() == pytest.approx([paper(settings, row) for row in (0, 1)], rel=1e-5)


def test_kto_is_the_papers() -> None:
    settings = Preference.model_validate(
        {"objective": "kto", "beta": 0.2, "desirableWeight": 1.5, "undesirableWeight": 0.5}
    )
    desirable, moved = torch.tensor([True, False]), torch.tensor(0.4)
    found = kto_losses(settings, CHOSEN, desirable, moved)
    expected = [1.5 * (1 - sigmoid(0.2 * (1.0 - 0.4))), 0.5 * (1 - sigmoid(0.2 * (0.4 + 0.5)))]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert rewards(settings, CHOSEN).tolist() == pytest.approx([0.2, -0.1])


def test_orpo_is_finite_where_an_answer_is_certain() -> None:
    certain = torch.tensor([0.0, -1e-9, -80.0], requires_grad=True)
    side = Scored(certain, None, torch.ones(3))
    other = Scored(torch.tensor([-80.0, -0.5, 0.0]), None, torch.ones(3))
    losses = pair_losses(Preference(objective="orpo"), side, other)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert certain.grad is not None
    assert torch.isfinite(certain.grad).all()
