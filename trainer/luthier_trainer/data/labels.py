"""Labels that read alike, and which of them a message may name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from luthier_api.finetuning import FineTuning
from luthier_trainer.errors import data_error

_NAMED_LENGTH, _FEW = 40, 20
_PAIRS = 3
# Small letters of other scripts that look like Latin ones, and signs like those of a keyboard.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһԛԝӏοανιρυκτ‐‑‒–—−‘’‚“”„ı",
    "aeopcyxijsdhqwloavipukt------'''\"\"\"i",
)
_BLANKS = re.compile(r"(?<=\w)[-_\s]+(?=\w)")
_TRUTH = {"true": "1", "false": "0"}


def reads_as(text: str) -> str:
    """What a reader takes a text for: without case, width, look of letters, blanks around it,
    signs that aren't seen, a full stop behind it; numbers and truth by their value."""
    seen = "".join(
        character
        for character in unicodedata.normalize("NFKC", text)
        if unicodedata.category(character) != "Cf"
    )
    plain = unicodedata.normalize("NFKC", seen.casefold()).translate(_LOOK_ALIKES)
    plain = " ".join(plain.split())
    plain = plain.rstrip(".,;:!? ") or plain
    try:
        return repr(float(_TRUTH.get(plain, plain)))
    except ValueError:
        return _BLANKS.sub(" ", plain)


def twins(names: Iterable[str]) -> list[list[str]]:
    """Those that read alike, together."""
    groups = defaultdict(list)
    for name in sorted(set(names)):
        groups[reads_as(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def are_classes(labels: Collection[str], rows: int) -> bool:
    """Whether labels are names of classes, as a status may show them. Else they are texts of the
    rows, which it must not."""
    short = all(len(label) <= _NAMED_LENGTH and label.isprintable() for label in labels)
    return short and (len(labels) <= _FEW or rows >= 2 * len(labels))


def twin_labels(labels: Collection[str], rows: int) -> list[str]:
    """A warning where labels of so many rows read alike, else none."""
    found = twins(labels)
    if not found:
        return []
    if are_classes(labels, rows):
        pairs = [" and ".join(map(repr, group[:_PAIRS])) for group in found[:_PAIRS]]
        which = f": {'; '.join(pairs)}{'; …' if len(found) > _PAIRS else ''}"
    else:
        which = f" ({len(found)} such groups)"
    return [
        f"labels that read alike{which}: each is a class of its own; write them alike if they are "
        "one"
    ]


def mixed_labels(mixed: Mapping[str, str], labels: Collection[str], rows: int) -> list[str]:
    """A warning where one of the labels is text in some rows, and a number or truth in others."""
    if not mixed:
        return []
    label, kinds = next(iter(mixed.items()))
    which = f"the label {label!r}" if are_classes(labels, rows) else "a label"
    return [f"{which} is {kinds}: they count as one class"]


def twin_columns(columns: Iterable[str], read: Collection[str]) -> list[str]:
    """A warning for each column that is read, and has one beside it that reads alike."""
    warnings = []
    for group in twins(columns):
        others = [name for name in group if name not in read]
        if others and len(others) < len(group):
            one = next(name for name in group if name in read)
            warnings.append(f"beside the column {one!r} there is {others[0]!r}, which isn't read")
    return warnings


def is_tagging(tuning: FineTuning) -> bool:
    columns = tuning.dataset.columns
    return bool(columns and (columns.tags or columns.spans))


def check_labels(labels: Sequence[str], tuning: FineTuning) -> None:
    """Raises TrainerError where there are too few labels in train to learn anything."""
    columns = tuning.dataset.columns
    if is_tagging(tuning):
        if not labels:
            raise data_error("NoEntities", "no row of train tags an entity", "dataset.train")
        return
    several = bool(columns and columns.labels)
    if several and not labels:
        raise data_error("NoLabels", "no row of train has a label", "dataset.columns.labels")
    if not several and len(labels) < 2:
        which = repr(labels[0]) if are_classes(labels, 1) else "the same text"
        raise data_error(
            "SingleLabel",
            f"all training rows have as label {which}; classification needs at least two",
            "dataset.train",
        )


def check_weights(weights: Collection[str], labels: Sequence[str], rows: int) -> None:
    """Raises TrainerError where a weight is for a label that none of so many rows of train has."""
    for name in weights:
        if name in labels:
            continue
        named = are_classes(labels, rows)
        has = ", ".join(labels[:_FEW]) if named else f"{len(labels)} labels"
        near = [one for one in labels if reads_as(one) == reads_as(name)] if named else []
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise data_error(
            "WeightOfNoLabel",
            f"a weight is for the label {name[:_NAMED_LENGTH]!r}, which no row of train has (it "
            f"has {has}){meant}: write labels as the rows do, or remove the weight",
            "training.classification.weights",
        )


def unknown_label(label: str, known: Sequence[str], rows: int) -> tuple[str, str, str]:
    """How a message speaks of a label of so many rows that isn't known: the label, those that
    are, and which one may be meant."""
    if not are_classes([*known, label], rows):
        return "its label (the pod's log has it)", f"{len(known)} labels", ""
    near = [one for one in known if reads_as(one) == reads_as(label)]
    meant = f"it reads like {near[0]!r}: write them alike, or " if near else ""
    return f"the label {label!r}", ", ".join(known[:_FEW]), meant
