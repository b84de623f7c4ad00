"""Where checkpoints lie: what can be known of them without reading one."""

import re
from collections.abc import Collection

from luthier_trainer.storage.objectstore import ObjectStore

FOLDER = "checkpoints"
_MANIFEST = re.compile(rf"{FOLDER}/step-(\d+)/manifest\.json")


def step_folder(step: int) -> str:
    """Key of the folder of a step's checkpoint."""
    return f"{FOLDER}/step-{step:06d}"


def complete_steps(store: ObjectStore) -> list[int]:
    """Steps of all complete checkpoints, ascending: those with a manifest."""
    matches = (_MANIFEST.fullmatch(entry.key) for entry in store.entries(f"{FOLDER}/"))
    return sorted(int(match.group(1)) for match in matches if match)


def prune(
    store: ObjectStore,
    keep_last: int,
    since: int,
    written: Collection[int] = (),
    pinned: int | None = None,
) -> None:
    """Delete all but the newest `keep_last` checkpoints and the one of the step `pinned`, and
    older ones that are half-written or damaged.

    Only those count that are complete and up to the step `since`, which this pod went on from,
    or `written` by it: what else is there it couldn't read, or isn't as far.
    """
    counted = [s for s in complete_steps(store) if s <= since or s in written]
    kept = {*counted[-keep_last:], pinned}
    folders: dict[int, list[str]] = {}
    for entry in store.entries(f"{FOLDER}/"):
        match = re.match(rf"{FOLDER}/step-(\d+)/", entry.key)
        if match and counted and int(match.group(1)) < counted[-1]:
            folders.setdefault(int(match.group(1)), []).append(entry.key)
    for step, keys in folders.items():
        if step not in kept:
            # The manifest first: without it nobody reads the rest.
            store.delete(sorted(keys, key=lambda key: not key.endswith("/manifest.json")))
