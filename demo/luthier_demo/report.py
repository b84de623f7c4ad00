"""The end of the demo: the run's report and the artifact's files, fetched from S3."""

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from luthier_cli.summary import Extras, parse_samples, render, summarize

Json = dict[str, Any]

# What a run leaves beside its result, for its own use.
_STATE = ("checkpoints/", "attempts/", "claim.json")


def listed(s3: Any, uri: str) -> list[tuple[str, int]]:
    """(name, bytes) of the artifact's files, without those of the run's state."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    found = [
        (entry["Key"].removeprefix(f"{prefix}/"), entry["Size"])
        for page in pages
        for entry in page.get("Contents", [])
    ]
    return [(name, size) for name, size in found if not name.startswith(_STATE)]


def download(s3: Any, uri: str, names: list[str], folder: Path) -> None:
    """Those files of the artifact into `folder`."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, f"{prefix}/{name}", str(file))


def report(s3: Any, resource: Json, folder: Path, next_commands: list[str]) -> RenderableType:
    """What to print. The artifact's report/ and model card lie in `folder` afterwards."""
    uri = resource["status"]["artifact"]["uri"]
    files = listed(s3, uri)
    wanted = [name for name, _ in files if name.startswith("report/") or name == "README.md"]
    download(s3, uri, wanted, folder)
    return render(
        summarize(
            resource,
            Extras(
                files=files,
                loss_curve=str(folder / "report" / "loss.png"),
                samples=parse_samples((folder / "report" / "samples.json").read_text()),
                next_commands=next_commands,
            ),
        )
    )
