"""Every metric against the library whose definition it follows, on random data."""

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from luthier_trainer.errors import TrainerError
from luthier_trainer.evaluation import metrics
from luthier_trainer.evaluation.bootstrap import Floats, counts, point
from luthier_trainer.evaluation.spans import entities, found_fields
from luthier_trainer.objectives.objective import Prediction
from luthier_trainer.objectives.preferences import Scores

SEEDS = range(6)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "it's", "fine.", "don't", "stop", "naïve", "2,500"]

pytestmark = pytest.mark.usefixtures("nothing_hidden")


def predictions(answers: Sequence[Any]) -> list[Prediction]:
    return [Prediction(loss=1.0, targets=1, answer=answer) for answer in answers]


def values(names: Sequence[str], gold: Sequence[Any], answers: Sequence[Any]) -> dict[str, float]:
    function = metrics.weighted(names, gold, predictions(answers))
    return dict(zip(names, point(function, len(gold)).tolist(), strict=True))


def some_labels(seed: int) -> tuple[list[str], list[str]]:
    """Few examples of many classes: some are never right, never predicted, or absent."""
    rng = random.Random(seed)
    labels = [f"class {number}" for number in range(8)]
    size = rng.choice([1, 5, 40])
    return rng.choices(labels[:6], k=size), rng.choices(labels[2:], k=size)


def some_sets(seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Any number of classes of each example, all of which are right and given somewhere."""
    rng = random.Random(seed)
    labels = [f"class {number}" for number in range(5)]
    drawn = ([rng.sample(labels, k=rng.randint(0, 4)) for _ in range(30)] for _ in range(2))
    gold, answers = ([labels, *each] for each in drawn)
    return gold, answers


def some_tags(seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Any tags in any order: broken sequences as well."""
    rng = random.Random(seed)
    tags = ["O", "O", *(f"{mark}-{kind}" for mark in "BI" for kind in ("PER", "geo-loc", "X"))]
    lengths = [rng.randint(1, 9) for _ in range(30)]
    gold = [rng.choices(tags, k=length) for length in lengths]
    answers = [[tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in gold]
    return gold, answers


def some_texts(seed: int) -> tuple[list[str], list[str]]:
    rng = random.Random(seed)
    gold = [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(20)]
    answers = [
        text if rng.random() < 0.3 else " ".join(rng.choices(WORDS, k=rng.randint(0, 9)))
        for text in gold
    ]
    return gold, answers


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_agree_with_scikit_learn(seed: int) -> None:
    from sklearn import metrics as sklearn

    gold, answers = some_labels(seed)
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": sklearn.accuracy_score(gold, answers),
        "f1": sklearn.f1_score(gold, answers, **macro),
        "f1_micro": sklearn.f1_score(gold, answers, average="micro"),
        "f1_weighted": sklearn.f1_score(gold, answers, average="weighted"),
        "precision": sklearn.precision_score(gold, answers, **macro),
        "recall": sklearn.recall_score(gold, answers, **macro),
    }
    assert values(list(expected), gold, answers) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_entities_agree_with_seqeval(seed: int) -> None:
    from seqeval import metrics as seqeval
    from seqeval.metrics.sequence_labeling import get_entities

    gold, answers = some_tags(seed)
    for tags in gold + answers:
        found = [(kind, begin, end) for begin, end, kind in entities(tags)]
        assert found == get_entities(tags)
    expected = {
        "entity_f1": seqeval.f1_score(gold, answers),
        "entity_precision": seqeval.precision_score(gold, answers),
        "entity_recall": seqeval.recall_score(gold, answers),
    }
    assert values(list(expected), gold, answers) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_bleu_and_chrf_agree_with_sacrebleu(seed: int) -> None:
    import sacrebleu

    gold, answers = some_texts(seed)
    found = values(["bleu", "chrf"], gold, answers)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(answers, [gold]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(answers, [gold]).score)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("", ""),
        ("a b", ""),
        ("", "a b"),
        ("x", "y"),
        ("the cat", "the cat"),
        ("the cat sat", "cat the sat on a mat"),
        ("the cat sat on a mat", "the cat"),
        ("日本語の文", "日本の文"),
    ],
)
def test_bleu_and_chrf_agree_at_the_edges(gold: str, answer: str) -> None:
    import sacrebleu

    found = values(["bleu", "chrf"], [gold], [answer])
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu([answer], [[gold]]).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf([answer], [[gold]]).score)


