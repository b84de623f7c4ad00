"""What is found in an example: entities of a text, fields of a JSON object.

Both are sets of things that must be exactly right, counted over all examples (micro).
"""

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from luthier_trainer.evaluation.bootstrap import Floats
from luthier_trainer.evaluation.classes import score_rows

Found = Counter[Hashable]
Entity = tuple[int, int, str]  # first word, last word, kind


def statistics(
    gold: Sequence[Any], predicted: Sequence[Any], find: Callable[[Any], Found]
) -> Floats:
    """[examples, 3]: how many things were hit, were predicted, are there."""
    pairs = ((find(right), find(answer)) for right, answer in zip(gold, predicted, strict=True))
    return np.array(
        [((right & answer).total(), answer.total(), right.total()) for right, answer in pairs],
        dtype=np.float64,
    )


def values(sums: Floats) -> Floats:
    """[rows, 3] → F1, precision, recall: [rows, 3]; what would divide by zero is 0."""
    hits, predicted, gold = sums.T

    def ratio(part: Floats, whole: Floats) -> Floats:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    columns = (ratio(2 * hits, predicted + gold), ratio(hits, predicted), ratio(hits, gold))
    return np.stack(columns, axis=1)


def entities(tags: Sequence[str]) -> Iterator[Entity]:
    """Spans of BIO tags as conlleval (and seqeval's default mode) reads them: an I- that
    continues nothing begins an entity."""
    begin, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        continues = mark == "I" and name == kind
        if kind and not continues:
            yield begin, place - 1, kind
            kind = ""
        if mark in ("B", "I") and not continues:
            begin, kind = place, name
    # The O at the end has closed the last one.


def found_entities(tags: Sequence[str]) -> Found:
    return Counter(entities(tags))


def entity_table(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each kind of entity, and how many there are."""
    hits, answered, right = Counter[str](), Counter[str](), Counter[str]()
    for gold_tags, predicted_tags in zip(gold, predicted, strict=True):
        expected, given = set(entities(gold_tags)), set(entities(predicted_tags))
        hits.update(kind for *_, kind in expected & given)
        answered.update(kind for *_, kind in given)
        right.update(kind for *_, kind in expected)
    return score_rows(hits, answered, right)


def found_fields(text: str) -> Found:
    """The (path, value) pairs of a JSON object or list; empty where the text is none.

    The order of fields and of list items doesn't count. An item of a list counts as a whole:
    fields of different items can't be mixed up unnoticed. 1 and 1.0 are the same.
    """
    document = parse_document(text)
    return Counter() if document is None else Counter(_fields((), document))


def parse_document(text: str) -> dict[str, Any] | list[Any] | None:
    """A JSON object or list, or None. The text must be JSON alone, but for blanks around it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict | list) else None


def _fields(path: tuple[str, ...], value: Any) -> Iterator[Hashable]:
    if isinstance(value, dict) and (value or not path):
        for name, inner in value.items():
            yield from _fields((*path, name), inner)
    elif isinstance(value, list) and (value or not path):
        for item in value:
            yield (*path, "[]"), _canonical(item)
    else:
        yield path, _canonical(value)


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value
