"""Generated text against the expected one: sacrebleu's BLEU and chrF, rouge_score's ROUGE.

BLEU and chrF are of the corpus: their counts are summed before they are divided.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats

ROUGE = ("rouge1", "rouge2", "rougeL")
_BLEU_ORDER = 4
_CHRF_ORDER = 6
_CHRF_BETA = 2


def exact_statistics(gold: Sequence[str], predicted: Sequence[str]) -> Floats:
    """[examples, 2]: 1 where the texts agree but for blanks around them, and 1."""
    same = [right.strip() == answer.strip() for right, answer in zip(gold, predicted, strict=True)]
    return np.stack([np.array(same, dtype=np.float64), np.ones(len(same))], axis=1)


def rouge_statistics(gold: Sequence[str], predicted: Sequence[str]) -> Floats:
    """[examples, 4]: the F-measures of ROUGE, and 1 (https://aclanthology.org/W04-1013).

    rouge_score's tokens are runs of a-z and 0-9: texts in other scripts score 0.
    """
    from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

    scorer = RougeScorer(list(ROUGE))
    rows = []
    for right, answer in zip(gold, predicted, strict=True):
        scores = scorer.score(right, answer)
        rows.append([*(scores[name].fmeasure for name in ROUGE), 1.0])
    return np.array(rows)


def means(sums: Floats) -> Floats:
    """[rows, k + 1], the last column of which counts examples → the k means."""
    return sums[:, :-1] / sums[:, -1:]


def bleu_statistics(gold: Sequence[str], predicted: Sequence[str]) -> Floats:
    """[examples, 10]: n-grams that match and n-grams there are (n = 1 to 4), both lengths;
    tokens are sacrebleu's default, 13a."""
    from sacrebleu.metrics.bleu import BLEU

    # Of one sentence only the counts are taken; effective_order just silences a warning.
    scorer = BLEU(effective_order=True)
    rows = []
    for right, answer in zip(gold, predicted, strict=True):
        found = scorer.sentence_score(answer, [right])
        rows.append([*found.counts, *found.totals, found.sys_len, found.ref_len])
    return np.array(rows, dtype=np.float64)


def bleu(sums: Floats) -> Floats:
    """BLEU, 0 to 100, with sacrebleu's exponential smoothing: [rows, 1]."""
    matches, totals = sums[:, :_BLEU_ORDER], sums[:, _BLEU_ORDER : 2 * _BLEU_ORDER]
    answered, expected = sums[:, -2], sums[:, -1]
    # Each order without a match counts half of the one before.
    halvings = np.cumsum((matches == 0) & (totals > 0), axis=1)
    smoothed = np.where(matches > 0, matches, 0.5**halvings)
    precisions = np.divide(100 * smoothed, totals, out=np.zeros_like(totals), where=totals > 0)
    with np.errstate(divide="ignore"):
        geometric = np.exp(np.log(precisions).mean(axis=1))
        brevity = np.exp(np.minimum(0, 1 - _over(expected, answered)))
    return np.where(matches.any(axis=1), brevity * geometric, 0.0)[:, None]


def chrf_statistics(gold: Sequence[str], predicted: Sequence[str]) -> Floats:
    """[examples, 18]: for n = 1 to 6 the n-grams of characters (blanks left out) in the
    answer, in the expected text, and in both (https://aclanthology.org/W15-3049)."""
    rows = []
    for right, answer in zip(gold, predicted, strict=True):
        row: list[int] = []
        expected, given = "".join(right.split()), "".join(answer.split())
        for order in range(1, _CHRF_ORDER + 1):
            theirs, ours = _ngrams(expected, order), _ngrams(given, order)
            # As sacrebleu has it: nothing to be found, nothing counted.
            row += [ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()]
        rows.append(row)
    return np.array(rows, dtype=np.float64)


def chrf(sums: Floats) -> Floats:
    """chrF2, 0 to 100: [rows, 1]. Orders that either side lacks are left out of the mean."""
    answered, expected, matches = np.moveaxis(sums.reshape(len(sums), _CHRF_ORDER, 3), 2, 0)
    there = (answered > 0) & (expected > 0)
    orders = np.maximum(there.sum(axis=1), 1)
    precision = (_over(matches, answered) * there).sum(axis=1) / orders
    recall = (_over(matches, expected) * there).sum(axis=1) / orders
    factor = _CHRF_BETA**2
    weighted = factor * precision + recall
    return (100 * _over((1 + factor) * precision * recall, weighted))[:, None]


def _ngrams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _over(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
