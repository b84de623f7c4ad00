"""The report at the end, and the picture before it."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console, RenderableType
from unit.cli.statuses import complete, condition, failed, resource, running

from luthier_cli import text, view
from luthier_cli.summary import Extras, Sample, metrics_table, render, summarize
from luthier_cli.text import duration, parse_time, size

NOW = datetime(2026, 1, 1, 10, 0, 30, tzinfo=UTC)


def text_of(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, color_system=None, file=io.StringIO())
    with console.capture() as captured:
        console.print(renderable, crop=False)
    return captured.get()


def test_a_complete_run() -> None:
    extras = Extras(
        files=[("adapter/adapter_model.safetensors", 1_572_864)],
        loss_curve="/out/loss.png",
        samples=[Sample("a [red] dog", "person", "animal", "animal")],
        next_commands=["kubectl get ftj"],
    )
    summary = summarize(complete(usage={"cpuSeconds": 80, "trainedTokens": 41233}), extras)
    assert summary["outcome"] == "Complete"
    assert summary["durationSeconds"] == 83
    assert summary["evaluation"]["tuned"]["accuracy"] == 0.87
    shown = text_of(render(summary))
    for words in (
        "✔ team-a/tone: Complete after 1m 23s",
        "accuracy    0.410    0.870    +0.460",
        "loss        3.200    0.510    −2.690",
        "on 300 rows of test\n",
        "s3://artifacts/models/team-a/tone/r2-2319d176",
        "adapter/ (1.5 MiB)",
        "/out/loss.png",
        "1m 20s of CPU, 41,233 tokens learnt from",
        "a [red] dog",
        "kubectl get ftj",
    ):
        assert words in shown, shown


def test_a_result_of_an_earlier_run_is_called_so() -> None:
    shown = text_of(render(summarize(complete(), Extras(finished_before=True))))
    assert "the result of an earlier run" in shown
    assert "earlier run" not in text_of(render(summarize(complete())))


def test_a_failed_run_tells_why() -> None:
    shown = text_of(render(summarize(failed())))
    assert "✘ team-a/tone: Failed" in shown
    assert "DatasetInvalid: line 3: no JSON" in shown


def test_rows_that_selected_the_model_are_called_optimistic() -> None:
    evaluation = {"split": "eval", "examples": 10, "base": {}, "tuned": {"loss": 1.0}}
    shown = text_of(render(summarize(resource(evaluation=evaluation))))
    assert "optimistic" in shown


def test_a_uri_is_folded_and_never_cut() -> None:
    uri = "s3://artifacts/" + "x" * 150
    body = complete() | {}
    body["status"]["artifact"]["uri"] = uri
    shown = text_of(render(summarize(body)), width=60)
    assert uri in "".join(shown.replace("Artifact", "").split())


def test_what_is_unknown_is_left_out() -> None:
    summary = summarize({"kind": "FineTuneJob", "metadata": {"name": "tone"}})
    assert summary == {"kind": "FineTuneJob", "name": "tone", "outcome": "Pending"}
    assert "• tone: Pending" in text_of(render(summary))


def test_the_live_picture() -> None:
    body = running(tokensPerSecond=5321.2, estimatedFinish="2026-01-01T10:02:00Z")
    shown = text_of(view.Live().frame(body, NOW, "a note"))
    for words in (
        "team-a/tone  Running: Training  r1-2319d176",
        "40/120 steps 33%",
        "loss 1.234   5,321 tok/s   ETA 1m 30s   checkpoint at step 40   1 failure, 2 disruptions",
        "✔ Scheduled    on the pool cpu",
        "a note",
    ):
        assert words in shown, shown
    # Nothing is said of what merely isn't so yet.
    assert "Complete" not in shown
    assert "Failed" not in shown


def test_what_holds_a_run_back() -> None:
    body = resource(condition("Scheduled", "False", "Unschedulable", "no node"), phase="Pending")
    assert "… Scheduled no node" in text_of(view.Live().frame(body, NOW))
    assert view.plain_line(body, NOW) == "Pending  Unschedulable: no node"


def test_plain_line() -> None:
    body = running(tokensPerSecond=5321.2, estimatedFinish="2026-01-01T10:02:00Z")
    assert view.plain_line(body, NOW).startswith(
        "Running: Training  step 40/120  loss 1.234  5,321 tok/s  ETA 1m 30s"
    )
    body = running(stage="Evaluating", step=120, estimatedFinish="2026-01-01T10:02:00Z")
    assert "ETA" not in view.plain_line(body, NOW)  # training ends then, and the run later


def test_before_the_operator_has_seen_it() -> None:
    body: dict[str, Any] = {"metadata": {"name": "tone", "namespace": "a", "generation": 1}}
    assert "a/tone  Waiting for the operator" in text_of(view.Live().frame(body, NOW))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (-3, "0s"), (59.4, "59s"), (60, "1m 00s"), (3725, "1h 02m"), (90000, "1d 01h")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (1536, "1.5 KiB"), (2**41, "2.0 TiB")])
def test_size(count: int, words: str) -> None:
    assert size(count) == words


def test_parse_time() -> None:
    assert parse_time("2026-01-01T10:00:30Z") == NOW
    assert parse_time("2026-01-01T10:00:30") == NOW
    assert parse_time("soon") is None
    assert parse_time(None) is None


def test_a_change_with_its_interval_and_what_was_noticed() -> None:
    change = {
        "accuracy": {"by": 0.46, "low": 0.4, "high": 0.52},
        "loss": {"by": -2.69, "low": -5.5, "high": 0.1},
    }
    facts = {"train": 4500, "eval": 300, "labels": 3, "duplicates": 7, "truncatedPercent": 1.25}
    body = complete(
        dataset=facts,
        estimate={
            "memoryBytes": 2**31,
            "durationSeconds": 65,
            "measuredMemoryBytes": 2**30,
            "measuredDurationSeconds": 59,
        },
        resolved={"training.precision": "bf16"},
    )
    body["status"]["evaluation"]["change"] = change
    body["status"]["conditions"] += [
        condition("Overfitting", "True", "LearnsByHeart", "eval loss rises"),
        condition("ResumeExact", "False", "NotReproducible", "other CPUs"),
    ]
    summary = summarize(body)
    assert summary["warnings"] == ["Overfitting: eval loss rises", "ResumeExact: other CPUs"]
    assert summary["dataset"] == facts
    shown = text_of(render(summary))
    for words in (
        "0.410    0.870    +0.460    +0.400 to +0.520",
        "3.200    0.510    −2.690    −5.500 to +0.100",
        "! Overfitting: eval loss rises",
        "4,500 train, 300 eval rows; 3 labels; 7 duplicates; 1.25% cut at maxLength",
        "2.0 GiB of memory (1.0 GiB seen) and 1m 05s (59s seen)",
        "training.precision bf16",
    ):
        assert words in shown, shown


def test_a_change_that_may_be_chance_has_no_colour() -> None:
    evaluation = {"base": {"f1": 0.5}, "tuned": {"f1": 0.6}}

    def coloured(low: float) -> bool:
        change = {"f1": {"by": 0.1, "low": low, "high": 0.2}}
        console = Console(width=100, color_system="standard", force_terminal=True)
        with console.capture() as captured:
            console.print(metrics_table(evaluation | {"change": change}))
        return "\x1b[32m+0.100" in captured.get()

    assert coloured(0.01)
    assert not coloured(-0.01)


def test_what_nothing_learns_from_is_told_without_the_log_too() -> None:
    body = complete(dataset={"train": 2, "unread": ["name (2 rows)", "mood (1 row)"]})
    told = "chats have name (2 rows), mood (1 row): nothing learns from it"
    assert summarize(body)["warnings"] == [told]
    assert f"! {told}" in text_of(render(summarize(body)))
    # The trainer's own line, of `luthier run`, has the place, too.
    line = "chats have name (2 rows), mood (1 row) (first: line 1): nothing learns from it"
    assert summarize(body, Extras(warnings=[line]))["warnings"] == [line]


def test_warnings_and_the_estimate_while_it_runs() -> None:
    body = running(step=0)
    body["status"]["estimate"] = {"memoryBytes": 2**30, "durationSeconds": 120}
    body["status"]["conditions"].append(condition("Overfitting", "True", "X", "eval loss rises"))
    shown = text_of(view.Live().frame(body, NOW))
    assert "expected 1.0 GiB of memory and 2m 00s" in shown
    assert "! Overfitting" in shown
    assert view.plain_line(body, NOW).endswith("Overfitting: eval loss rises")
    body["status"]["progress"]["step"] = 1
    assert "expected" not in text_of(view.Live().frame(body, NOW))


def test_rows_in_chunks() -> None:
    facts = {"train": 12, "chunked": 9, "chunks": 1200, "truncatedPercent": 0}
    assert text.dataset(facts) == "12 train rows; 9 long rows in 1,200 chunks"