@pytest.mark.parametrize("seed", SEEDS)
def test_rouge_is_the_mean_of_rouge_score(seed: int) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    gold, answers = some_texts(seed)
    names = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(names)
    scores = [scorer.score(right, answer) for right, answer in zip(gold, answers, strict=True)]
    expected = {name: np.mean([each[name].fmeasure for each in scores]) for name in names}
    assert values(names, gold, answers) == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_correlations_agree_with_scipy(seed: int) -> None:
    from scipy import stats

    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 6, size=40) / 5  # many ties
    answers = gold + rng.normal(0, 0.5, size=40).round(1)
    found = values(["spearman", "pearson"], gold.tolist(), answers.tolist())
    assert found["spearman"] == pytest.approx(stats.spearmanr(gold, answers).statistic)
    assert found["pearson"] == pytest.approx(stats.pearsonr(gold, answers).statistic)


def test_a_correlation_with_equal_numbers_is_not_defined() -> None:
    found = values(["spearman", "pearson"], [0.1, 0.2, 0.3], [0.1, 0.1, 0.1])
    assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_several_classes_agree_with_scikit_learn(seed: int) -> None:
    from sklearn import metrics as sklearn
    from sklearn.preprocessing import MultiLabelBinarizer

    gold, answers = some_sets(seed)
    shape = MultiLabelBinarizer().fit(gold + answers)
    right, given = shape.transform(gold), shape.transform(answers)
    names = ["accuracy", "f1", "f1_micro", "f1_weighted", "precision", "recall"]
    found = values(names, gold, answers)
    options: dict[str, Any] = {"zero_division": 0}
    assert found == pytest.approx(
        {
            "accuracy": sklearn.accuracy_score(right, given),
            "f1": sklearn.f1_score(right, given, average="macro", **options),
            "f1_micro": sklearn.f1_score(right, given, average="micro", **options),
            "f1_weighted": sklearn.f1_score(right, given, average="weighted", **options),
            "precision": sklearn.precision_score(right, given, average="macro", **options),
            "recall": sklearn.recall_score(right, given, average="macro", **options),
        }
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_of_numbers_agree_with_scikit_learn(seed: int) -> None:
    from sklearn import metrics as sklearn

    rng = random.Random(seed)
    gold, answers = ([rng.gauss(1000, 50) for _ in range(30)] for _ in range(2))
    found = values(["mse", "mae"], gold, answers)
    assert found["mse"] == pytest.approx(sklearn.mean_squared_error(gold, answers))
    assert found["mae"] == pytest.approx(sklearn.mean_absolute_error(gold, answers))


def family_data(kind: str | None) -> tuple[list[Any], list[Any]]:
    if kind == "label":
        rng = random.Random(1)
        return rng.choices("abc", k=12), rng.choices("abcd", k=12)
    if kind == "tags":
        gold, answers = some_tags(1)
        return list(gold[:12]), list(answers[:12])
    if kind == "text":
        gold_texts, answer_texts = some_texts(1)
        return gold_texts[:10] + ['{"a": 1}'] * 2, [*answer_texts[:10], '{"a": 1}', '{"a": 2}']
    rng = random.Random(1)
    return [rng.random() for _ in range(12)], [rng.random() for _ in range(12)]


@pytest.mark.parametrize("family", metrics.FAMILIES, ids=lambda family: family.values[0])
def test_counting_an_example_twice_is_having_it_twice(family: metrics.Family) -> None:
    """So a row of counts is a resample: the metric on the examples drawn gives the same."""
    gold, answers = family_data(next(iter(family.answers), None))
    rng = random.Random(2)
    found = [
        Prediction(
            loss=0.1 * number,
            targets=1 + number % 3,
            answer=answer,
            scores=[rng.uniform(1, 9) for _ in Scores._fields],
            confidence=rng.random(),
        )
        for number, answer in enumerate(answers)
    ]
    function = family.weigh(gold, found)
    (rows,) = counts(len(gold), resamples=20, seed=3)
    for row, value in zip(rows, function(rows), strict=True):
        drawn = np.repeat(np.arange(len(gold)), row.astype(int))
        plain: Floats = point(
            family.weigh([gold[i] for i in drawn], [found[i] for i in drawn]), len(drawn)
        )
        np.testing.assert_allclose(value, plain, rtol=1e-9, equal_nan=True)


def test_loss_is_per_target_and_perplexity_its_exponential() -> None:
    found = [Prediction(loss=6.0, targets=3), Prediction(loss=0.0, targets=1)]
    function = metrics.weighted(["perplexity", "loss"], [None, None], found)
    assert point(function, 2).tolist() == pytest.approx([math.exp(1.5), 1.5])
    huge = metrics.weighted(["perplexity"], [None], [Prediction(loss=1e9, targets=1)])
    assert math.isfinite(point(huge, 1)[0])


def test_exact_match_is_blind_to_blanks_around() -> None:
    assert values(["exact_match"], ["a b", "c", "d"], [" a b\n", "C", "d "])["exact_match"] == (
        pytest.approx(2 / 3)
    )


def test_fields_of_json() -> None:
    gold = '{"name": "Ada", "born": {"year": 1815}, "fields": ["maths", "machines"]}'
    answer = '{"fields": ["machines", "maths"], "name": "Ada", "born": {"year": 1816}}'
    assert (found_fields(gold) & found_fields(answer)).total() == 3
    found = values(["json_f1", "json_precision", "json_recall"], [gold, gold], [answer, "Ada"])
    assert found == pytest.approx(
        {"json_f1": 2 * 3 / (4 + 8), "json_precision": 3 / 4, "json_recall": 3 / 8}
    )


FIRST, SECOND = '{"n": "x", "v": 1}', '{"v": 2, "n": "y"}'


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": 1}', ' {"a": 1.0}\n', True),
        ('{"a": 1}', '{"a": "1"}', False),
        ('{"a": 1}', '{"a": true}', False),
        ('{"a": {"b": 1}}', '{"b": 1}', False),
        ('{"a": []}', '{"a": {}}', False),
        (f"[{FIRST}, {SECOND}]", f"[{SECOND}, {FIRST}]", True),
        (f"[{FIRST}, {SECOND}]", '[{"n": "x", "v": 2}, {"n": "y", "v": 1}]', False),
        ('{"a": [1, 1]}', '{"a": [1]}', False),
    ],
)
def test_when_fields_agree(one: str, other: str, same: bool) -> None:
    assert (found_fields(one) == found_fields(other)) == same


