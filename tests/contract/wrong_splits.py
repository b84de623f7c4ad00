"""Splits of a dataset that overlap, are empty, or can't be read."""

from contract.manifests import REMOVED
from contract.wrong import Wrong


def _splits(title: str, splits: dict[str, str], field: str, words: str) -> Wrong:
    """Explicit splits of a folder, in place of evalFraction."""
    changes = {f"dataset.{name}": value for name, value in splits.items()}
    return Wrong(
        title,
        {"dataset.uri": "s3://datasets/phrases", "dataset.evalFraction": REMOVED, **changes},
        f"spec.dataset.{field}",
        words,
    )


SPLITS = [
    _splits(
        "stratify without a share",
        {"eval": "eval", "stratifyBy": "tone"},
        "stratifyBy",
        "evalFraction",
    ),
    _splits("eval is train", {"train": "train", "eval": "train"}, "eval", "disjoint"),
    _splits("eval in train", {"train": "train", "eval": "train[90%:]"}, "eval", "disjoint"),
    _splits("eval of all rows", {"eval": "train[90%:]"}, "eval", "set train to the others"),
    _splits("test of all rows", {"test": "train[-300:]"}, "test", "set train to the others"),
    _splits("two heads", {"train": "train[:90%]", "eval": "train[:10%]"}, "eval", "disjoint"),
    _splits("two tails", {"train": "train[100:]", "test": "train[-300:]"}, "test", "disjoint"),
    _splits(
        "overlap in percent", {"train": "train[:90%]", "eval": "train[10%:]"}, "eval", "disjoint"
    ),
    _splits("overlap in rows", {"train": "train[500:]", "test": "train[:501]"}, "test", "disjoint"),
    _splits(
        "overlap from the end",
        {"train": "train[:-200]", "eval": "train[-300:]"},
        "eval",
        "disjoint",
    ),
    _splits("eval is test", {"eval": "dev", "test": "dev"}, "test", "disjoint"),
    _splits("slice of nothing", {"train": "train[:0]", "eval": "dev"}, "train", "none"),
    _splits("slice of everything", {"train": "train[:]", "eval": "dev"}, "train", "plain name"),
    _splits("backwards", {"train": "train[90%:10%]", "eval": "dev"}, "train", "smaller bound"),
    _splits(
        "eval backwards", {"train": "train[:9]", "eval": "train[9:5]"}, "eval", "smaller bound"
    ),
    _splits(
        "test backwards", {"train": "train[:9]", "test": "train[9:5]"}, "test", "smaller bound"
    ),
    _splits("beyond 100%", {"train": "train[:110%]", "eval": "dev"}, "train", "up to 100%"),
    _splits("fraction of a percent", {"train": "train[:99.5%]", "eval": "dev"}, "train", "whole"),
    _splits("sum of splits", {"train": "train+dev", "eval": "test"}, "train", "write a split as"),
    _splits(
        "split of a file",
        {"uri": "s3://data/a.jsonl", "test": "test"},
        "test",
        "only the split train",
    ),
]
