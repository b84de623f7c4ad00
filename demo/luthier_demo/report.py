"""What the demo shows at its end, from the resource's status and from S3."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

Json = dict[str, Any]


def download_report(s3: Any, uri: str, folder: Path) -> None:
    """The files of `<artifact>/report/` into `folder`."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/report/").get("Contents", [])
    for entry in listed:
        file = folder / entry["Key"].removeprefix(f"{prefix}/report/")
        file.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, entry["Key"], str(file))


def artifact_files(s3: Any, uri: str) -> list[tuple[str, int]]:
    """(name, bytes) of the artifact's files, without the checkpoints' and attempts'."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    found = [
        (entry["Key"].removeprefix(f"{prefix}/"), entry["Size"])
        for page in pages
        for entry in page.get("Contents", [])
    ]
    return [
        (name, size) for name, size in found if not name.startswith(("checkpoints/", "attempts/"))
    ]


def metrics_table(evaluation: Json) -> Table:
    """Base against tuned."""
    table = Table(
        title=f"{evaluation.get('examples')} rows of {evaluation.get('split')}, never trained on"
    )
    for column in ("", "base", "tuned"):
        table.add_column(column, justify="left" if not column else "right")
    for name, tuned in evaluation["tuned"].items():
        base = evaluation["base"].get(name)
        table.add_row(name, "–" if base is None else f"{base:.3f}", f"[bold]{tuned:.3f}[/bold]")
    return table


def samples_table(samples: list[Json]) -> Table:
    """Three answers before and after."""
    table = Table(title="Three answers, before and after", show_lines=True)
    for column in ("prompt", "expected", "base", "tuned"):
        table.add_column(column, overflow="fold")
    for sample in samples[:3]:
        right = sample["tuned"].strip() == sample["expected"].strip()
        colour = "green" if right else "red"
        table.add_row(
            escape(sample["prompt"].strip()),
            escape(sample["expected"]),
            escape(sample["base"]),
            f"[{colour}]{escape(sample['tuned'])}[/{colour}]",
        )
    return table


def show(
    console: Console,
    status: Json,
    files: list[tuple[str, int]],
    report: Path,
    next_steps: list[str],
) -> None:
    """Print it all."""
    console.print()
    console.print(metrics_table(status["evaluation"]))
    console.print(samples_table(json.loads((report / "samples.json").read_text())))
    console.print(f"[bold]Artifact[/bold]    {status['artifact']['uri']}")
    for name, size in files:
        console.print(f"            {name}  [dim]{size:,} bytes[/dim]")
    console.print(f"[bold]Loss curve[/bold]  {report / 'loss.png'}")
    console.print(Panel("\n".join(next_steps), title="Try next", expand=False))
