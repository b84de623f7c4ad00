"""Where checkpoints lie: what can be known of them without reading one."""

import re

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


def prune(store: ObjectStore, keep_last: int, pinned: int | None = None) -> None:
    """Delete all but the newest `keep_last` complete checkpoints and the one of the step
    `pinned`, and older half-written ones."""
    complete = complete_steps(store)
    kept = {*complete[-keep_last:], pinned}
    folders: dict[int, list[str]] = {}
    for entry in store.entries(f"{FOLDER}/"):
        match = re.match(rf"{FOLDER}/step-(\d+)/", entry.key)
        if match and complete and int(match.group(1)) < complete[-1]:
            folders.setdefault(int(match.group(1)), []).append(entry.key)
    for step, keys in folders.items():
        if step not in kept:
            # The manifest first: without it nobody reads the rest.
            store.delete(sorted(keys, key=lambda key: not key.endswith("/manifest.json")))
