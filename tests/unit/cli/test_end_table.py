"""The table at the end of a run: what matters most, on a small screen."""

import io
from typing import Any

import pytest
from rich.console import Console
from unit.cli.statuses import complete, optimized

from luthier_cli.facts import folded
from luthier_cli.summary import Extras, Sample, render, summarize

FILES = [
    ("README.md", 4000),
    ("adapter/README.md", 400),
    ("adapter/adapter_config.json", 800),
    ("adapter/adapter_model.safetensors", 1_572_864),
    ("adapter/tokenizer.json", 2_000_000),
    ("manifest.json", 9000),
    *((f"report/file-{index}.html", 30_000) for index in range(12)),
]


def lines_of(summary: dict[str, Any], width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(render(summary), crop=False)
    return captured.get().splitlines()


def ended(metrics: int = 3, warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    body = complete(
        dataset={"train": 4500, "eval": 300, "labels": 3, "tokensMedian": 31, "tokensP95": 90},
        estimate={"memoryBytes": 2**31, "durationSeconds": 65},
        resolved={f"setting{index}": "a long value" for index in range(9)},
        usage={"cpuSeconds": 80, "trainedTokens": 41233},
    )
    names = [f"metric_{index}" for index in range(metrics)]
    body["status"]["evaluation"] |= {
        "base": dict.fromkeys(names, 0.123456),
        "tuned": dict.fromkeys(names, 0.654321),
        "change": {name: {"by": 0.53, "low": -0.123, "high": 0.6} for name in names},
    }
    long = "word " * 60
    extras = Extras(
        files=FILES,
        folder="out/team-a/tone/r2-2319d176",
        report="out/team-a/tone/r2-2319d176/report/index.html",
        loss_curve="/out/team-a/tone/r2-2319d176/report/loss.png",
        samples=[Sample(long, long, long, "animal")] * 20,
        warnings=warnings,
        log="/home/me/.cache/luthier/logs/team-a-tone-r2-2319d176.log",
    )
    return summarize(body, extras)


@pytest.mark.parametrize("metrics", [1, 3, 6])
@pytest.mark.parametrize("warnings", [(), ("data: some keys teach nothing",)])
def test_it_fits_a_small_screen(metrics: int, warnings: tuple[str, ...]) -> None:
    shown = lines_of(ended(metrics, warnings))
    assert len(shown) < 24, "\n".join(shown)
    assert max(map(len, shown)) <= 80


def test_score_then_place_then_use() -> None:
    shown = lines_of(ended())
    labels = [line.split("  ")[0] for line in shown if line[:1].isalpha()]
    wanted = ["Metric", "Artifact", "Use it", "Files", "Report"]
    assert [label for label in labels if label in wanted] == wanted
    text = "\n".join(shown)
    assert "0.123" in text
    assert "−0.123 to +0.600" in text
    assert "Artifact  out/team-a/tone/r2-2319d176" in text
    assert "README.md shows how" in text
    # Its page has them; the path has the revision.
    for left_out in ("Chosen", "Loss curve", "Revision", "Log", "file-3.html"):
        assert left_out not in text


def test_files_folded_to_their_folders() -> None:
    files = [{"path": path, "bytes": size} for path, size in FILES]
    assert folded(files) == (
        "adapter/ (3.4 MiB, 4 files), report/ (351.6 KiB, 12 files), README.md, manifest.json"
    )
    assert folded([]) == ""


def test_all_that_the_trainer_warned_of() -> None:
    warnings = ("data: keys that teach nothing: weight", "merged: rounded", "a", "b", "c")
    summary = ended(warnings=warnings)
    assert summary["warnings"] == list(warnings)
    shown = "\n".join(lines_of(summary))
    assert "! data: keys that teach nothing: weight\n! merged: rounded\n! a\n" in shown
    assert "! 2 more in the log" in shown


def test_candidates_on_a_narrow_screen() -> None:
    wide, narrow = (lines_of(summarize(optimized()), width) for width in (140, 80))
    assert any(line.split()[:4] == ["Size", "Perplexity", "accuracy", "Change"] for line in wide)
    table = [" ".join(line.split()) for line in narrow]
    for row in (
        "source int8 int4",
        "Size 513.2 MiB 247.1 MiB 112.0 MiB",
        "Verdict Chosen Rejected",
    ):
        assert row in table, "\n".join(narrow)
    assert "…" not in "\n".join(narrow)
