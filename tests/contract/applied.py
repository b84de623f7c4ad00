"""Many manifests by one `kubectl apply`: a process for each would cost more than all answers."""

import re
from collections.abc import Sequence
from pathlib import Path

from luthier_cluster import Cluster

_NAME = re.compile(r"manifest-(\d+)\.")
# What kubectl begins a message with. Their other lines say more about the same.
_BEGIN = re.compile(r"^(?=Error from server|error: |The \w+ \")", re.MULTILINE)


def answers(cluster: Cluster, manifests: Sequence[str], folder: Path) -> list[str]:
    """What kubectl says against each, as the API server would store it; empty: accepted."""
    for number, manifest in enumerate(manifests):
        (folder / f"manifest-{number}.yaml").write_text(manifest)
    done = cluster.kubectl(
        "apply", "--dry-run=server", f"--filename={folder}", check=False, within=240
    )
    said = said_against(done.stderr, len(manifests))
    accepted = len(re.findall(r"\(server dry run\)$", done.stdout, re.MULTILINE))
    assert accepted == said.count(""), f"{done.stdout}\n{done.stderr}"
    return said


def said_against(stderr: str, count: int) -> list[str]:
    """The messages about each file, by their numbers. Pure."""
    said = [""] * count
    for message in _BEGIN.split(stderr):
        for number in set(_NAME.findall(message)):
            said[int(number)] += message
    return said
