"""What is shown of an OptimizeJob and of an AdapterBundle."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType
from unit.cli.statuses import bundled, condition, failed, optimized, optimizing

from luthier_cli import tables, view
from luthier_cli.state import outcome
from luthier_cli.summary import Extras, render, summarize

NOW = datetime(2026, 1, 1, 10, 0, 30, tzinfo=UTC)


def text_of(renderable: RenderableType, width: int = 140) -> str:
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(renderable, crop=False)
    return captured.get()


def test_candidates_with_all_that_was_measured() -> None:
    summary = summarize(optimized(), Extras(report="/out/report/index.html"))
    assert summary["metric"] == "accuracy"
    assert [it["verdict"] for it in summary["candidates"]] == ["Chosen", "Rejected"]
    shown = text_of(render(summary))
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    for words in (
        "✔ team-a/tone-fast: Complete after 1m 23s",
        "Size Perplexity accuracy Change 95% interval Tokens/s First token Memory Verdict",
        "source 513.2 MiB 129.6 0.87 17 310 ms 1.1 GiB",
        "int8 247.1 MiB 129.8 0.86 -0.01 -0.03 to +0.005 113 45.12 ms 500.0 MiB Chosen",
        "int4 112.0 MiB Rejected",
        "int4: accuracy falls by 0.2, and 0.01 is allowed",
        "Artifact s3://artifacts/models/team-a/tone-fast/r1-1",
        "Package int8 for onnxruntime-genai, in model/; README.md shows how to run it",
        "Report /out/report/index.html",
    ):
        assert words in lines, shown


def test_without_a_gated_metric_there_are_no_columns_for_it() -> None:
    body = optimized()
    body["spec"] = {}
    shown = text_of(render(summarize(body)))
    assert "Change" not in shown
    assert "Tokens/s" in shown


def test_candidates_that_all_miss_a_gate() -> None:
    body = optimized()
    body["status"] |= failed("GatesNotMet", "no candidate keeps all gates")["status"]
    del body["status"]["artifact"]
    assert outcome(body) == "Failed"
    shown = text_of(render(summarize(body)))
    assert "✘ team-a/tone-fast: Failed" in shown
    assert "GatesNotMet: no candidate keeps all gates" in shown
    assert "int4: accuracy falls by" in shown
    assert "Artifact" not in shown


def test_what_is_not_measured_is_left_empty() -> None:
    failed_one = {"precision": "int4", "verdict": "Failed", "reason": "no kernel for [this]"}
    shown = text_of(tables.candidates_table({}, [failed_one], None))
    assert "int4" in shown
    assert "None" not in shown
    assert "int4: no kernel for [this]" in shown


def test_candidates_while_it_runs() -> None:
    body = optimizing()
    shown = text_of(view.Live().frame(body, NOW))
    assert "team-a/tone-fast  Running: Measuring int8" in shown
    assert "fp32" in shown
    assert "Passed" in shown
    line = view.plain_line(body, NOW)
    assert line.startswith("Running: Measuring int8  fp32 Passed")


@pytest.mark.parametrize(
    ("kind", "status", "mark"),
    [("SourceReady", "False", "…"), ("AdaptersReady", "False", "…"), ("GatesPassed", "False", "✘")],
)
def test_what_holds_it_back(kind: str, status: str, mark: str) -> None:
    body = optimizing()
    body["status"]["conditions"] = [condition(kind, status, "Because", "a message")]
    assert f"{mark} {kind} a message" in text_of(view.Live().frame(body, NOW))


def test_the_source_that_is_awaited_is_the_cause() -> None:
    body = optimizing()
    missing = condition("SourceReady", "False", "SourceNotReady", "tone has no result yet")
    body["status"] = {"phase": "Pending", "conditions": [missing]}
    assert view.plain_line(body, NOW) == "Pending  SourceNotReady: tone has no result yet"


def test_a_bundle_and_its_proof() -> None:
    summary = summarize(bundled())
    assert summary["artifact"]["uri"].endswith("/r2-2")
    shown = text_of(render(summary))
    for words in (
        "✔ team-a/tones: Complete",
        "! AdaptersCompatible: topic (Dora): it is a DoRA",
        "tone     Included  r2-2319d176",
        "topic    LeftOut   –            Dora: it is a DoRA",
        "Artifact  s3://artifacts/models/team-a/tones/r2-2",
        "1 adapter, logits within 9e-05 of PEFT's on the unquantised base, isolated from each "
        "other, 1 built anew, 95.4 MiB",
    ):
        assert words in shown, shown


def test_a_bundle_that_failed_tells_what_is_in_use() -> None:
    body = bundled()
    body["status"] |= failed("NoAdapterLeft", "2 adapters can't be in the bundle")["status"]
    shown = text_of(render(summarize(body)))
    assert "In use    s3://artifacts/models/team-a/tones/r2-2" in shown


def test_adapters_while_it_runs() -> None:
    body = bundled()
    body["status"] |= {"phase": "Running", "stage": "Proving", "conditions": []}
    assert view.plain_line(body, NOW) == "Running: Proving  1 in, 1 left out of 2 adapters"
    assert "topic" in text_of(view.Live().frame(body, NOW))
