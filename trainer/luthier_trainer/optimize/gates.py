"""What a candidate must keep, judged from numbers. Pure."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from luthier_api.optimizejob import Candidate, Gates, size_bytes
from luthier_trainer.evaluation.bootstrap import FEWEST
from luthier_trainer.pages.numbers import number

Verdict = Literal["Passed", "Undecided", "Rejected"]
_ORDER: tuple[Verdict, ...] = ("Rejected", "Undecided", "Passed")
_MOST_ROWS = 10_000_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judgement:
    """`reason`: in words with numbers; "" where all gates are kept with certainty."""

    verdict: Verdict
    reason: str = ""


def judge(candidate: Candidate, baseline: Candidate, gates: Gates, rows: int) -> Judgement:
    """All gates of one candidate; the worst verdict, with the reasons for it.

    `rows`: how many it was measured on.
    """
    found = [each for each in _checks(candidate, baseline, gates, rows) if each.verdict != "Passed"]
    for verdict in _ORDER:
        reasons = [each.reason for each in found if each.verdict == verdict]
        if reasons:
            return Judgement(verdict, "; ".join(reasons))
    return Judgement("Passed")


def passes(verdict: str | None, gates: Gates) -> bool:
    """Whether a candidate of this verdict may be published."""
    return verdict == "Passed" or (verdict == "Undecided" and gates.when_undecided == "Accept")


def _checks(
    candidate: Candidate, baseline: Candidate, gates: Gates, rows: int
) -> Iterator[Judgement]:
    # A gate that always stands.
    if candidate.logits_difference is not None and not math.isfinite(candidate.logits_difference):
        yield Judgement("Rejected", "its outputs aren't all finite numbers")
    if gates.metric is not None and gates.max_metric_drop is not None:
        yield _metric(candidate, gates.metric, gates.max_metric_drop, rows)
    if gates.max_perplexity_increase is not None:
        yield _perplexity(candidate, baseline, gates.max_perplexity_increase)
    for what, found, most, unit in (
        ("a logit differs by", candidate.logits_difference, gates.max_logits_difference, ""),
        ("its size is", candidate.size_bytes, _bytes(gates.max_size), "B"),
        ("its memory is", candidate.memory_bytes, _bytes(gates.max_memory), "B"),
        (
            "its first token takes",
            _seconds(candidate.first_token_ms),
            _seconds(gates.max_first_token_ms),
            "s",
        ),
    ):
        if most is not None:
            yield _at_most(what, found, most, unit)
    if gates.min_tokens_per_second is not None:
        yield _speed(candidate.tokens_per_second, gates.min_tokens_per_second)


def _metric(candidate: Candidate, name: str, most: float, rows: int) -> Judgement:
    """The whole interval of the paired difference must keep the gate."""
    delta, low, high = candidate.metric_delta, candidate.metric_low, candidate.metric_high
    if delta is None:
        return _unmeasured(name)
    if -delta > most:
        return Judgement("Rejected", f"{name} falls by {-delta:.4g}, and {most:g} is allowed")
    if low is None or high is None:
        if delta == 0 and rows >= FEWEST:  # no sample of the rows tells the two apart
            return Judgement("Passed")
        return Judgement("Undecided", f"{name} has no interval on these {rows} rows")
    if -low > most:
        enough = _rows_enough(delta, low, most, rows)
        more = f"about {enough:,} rows would tell" if enough else "no number of rows would tell"
        return Judgement(
            "Undecided",
            f"{name} changes by {delta:+.4g}, but on {rows} rows it may be {low:+.4g} (95%), and "
            f"-{most:g} is allowed: {more}",
        )
    return Judgement("Passed")


def _rows_enough(delta: float, low: float, most: float, rows: int) -> int | None:
    """An interval narrows with the root of the rows."""
    room = delta + most
    if room <= 0:
        return None
    enough = int(rows * ((delta - low) / room) ** 2) + 1
    return enough if enough <= _MOST_ROWS else None


def _perplexity(candidate: Candidate, baseline: Candidate, most: float) -> Judgement:
    if candidate.perplexity is None or not baseline.perplexity:
        return _unmeasured("perplexity")
    rise = candidate.perplexity / baseline.perplexity - 1
    if rise <= most + _ROUNDING:
        return Judgement("Passed")
    return Judgement(
        "Rejected",
        f"perplexity rises by {rise:.1%} ({baseline.perplexity:.4g} to {candidate.perplexity:.4g}),"
        f" and {most:.1%} is allowed",
    )


def _at_most(what: str, found: float | None, most: float, unit: str) -> Judgement:
    if found is None:
        return _unmeasured(what)
    if found <= most:
        return Judgement("Passed")
    return Judgement(
        "Rejected", f"{what} {number(found, unit)}, and {number(most, unit)} is allowed"
    )


def _speed(found: float | None, least: float) -> Judgement:
    if found is None:
        return _unmeasured("its speed")
    if found >= least:
        return Judgement("Passed")
    return Judgement("Rejected", f"{found:.3g} tokens/s, and {least:g} are asked for")


def _unmeasured(what: str) -> Judgement:
    return Judgement(
        "Undecided", f"{what.removesuffix(' is').removesuffix(' takes')}: not measured"
    )


def _bytes(size: str | None) -> int | None:
    return None if size is None else size_bytes(size)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
