"""Which files of a folder hold which split, as people and hubs lay datasets out."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from luthier_trainer.data.rows import data_suffix
from luthier_trainer.errors import data_error

Splits = dict[str, list[str]]

# A file of several of one split, as hubs name them: train-00000-of-00002.parquet, or with a hash
# behind: train-00000-of-00002-a09b74b3ef9c3b56.parquet
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")
# What the package datasets writes about data.
_ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
# Folders so named hold a split each; others may be anything, a subset in another language too.
_NAMES = {"train", "training", "validation", "valid", "val", "dev", "eval", "test", "testing"}
# Below these, the first that has what is wanted.
_BASES = ("", "data/")


def is_data(key: str) -> bool:
    path = PurePosixPath(key)
    hidden = any(part.startswith(".") for part in path.parts)
    return bool(data_suffix(key)) and not hidden and path.name not in _ABOUT


def split_of(name: str) -> str:
    """The split that a file belongs to: train of train-00000-of-00002.parquet."""
    shard = _SHARD.fullmatch(_stem(name))
    return shard.group(1) if shard else _stem(name)


def find_splits(keys: Iterable[str], wanted: Collection[str]) -> Splits:
    """Split → keys of its files, sorted, of those that is_data accepts; {}: there are none.

    A split is a file, its shards, or a folder of that name. Files of another name, where there are
    no others, are `train`.
    """
    keys = sorted(keys)
    found = [splits for base in _BASES if (splits := _below(base, keys, wanted))]
    if not found:
        return {}
    splits = max(found, key=lambda each: len(set(wanted) & each.keys()))
    if len(splits) == 1 and not splits.keys() & {*_NAMES, *wanted}:
        splits["train"] = next(iter(splits.values()))
    return splits


def check(uri: str, split: str, keys: list[str], param: str) -> None:
    """Raises TrainerError: AmbiguousSplit, MissingShard."""
    shards = [_SHARD.fullmatch(_stem(key)) for key in keys]
    numbers = sorted(int(shard.group(2)) for shard in shards if shard)
    totals = {int(shard.group(3)) if shard else None for shard in shards}
    in_folder = None in totals and PurePosixPath(keys[0]).parent.name == split
    alike = len({data_suffix(key) for key in keys}) == 1
    one_set = None not in totals and len(totals) == 1 and len(set(numbers)) == len(numbers)
    if len(keys) > 1 and not (one_set or (in_folder and alike and not numbers)):
        names = ", ".join(PurePosixPath(key).name for key in keys[:5])
        raise data_error(
            "AmbiguousSplit",
            f"{uri}: several files for the split {split!r} ({names}); keep one per split, or name "
            "them NAME-00000-of-00002 and so on",
            param,
        )
    total = totals.pop()
    if total is not None and numbers != list(range(total)):
        raise data_error(
            "MissingShard",
            f"{uri}: the split {split!r} has {len(numbers)} of {total} files; upload all of them",
            param,
        )


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
