"""in_batch_negatives: a text that is in a batch twice is no negative of itself."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from unit.trainer.objectives_support import model_of, tokenizer_of

from luthier_api.training import Similarity
from luthier_trainer.data.examples import Pair
from luthier_trainer.objectives.pairs import Pairs

NEGATIVES = Similarity(objective="in_batch_negatives")
CAT, DOG, SKY, SEA = "a cat sat", "dogs bark at night", "the sky is blue", "deep sea"


def pairs(*texts: tuple[str, str]) -> list[Pair]:
    return [Pair(first, second, None, f"row {n}") for n, (first, second) in enumerate(texts)]


def losses(rows: list[Pair]) -> tuple[list[float], Any]:
    """Of each pair, and the cosines of all first with all second texts."""
    objective = Pairs(tokenizer_of("bert"), 64, NEGATIVES)
    model, items = model_of("bert", objective), objective.encode(rows)
    model.eval()
    with torch.inference_mode():
        found = objective.predict(model, items, answers=False)
        outputs = objective._embed(model, objective.collate(items))
    cosines = F.cosine_similarity(outputs.first[:, None], outputs.second[None], dim=-1)
    return [each.loss for each in found], cosines


def expected(cosines: Any, row: int, others: list[int]) -> float:
    """Of a pair that is told from these alone."""
    scores = NEGATIVES.scale * cosines[row, [row, *others]]
    return float(F.cross_entropy(scores[None], torch.tensor([0])))


@pytest.mark.parametrize(
    ("rows", "told_from"),
    [
        # Different ones: each is told from all others.
        ([(CAT, DOG), (SKY, SEA), (DOG, SKY)], [[1, 2], [0, 2], [0, 1]]),
        # The same second text twice.
        ([(CAT, DOG), (SKY, DOG), (SEA, CAT)], [[], [2], [0, 1]]),
        # The same first text twice: the other's partner is as good.
        ([(CAT, DOG), (CAT, SEA), (SKY, SKY)], [[2], [2], [0, 1]]),
        # The same pair twice.
        ([(CAT, DOG), (CAT, DOG), (SKY, SEA)], [[2], [2], [0, 1]]),
    ],
)
def test_each_pair_is_told_from_other_texts(
    rows: list[tuple[str, str]], told_from: list[list[int]]
) -> None:
    found, cosines = losses(pairs(*rows))
    for row, others in enumerate(told_from):
        kept = [n for n in others if rows[n][1] != rows[row][0]]
        assert found[row] == pytest.approx(expected(cosines, row, kept), abs=1e-4), row


def test_padding_makes_no_difference() -> None:
    """The same text is the same beside a longer one."""
    alone, _ = losses(pairs((CAT, DOG), (SKY, DOG)))
    longer = f"{SEA} {SEA} {SEA} {SEA}"
    beside, cosines = losses(pairs((CAT, DOG), (SKY, DOG), (longer, SEA)))
    assert alone == pytest.approx([0, 0], abs=1e-6)
    assert beside[0] == pytest.approx(expected(cosines, 0, [2]), abs=1e-4)


def test_a_batch_of_one_text_teaches_nothing_and_is_a_number() -> None:
    objective = Pairs(tokenizer_of("bert"), 64, NEGATIVES)
    model, items = model_of("bert", objective), objective.encode(pairs((CAT, DOG), (CAT, DOG)))
    loss = objective.loss(model, objective.collate(items), 2)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(each).all()) for each in gradients)
