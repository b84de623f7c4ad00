"""What a run came to, as soon as it has ended."""

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from luthier_cli.summary import Extras, grid, parse_samples, render, summarize
from luthier_demo import artifacts

Json = dict[str, Any]

_BRIEF = (
    "namespace",
    "name",
    "outcome",
    "reason",
    "message",
    "durationSeconds",
    "warnings",
    "evaluation",
)


def report(s3: Any, resource: Json, folder: Path, next_commands: list[str]) -> RenderableType:
    """All about a FineTuneJob. Its artifact's report/ and model card lie in `folder` afterwards."""
    uri = resource["status"]["artifact"]["uri"]
    artifacts.download_report(s3, uri, folder)
    return render(
        summarize(
            resource,
            Extras(
                files=artifacts.listed(s3, uri),
                loss_curve=str(folder / "report" / "loss.png"),
                samples=parse_samples((folder / "report" / "samples.json").read_text()),
                next_commands=next_commands,
            ),
        )
    )


def brief(resource: Json) -> RenderableType:
    """How it ended, and why if it failed; of a FineTuneJob also what it was measured to be."""
    return render({key: value for key, value in summarize(resource).items() if key in _BRIEF})


def retrained(resource: Json) -> RenderableType:
    """What a look at the data of a FineTuneJob found, and whether what came of it is in use."""
    status = resource["status"]
    promoted = next(it for it in status["conditions"] if it["type"] == "Promoted")
    return grid(
        [
            ("Data", status["retrain"]["message"]),
            (promoted["reason"], promoted["message"]),
            ("In use", status["inUse"]["revision"]),
        ]
    )
