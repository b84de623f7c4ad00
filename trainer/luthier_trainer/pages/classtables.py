"""The classes of a run on its page: how well each is found, which are taken for which, and how sure
the answers are. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_MOST_CLASSES = 100
_MOST_COLUMNS = 30  # of a matrix that is shown
_MOST_PAIRS = 10
_SHADES = 8
_SCORES = ("precision", "recall", "f1")


def class_sections(document: Mapping[str, Any]) -> str:
    """HTML of report/evaluation.json's classes, confusion and reading; empty without."""
    return "".join(
        [
            _table(document.get("classes", {})),
            _confusion(document.get("confusion", {})),
            _reading(document.get("reading", {})),
        ]
    )


def _table(sides: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    tuned = {row["label"]: row for row in sides.get("tuned", ())}
    if not tuned:
        return ""
    base = {row["label"]: row for row in sides.get("base", ())}
    ordered = sorted(tuned.values(), key=lambda row: (-row["support"], row["label"]))
    heads = "".join(f'<th class="n">{name}</th>' for name in ("rows", *_SCORES, "base f1"))
    rows = [
        f"<tr><td>{escape(row['label'])}</td>"
        + _numbers(row["support"], *(row[name] for name in _SCORES), _f1(base, row["label"]))
        + "</tr>"
        for row in ordered[:_MOST_CLASSES]
    ]
    more = len(ordered) - _MOST_CLASSES
    rest = f'<p class="dim">{more:,} more classes are in evaluation.json.</p>' if more > 0 else ""
    return (
        f'<h2>Classes</h2><div class="wide"><table><tr><th>class</th>{heads}</tr>'
        f"{''.join(rows)}</table></div>{rest}"
    )


def _f1(rows: Mapping[str, Mapping[str, Any]], label: str) -> float | None:
    return rows[label]["f1"] if label in rows else None


def _numbers(support: int, *scores: float | None) -> str:
    cells = [f"{support:,}", *("" if score is None else f"{score:.3f}" for score in scores)]
    return "".join(f'<td class="n">{cell}</td>' for cell in cells)


def _confusion(found: Mapping[str, Any]) -> str:
    """The tuned model's answers: as a matrix where it can be read, and what is mistaken most."""
    labels, counts = found.get("labels", []), found.get("tuned", [])
    mistakes = sorted(
        (
            (count, labels[right], labels[answer])
            for right, row in enumerate(counts)
            for answer, count in enumerate(row)
            if count and right != answer
        ),
        key=lambda it: (-it[0], it[1], it[2]),
    )
    if not counts:
        return ""
    parts = ["<h2>What is taken for what</h2>"]
    if len(labels) <= _MOST_COLUMNS:
        parts.append(_matrix(labels, counts))
    parts += ["<ul>", *(_mistake(*each) for each in mistakes[:_MOST_PAIRS]), "</ul>"]
    return "".join(parts) if mistakes else "".join([*parts[:-2], "<p>No row is mistaken.</p>"])


def _mistake(count: int, right: str, answer: str) -> str:
    return f"<li>{escape(right)} is taken for {escape(answer)} in {count:,} rows</li>"


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    heads = "".join(f'<th class="n">{escape(label)}</th>' for label in labels)
    rows = [
        f"<tr><th>{escape(label)}</th>{''.join(_cell(n, sum(row)) for n in row)}</tr>"
        for label, row in zip(labels, counts, strict=True)
    ]
    return (
        '<p class="dim">Rows: the right class. Columns: the answer.</p>'
        f'<div class="wide"><table><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'
    )


def _cell(count: int, total: int) -> str:
    """Darker, the more of its row it is."""
    shade = round(_SHADES * count / total) if total else 0
    return f'<td class="n{f" shade{shade}" if shade else ""}">{count or ""}</td>'


def _reading(found: Mapping[str, Any]) -> str:
    """What calibration changed."""
    if not found:
        return ""
    ece, loss = found["ece"], found["loss"]
    text = (
        f"Probabilities are softmax or sigmoid of logits / {found['temperature']:.4g}, found on "
        f"{found['rows']:,} rows of {escape(found['split'])}: there the calibration error goes "
        f"from {ece['before']:.4f} to {ece['after']:.4f}, the loss from {loss['before']:.4f} to "
        f"{loss['after']:.4f}."
    )
    return f"<h2>How sure it is</h2><p>{text}</p>{_thresholds(found.get('thresholds', {}))}"


def _thresholds(found: Mapping[str, float]) -> str:
    if not found:
        return ""
    shown = list(found.items())[:_MOST_CLASSES]
    rows = "".join(
        f'<tr><td>{escape(label)}</td><td class="n">{least:.3f}</td></tr>' for label, least in shown
    )
    return (
        '<p class="dim">A class is given where its probability reaches its threshold, which has '
        f'the best F1 there.</p><div class="wide"><table><tr><th>class</th><th class="n">threshold'
        f"</th></tr>{rows}</table></div>"
    )
