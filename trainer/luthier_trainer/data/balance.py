"""How many rows of each part have which label; what is measured is learnt, too."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from luthier_api.finetuning import FineTuning
from luthier_trainer.data.labels import check_labels, check_weights, unknown_label
from luthier_trainer.data.row import shown
from luthier_trainer.data.scan import Scan
from luthier_trainer.data.splits import Indices
from luthier_trainer.data.table import Table
from luthier_trainer.errors import TrainerError, data_error
from luthier_trainer.log import log

# Part → label → rows.
Balance = dict[str, dict[str, int]]


def balance_of(
    tuning: FineTuning, table: Table, scan: Scan, parts: Mapping[str, Indices]
) -> tuple[list[str], Balance]:
    """The labels of train, and the balance of parts that have rows. Raises TrainerError."""
    groups = list(scan.labels)
    balance: Balance = {}
    for name, rows in parts.items():
        counts: Counter[str] = Counter()
        for code, count in enumerate(np.bincount(scan.label_codes[rows])):
            if count:
                counts.update(dict.fromkeys(groups[code], int(count)))
        balance[name] = dict(sorted(counts.items()))
    labels = list(balance["train"])
    check_labels(labels, tuning)
    weighing = tuning.training.classification
    if weighing and weighing.weights:
        check_weights(weighing.weights, labels, len(parts["train"]))
    for name in ("eval", "test"):
        unknown = [label for label in balance[name] if label not in balance["train"]]
        if unknown:
            own = parts[name]
            codes = [code for group, code in scan.labels.items() if set(group) & set(unknown)]
            place = table[int(own[np.isin(scan.label_codes[own], codes)][0])].place
            raise _without_examples(tuning, name, place, len(own), unknown[0], labels)
    return labels, {name: counts for name, counts in balance.items() if counts}


def _without_examples(
    tuning: FineTuning, name: str, place: str, rows: int, label: str, labels: list[str]
) -> TrainerError:
    drawn = name == "eval" and tuning.dataset.eval_fraction is not None
    remedy = "add some, set stratifyBy" if drawn else "add some"
    if any(source.weight < 1 for source in tuning.dataset.mix):
        remedy += ", raise the weights of mix"
    which, has, meant = unknown_label(label, labels, rows)
    log(f"data: {place}: a label without examples in train: {shown(label)}")
    return data_error(
        "LabelWithoutExamples",
        f"{place}: {which} of {name} has no example in train (which has {has}); "
        f"{meant}{remedy} or remove the row",
        "dataset.evalFraction" if drawn else f"dataset.{name}",
    )
