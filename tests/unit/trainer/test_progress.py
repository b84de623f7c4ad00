"""Reports to a real HTTP server that answers as an operator does."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.trainer.support import MakeSpec, Operator

from luthier_api.progress import ProgressReport
from luthier_api.runspec import ProgressTarget
from luthier_trainer.evaluation import rowprogress
from luthier_trainer.pod.progress import Reporter


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def reporter(
    operator: Operator, token: Path, make_spec: MakeSpec, over: Callable[[], None] = lambda: None
) -> Reporter:
    target = ProgressTarget(url=operator.url, interval_seconds=0.05, token_file=str(token))
    return Reporter(make_spec().run, "pod-1", target, over)


def test_reports_carry_the_state_and_the_present_token(
    operator: Operator, tmp_path: Path, make_spec: MakeSpec
) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    reports = reporter(operator, token, make_spec)
    reports.update(step=3, total_steps=12, loss=1.5)
    until(lambda: any(r[2]["progress"]["step"] == 3 for r in operator.requests))
    token.write_text("two\n")
    until(lambda: operator.requests[-1][1] == "Bearer two")
    reports.update(step=12)
    reports.close()
    path, _, body = operator.requests[-1]
    report = ProgressReport.model_validate(body)
    assert path == "/v1/progress"
    assert (report.progress.step, report.progress.percent) == (12, "100%")
    assert report.progress.memory_bytes
    sequences = [request[2]["sequence"] for request in operator.requests]
    assert sequences == sorted(set(sequences))


def test_a_stage_is_told_at_once(operator: Operator, tmp_path: Path, make_spec: MakeSpec) -> None:
    target = ProgressTarget(url=operator.url, interval_seconds=60, token_file=str(tmp_path / "no"))
    reports = Reporter(make_spec().run, "pod-1", target, lambda: None)
    reports.stage("Training")
    until(lambda: bool(operator.requests))
    assert operator.requests[0][2]["progress"]["stage"] == "Training"
    reports.close()


@pytest.mark.parametrize("answer", [401, 403, 500, 503])
def test_refusals_and_faults_go_by(
    answer: int, operator: Operator, tmp_path: Path, make_spec: MakeSpec
) -> None:
    operator.answer = answer
    called = threading.Event()
    reports = reporter(operator, tmp_path / "none", make_spec, called.set)
    until(lambda: len(operator.requests) >= 2)
    operator.answer = 204
    reports.update(step=1)
    until(lambda: operator.requests[-1][2]["progress"].get("step") == 1)
    reports.close()
    assert not called.is_set()


def test_a_run_that_is_over_is_stopped(
    operator: Operator, tmp_path: Path, make_spec: MakeSpec
) -> None:
    operator.answer = 409
    called = threading.Event()
    reporter(operator, tmp_path / "none", make_spec, called.set)
    assert called.wait(20)


def test_a_dead_operator_costs_nothing(make_spec: MakeSpec, tmp_path: Path) -> None:
    target = ProgressTarget(
        url="http://127.0.0.1:9", interval_seconds=0.05, token_file=str(tmp_path / "none")
    )
    reports = Reporter(make_spec().run, "pod-1", target, lambda: None)
    started = time.monotonic()
    for step in range(1000):
        reports.update(step=step)
    assert time.monotonic() - started < 2
    reports.close()


def test_an_evaluation_tells_how_far_it_is(
    operator: Operator, tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowprogress, "_TELL_SECONDS", 1e9)
    reports = reporter(operator, tmp_path / "none", make_spec)
    reports.stage("Evaluating")
    rows = rowprogress.RowProgress(reports, "Evaluating", 99_999_999, lambda: None)
    rows(5)
    assert reports.progress.stage == "Evaluating"  # not yet
    monkeypatch.setattr(rowprogress, "_TELL_SECONDS", 0)
    rows(99_999_994)
    assert reports.progress.stage == "Evaluating 99999999/99999999"
    reports.close()
    told = ProgressReport.model_validate(operator.requests[-1][2])
    assert told.progress.stage == "Evaluating 99999999/99999999"
