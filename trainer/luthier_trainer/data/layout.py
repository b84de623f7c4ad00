"""Which files of a folder hold which split, as people and hubs lay datasets out."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import chain
from pathlib import PurePosixPath

from luthier_trainer.data.row import WHOLE_TEXTS, data_suffix
from luthier_trainer.errors import data_error

Splits = dict[str, list[str]]

# A file of several of one split, as hubs name them: train-00000-of-00002.parquet, or with a hash
# behind: train-00000-of-00002-a09b74b3ef9c3b56.parquet
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")
# What the package datasets writes about data.
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
# What lies beside texts, and is none of them.
_ABOUT_TEXTS = {"readme", "license", "licence", "copying", "notice", "changelog", "citation"}
# Folders so named hold a split each; others may be anything, a subset in another language too.
_NAMES = {"train", "training", "validation", "valid", "val", "dev", "eval", "test", "testing"}
# Below these, the first that has what is wanted.
_BASES = ("", "data/")


def is_data(key: str) -> bool:
    path = PurePosixPath(key)
    hidden = any(part.startswith(".") for part in path.parts)
    return bool(data_suffix(key)) and not hidden and path.name not in _ABOUT


def is_table(key: str) -> bool:
    """Whether it is a file of rows, and not a text by itself."""
    return is_data(key) and data_suffix(key) not in WHOLE_TEXTS


def split_of(name: str) -> str:
    """The split that a file belongs to: train of train-00000-of-00002.parquet."""
    shard = _SHARD.fullmatch(_stem(name))
    return shard.group(1) if shard else _stem(name)


def find_splits(keys: Iterable[str], wanted: Collection[str]) -> Splits:
    """Split → keys of its files, sorted, of those that is_table accepts; {}: there are none.

    A split is a file, its shards, or a folder of that name. Files of other names, where there are
    no others, are `train`, all of them, as the package datasets has it.
    """
    keys = sorted(keys)
    found = [splits for base in _BASES if (splits := _below(base, keys, wanted))]
    if not found:
        return {}
    splits = max(found, key=lambda each: len(set(wanted) & each.keys()))
    if not splits.keys() & {*_NAMES, *wanted} and not any(map(_tells_a_split, splits)):
        splits["train"] = sorted(chain(*splits.values()))
    return splits


def find_texts(keys: Iterable[str], wanted: Collection[str]) -> Splits:
    """Split → keys of files that are a text each, sorted; {}: there are none.

    Those in a folder that is named as a split are of that, at any depth, as is a file that is
    itself so named; all others are `train`, unless that is there by name.
    """
    splits, others = defaultdict(list), []
    for key in sorted(keys):
        top, _, rest = key.removeprefix("data/").partition("/")
        if _stem(key).lower() in _ABOUT_TEXTS:
            continue
        split = top if rest else split_of(top)
        if split in _NAMES or split in wanted:
            splits[split].append(key)
        else:
            others.append(key)
    if others:
        splits.setdefault("train", others)
    return dict(splits)


def check(uri: str, split: str, keys: list[str], param: str) -> None:
    """Raises TrainerError: AmbiguousSplit, MissingShard."""
    shards = [_SHARD.fullmatch(_stem(key)) for key in keys]
    numbers = sorted(int(shard.group(2)) for shard in shards if shard)
    totals = {int(shard.group(3)) if shard else None for shard in shards}
    in_folder = None in totals and PurePosixPath(keys[0]).parent.name == split
    alike = len({data_suffix(key) for key in keys}) == 1
    one_set = None not in totals and len(totals) == 1 and len(set(numbers)) == len(numbers)
    stems = [split_of(key) for key in keys]
    apart = split == "train" and "train" not in stems and len(set(stems)) == len(stems)
    together = alike and not numbers and (in_folder or apart)
    if len(keys) > 1 and not (one_set or together):
        names = ", ".join(PurePosixPath(key).name for key in keys[:5])
        raise data_error(
            "AmbiguousSplit",
            f"{uri}: several files for the split {split!r} ({names}); keep one per split, name "
            "them NAME-00000-of-00002 and so on, or give all of them one format",
            param,
        )
    total = totals.pop()
    if total is not None and numbers != list(range(total)):
        raise data_error(
            "MissingShard",
            f"{uri}: the split {split!r} has {len(numbers)} of {total} files; upload all of them",
            param,
        )


def _tells_a_split(stem: str) -> bool:
    """Whether a name has the word for a split that isn't train: colours_test, dev-1."""
    return bool({*re.split(r"[^a-z]+", stem.lower())} & (_NAMES - {"train", "training"}))


def _below(base: str, keys: Iterable[str], wanted: Collection[str]) -> Splits:
    """Files win over folders of the same name."""
    files, folders = defaultdict(list), defaultdict(list)
    for key in keys:
        folder, _, name = key.removeprefix(base).rpartition("/")
        if not key.startswith(base):
            continue
        if not folder:
            files[split_of(name)].append(key)
        elif folder in _NAMES or folder in wanted:
            folders[folder].append(key)
    return {**folders, **files}


def _stem(name: str) -> str:
    suffix = data_suffix(name)
    name = PurePosixPath(name).name
    return name[: name.lower().rindex(suffix)] if suffix else name