@pytest.mark.parametrize("text", ["", "{", "5", '"a"', "{}x", "[" * 100_000, '```\n{"a": 1}\n```'])
def test_what_is_no_json_has_no_fields(text: str) -> None:
    assert not found_fields(text)


def test_gold_that_cannot_be_compared_is_named() -> None:
    places = ["test.jsonl line 1", "test.jsonl line 2"]
    metrics.check_gold(("json_f1",), ['{"a": 1}', "[]"], places)
    with pytest.raises(TrainerError, match=r"NotJson: test\.jsonl line 2"):
        metrics.check_gold(("json_f1",), ['{"a": 1}', "Ada"], places)
    with pytest.raises(TrainerError, match=r"NoLabel: test\.jsonl line 1"):
        metrics.check_gold(("spearman",), [None, 1.0], places)
    metrics.check_gold(("loss",), [None, 1.0], places)


def test_they_do_without_the_packages_that_the_trainer_hides() -> None:
    program = (
        "from luthier_trainer.machine.runtime import hide_unused_packages\n"
        "hide_unused_packages()\n"
        "from luthier_trainer.evaluation import texts\n"
        "print(texts.bleu(texts.bleu_statistics(['a b c d'], ['a b c d'])),"
        " texts.rouge_statistics(['a b'], ['a b']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[[100.]] [[1. 1. 1. 1.]]\n"
