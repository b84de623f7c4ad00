"""This machine's folders in a tenant's pods, read-only, under `restricted` Pod Security.

That level forbids hostPath volumes in pods, but not persistent volumes: the platform makes
one for `/` and binds it to a claim of the tenant's namespace; pods mount folders of it by
subPath. With the image HOST_ROOT below, a pod runs the project's virtual environment as it
lies on the machine, without an image build between an edit and a run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CLAIM = "host-files"


def project_folders() -> list[Path]:
    """What this Python environment needs of the machine.

    /usr, the repository, the environment, and the Python below it: its own folder, since a
    home folder of mode 700 above it would hide it from a pod's user.
    """
    repository = Path(__file__).resolve().parents[2]
    wanted = [Path("/usr"), repository, Path(sys.prefix), Path(sys.base_prefix)]
    return outermost(folder.resolve() for folder in wanted)


def outermost(folders: Iterable[Path]) -> list[Path]:
    """The folders that lie in no other of them, sorted. Pure."""
    unique = sorted(set(folders))
    return [folder for folder in unique if not any(other in unique for other in folder.parents)]


def volume_and_claim(namespace: str, claim: str = CLAIM) -> list[dict[str, Any]]:
    """Manifests of the volume for `/` and of the claim that alone may bind it. Pure.

    The volume belongs to the administrator, and only this namespace's claim gets it.
    """
    size = {"storage": "1Gi"}
    modes = ["ReadOnlyMany"]
    volume = f"{claim}-{namespace}"
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "accessModes": modes,
                "capacity": size,
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": namespace,
                    "name": claim,
                },
                "hostPath": {"path": "/", "type": "Directory"},
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {
                "accessModes": modes,
                "resources": {"requests": size},
                "storageClassName": "",
                "volumeName": volume,
            },
        },
    ]


def volumes(claim: str = CLAIM) -> list[dict[str, Any]]:
    """The pod's `volumes`. Pure."""
    return [{"name": claim, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]


def volume_mounts(folders: Iterable[Path], claim: str = CLAIM) -> list[dict[str, Any]]:
    """The container's `volumeMounts`: each folder under its own path. Pure."""
    return [
        {
            "name": claim,
            "mountPath": str(folder),
            "subPath": str(folder.relative_to("/")),
            "readOnly": True,
        }
        for folder in folders
    ]
