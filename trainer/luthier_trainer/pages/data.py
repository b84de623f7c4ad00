"""Preflight's page: data.html, one file that needs neither network nor scripts."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from luthier_api.finetunejob import DatasetFacts
from luthier_trainer.data.examples import Examples
from luthier_trainer.pages.axis import Axis, grid, scale, ticks, within
from luthier_trainer.pages.frame import document

Sample = Sequence[tuple[str, bool]]

_BARS = 40
_LABELS = 30


def write_page(
    path: Path,
    examples: Examples,
    facts: DatasetFacts,
    token_lengths: NDArray[np.int64],
    samples: Sequence[Sample],
    sentences: Sequence[str] = (),
    *,
    max_length: int,
    expected: str,
) -> None:
    """`token_lengths`: tokens of the training rows, before the cut to `max_length`; `facts` says
    how many are cut or chunked. `samples`: tokens as text, and whether the loss counts each.
    `told`: what else is to be said of the tokens. `expected`: what the training will need."""
    sections = [
        f'<h1>The data</h1><p>{escape(examples.summary)}</p><p class="dim">'
        f"{escape(examples.digest)}</p>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in examples.warnings),
        f"<h2>What training is expected to need</h2><p>{escape(expected)}</p>",
        _columns(examples.findings.columns),
        _balance(examples.findings.balance),
        _places(
            "Duplicates",
            "Rows of train that repeat an earlier one",
            facts.duplicates,
            examples.findings.duplicates,
        ),
        _places(
            "Leakage",
            "Rows of eval and test that ask what a row of train asks",
            facts.leaked,
            examples.findings.leaked,
        ),
        _lengths(token_lengths, facts, max_length),
        *(f"<p>{escape(line[:1].upper() + line[1:])}.</p>" for line in sentences),
        _samples(samples),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document("The data", "\n".join(filter(None, sections))), encoding="utf-8")


def _columns(columns: Sequence[str]) -> str:
    return f"<h2>Columns</h2><p>{escape(', '.join(columns))}</p>"


def _balance(balance: Mapping[str, Mapping[str, int]]) -> str:
    if not balance:
        return ""
    train = balance["train"]
    most = max(train.values())
    head = "".join(f'<th class="n">{escape(split)}</th>' for split in balance)
    lines = []
    for label, count in sorted(train.items(), key=lambda item: -item[1])[:_LABELS]:
        cells = "".join(
            f'<td class="n">{counts.get(label, 0):,}</td>' for counts in balance.values()
        )
        width = 200 * count / most
        lines.append(
            f'<tr><td>{escape(label[:80])}</td>{cells}<td><svg class="bar" viewBox="0 0 200 10" '
            f'preserveAspectRatio="none"><rect width="{width:.1f}" height="10"/></svg></td></tr>'
        )
    more = len(train) - len(lines)
    rest = f'<p class="dim">and {more:,} rarer ones</p>' if more else ""
    return (
        '<h2>Rows by label</h2><div class="wide"><table>'
        f"<tr><th>label</th>{head}<th></th></tr>{''.join(lines)}</table></div>{rest}"
    )


def _places(title: str, what: str, count: int, places: Sequence[str]) -> str:
    if not count:
        return f"<h2>{title}</h2><p>None.</p>"
    more = " …" if count > len(places) else ""
    shown = f'<p class="dim">{escape(", ".join(places))}{more}</p>' if places else ""
    return f"<h2>{title}</h2><p>{what}: {count:,}</p>{shown}"


def _lengths(lengths: NDArray[np.int64], facts: DatasetFacts, max_length: int) -> str:
    if not len(lengths):
        return ""
    long = facts.chunked or facts.truncated or 0
    share = 100 * long / len(lengths)
    become = f"learnt in {facts.chunks:,} chunks" if facts.chunked else "cut"
    text = (
        f"{share:.1f}% of the rows ({long:,} of {len(lengths):,}) are {become}: longer than "
        f"maxLength {max_length}. The median is {facts.tokens_median:,} tokens, 95% of the rows "
        f"have at most {facts.tokens_p95:,}, the longest has {facts.tokens_max:,}."
    )
    return f"<h2>Tokens of a row of train</h2><p>{text}</p>{_histogram(lengths, max_length)}"


def _histogram(lengths: NDArray[np.int64], max_length: int) -> str:
    """Inline SVG, 640 × 220."""
    step = math.ceil((int(lengths.max()) + 1) / _BARS)
    counts = np.bincount(lengths // step).tolist()
    marks, end = ticks(0, max(counts), whole=True), len(counts) * step
    x, y = Axis(0, end, 50, 620), Axis(0, marks[-1], 180, 30)
    bars = "".join(
        f'<rect x="{x.place(i * step):.1f}" y="{y.place(n):.1f}" '
        f'width="{0.9 * 570 / len(counts):.1f}" height="{180 - y.place(n):.1f}"><title>'
        f"{i * step} to {(i + 1) * step - 1} tokens: {n:,} rows</title></rect>"
        for i, n in enumerate(counts)
        if n
    )
    limit = ""
    if max_length <= end:
        at = x.place(max_length)
        limit = (
            f'<line class="b" x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="180"/>'
            f'<text x="{at:.1f}" y="14" text-anchor="{"end" if at > 500 else "start"}">'
            f"maxLength {max_length}</text>"
        )
    return (
        '<figure class="histogram"><svg viewBox="0 0 640 220" role="img" '
        f'aria-label="Rows by their tokens">{grid(marks, y, 50, 620)}{bars}{limit}'
        f'{scale(within(0, end), x, 180, "tokens", 620)}<text x="50" y="14" text-anchor="end">'
        "rows</text></svg></figure>"
    )


def _samples(samples: Sequence[Sample]) -> str:
    """Token by token. Learnt ones are underlined too, for those who see no colour."""
    if not samples:
        return ""
    shown = "".join(
        f'<figure class="tokens"><figcaption>{sum(counted for _, counted in sample):,} of '
        f"{len(sample):,} tokens are learnt</figcaption><pre>{_tokens(sample)}</pre></figure>"
        for sample in samples
    )
    return (
        '<h2>As the model sees it</h2><p class="dim">The first rows of train, token by token. The '
        "loss counts the <mark>marked, underlined</mark> tokens: those the model learns to say. "
        f"The others are what it is given.</p>{shown}"
    )


def _tokens(sample: Sample) -> str:
    runs = groupby(sample, key=lambda token: token[1])
    return "".join(_run([text for text, _ in tokens], counted) for counted, tokens in runs)


def _run(texts: Sequence[str], counted: bool) -> str:
    tokens = "".join(f"<span>{escape(text)}</span>" for text in texts)
    return f'<mark aria-label="learnt">{tokens}</mark>' if counted else tokens
