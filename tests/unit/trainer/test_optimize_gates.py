"""Gates and the choice among candidates: pure, by tables."""

import pytest

from luthier_api.optimizejob import Candidate, Gates, Optimizing
from luthier_trainer.optimize.choose import choose
from luthier_trainer.optimize.gates import judge, passes

BASE = Candidate(precision="fp32", perplexity=10.0, metric=0.90)
GOOD = Candidate(
    precision="int8",
    size_bytes=100_000_000,
    perplexity=10.1,
    metric=0.90,
    metric_delta=0.0,
    metric_low=-0.005,
    metric_high=0.005,
    logits_difference=0.5,
    tokens_per_second=100.0,
    first_token_ms=50.0,
    memory_bytes=300_000_000,
)
METRIC = {"metric": "accuracy", "max_metric_drop": 0.01}


@pytest.mark.parametrize(
    ("gates", "change", "verdict", "words"),
    [
        ({}, {}, "Passed", ""),
        ({}, {"logits_difference": float("nan")}, "Rejected", "aren't all finite numbers"),
        ({}, {"logits_difference": float("inf")}, "Rejected", "aren't all finite numbers"),
        (METRIC, {}, "Passed", ""),
        # The ends themselves are allowed.
        (METRIC, {"metric_low": -0.01}, "Passed", ""),
        (METRIC, {"metric_low": -0.011}, "Undecided", "on 300 rows it may be -0.011 (95%)"),
        (METRIC, {"metric_delta": -0.01, "metric_low": -0.02}, "Undecided", "no number of rows"),
        (METRIC, {"metric_delta": -0.005, "metric_low": -0.025}, "Undecided", "about 4,80"),
        (
            METRIC,
            {"metric_delta": -0.02, "metric_low": -0.05},
            "Rejected",
            "accuracy falls by 0.02",
        ),
        (METRIC, {"metric_delta": 0.05, "metric_low": 0.01}, "Passed", ""),
        (METRIC, {"metric_delta": None}, "Undecided", "accuracy: not measured"),
        (
            METRIC,
            {"metric_delta": -0.001, "metric_low": None, "metric_high": None},
            "Undecided",
            "no interval",
        ),
        # No sample of the rows tells the two apart.
        (METRIC, {"metric_delta": 0, "metric_low": None, "metric_high": None}, "Passed", ""),
        ({"max_perplexity_increase": 0.01}, {}, "Passed", ""),
        ({"max_perplexity_increase": 0.02}, {"perplexity": 10.3}, "Rejected", "rises by 3.0%"),
        ({"max_perplexity_increase": 0.0}, {"perplexity": 9.0}, "Passed", ""),
        ({"max_perplexity_increase": 0.1}, {"perplexity": None}, "Undecided", "not measured"),
        ({"max_logits_difference": 0.5}, {}, "Passed", ""),
        ({"max_logits_difference": 0.4}, {}, "Rejected", "differs by 0.5, and 0.4 is allowed"),
        ({"max_size": "100M"}, {}, "Passed", ""),
        ({"max_size": "99M"}, {}, "Rejected", "its size is 100 MB, and 99 MB is allowed"),
        ({"max_size": "96Mi"}, {}, "Passed", ""),
        ({"max_memory": "200M"}, {}, "Rejected", "its memory is 300 MB"),
        ({"max_memory": "300M"}, {"memory_bytes": None}, "Undecided", "its memory: not measured"),
        ({"min_tokens_per_second": 100}, {}, "Passed", ""),
        ({"min_tokens_per_second": 101}, {}, "Rejected", "100 tokens/s, and 101 are asked for"),
        ({"min_tokens_per_second": 1}, {"tokens_per_second": None}, "Undecided", "its speed"),
        ({"max_first_token_ms": 50}, {}, "Passed", ""),
        ({"max_first_token_ms": 49}, {}, "Rejected", "its first token takes 0.05 s"),
    ],
)
def test_one_gate(
    gates: dict[str, object], change: dict[str, object], verdict: str, words: str
) -> None:
    found = judge(GOOD.model_copy(update=change), BASE, Gates.model_validate(gates), 300)
    assert found.verdict == verdict, found
    assert words in found.reason
    assert bool(found.reason) == (verdict != "Passed")


def test_the_worst_verdict_counts_and_tells_all_of_its_reasons() -> None:
    gates = Gates(**METRIC, max_size="1M", min_tokens_per_second=1000)
    found = judge(GOOD.model_copy(update={"metric_low": -0.5}), BASE, gates, 300)
    assert found.verdict == "Rejected"
    assert "its size is" in found.reason
    assert "tokens/s" in found.reason
    assert "accuracy" not in found.reason


def test_as_many_rows_as_it_says_are_about_enough() -> None:
    """The interval of -0.005 - 0.02 narrows with the root of the rows."""
    low, rows = -0.025, 300
    candidate = GOOD.model_copy(update={"metric_delta": -0.005, "metric_low": low})
    reason = judge(candidate, BASE, Gates.model_validate(METRIC), rows).reason
    enough = int(reason.split("about ")[1].split()[0].replace(",", ""))
    narrowed = -0.005 - 0.02 * (rows / enough) ** 0.5
    assert narrowed == pytest.approx(-0.01, abs=1e-5)


@pytest.mark.parametrize(
    ("verdict", "undecided", "expected"),
    [
        ("Passed", "Reject", True),
        ("Undecided", "Reject", False),
        ("Undecided", "Accept", True),
        ("Rejected", "Accept", False),
        ("Failed", "Accept", False),
        (None, "Accept", False),
    ],
)
def test_what_may_be_published(verdict: str | None, undecided: str, expected: bool) -> None:
    assert passes(verdict, Gates.model_validate({"when_undecided": undecided})) is expected


def candidate(verdict: str, size: int | None, speed: float | None) -> Candidate:
    return Candidate.model_validate(
        {"precision": "x", "verdict": verdict, "sizeBytes": size, "tokensPerSecond": speed}
    )


@pytest.mark.parametrize(
    ("objective", "candidates", "expected"),
    [
        ("Smallest", [("Passed", 3, 1), ("Passed", 2, 1), ("Rejected", 1, 9)], 1),
        ("Fastest", [("Passed", 3, 5), ("Passed", 2, 1), ("Rejected", 1, 9)], 0),
        # Of equals the other quality decides, then the order.
        ("Smallest", [("Passed", 2, 1), ("Passed", 2, 5)], 1),
        ("Fastest", [("Passed", 3, 5), ("Passed", 2, 5)], 1),
        ("Smallest", [("Passed", 2, 5), ("Passed", 2, 5)], 0),
        # Not timed: on a device that isn't here.
        ("Fastest", [("Passed", 3, None), ("Passed", 2, None)], 1),
        ("Smallest", [("Failed", None, None), ("Passed", 9, 1)], 1),
        ("Smallest", [("Rejected", 1, 1), ("Undecided", 1, 1), ("Failed", None, None)], None),
        ("Smallest", [], None),
    ],
)
def test_the_choice(
    objective: str, candidates: list[tuple[str, int | None, float | None]], expected: int | None
) -> None:
    found = [candidate(*each) for each in candidates]
    assert choose(found, Optimizing.model_validate({"objective": objective})) == expected
