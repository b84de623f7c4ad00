"""What a tracker is told, and when: against a real MLflow server, with a gate before it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from unit.trainer.support import MakeSpec
from unit.trainer.tracking_support import Gate, MlflowServer, read_wandb, wandb_packages

from luthier_api.finetunejob import EvaluationResult
from luthier_api.tracking import Mlflow, TrackedRun, Wandb
from luthier_trainer.tracking import points
from luthier_trainer.tracking.about import about
from luthier_trainer.tracking.delivery import Delivery
from luthier_trainer.tracking.mlflow import MlflowRun
from luthier_trainer.tracking.mlflowapi import basic, bearer
from luthier_trainer.tracking.tracker import About, Known, Outcome
from luthier_trainer.tracking.wandb import WandbRun

SECRET = "tok-9f8e7d6c5b4a"
KNOWN = Known(facts={"kind": "FineTuneJob", "base.uri": "s3://models/m"})
FAST = 0.05


def entry(step: int, **values: float) -> dict[str, Any]:
    return {"step": step, **(values or {"loss": 1 / step}), "seconds": float(step)}


@pytest.fixture
def of_it(make_spec: MakeSpec, tmp_path: Path) -> About:
    """A run of this test alone."""
    return about(make_spec(run={"name": tmp_path.name[:40], "uid": str(tmp_path)}), None)


@contextmanager
def delivered(uri: str, of_it: About, **fields: Any) -> Iterator[tuple[Delivery, list[TrackedRun]]]:
    """A pod's part of it; what it says of itself is listed."""
    told: list[TrackedRun] = []
    tracker = MlflowRun(Mlflow(uri=uri, **fields), of_it)
    delivery = Delivery(tracker, of_it.began, KNOWN, told.append, every_seconds=FAST)
    yield delivery, told
    end(delivery, "Failed", 0)


def end(delivery: Delivery, outcome: Outcome, seconds: float = 60, **more: Any) -> bool:
    delivery.end(Known(facts=KNOWN.facts, end=outcome, **more), seconds)
    return delivery.is_done(seconds)


def until(holds: Callable[[], bool], within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def name_of(of_it: About) -> str:
    return f"{of_it.namespace}/{of_it.job}"


def test_a_step_is_told_whole_and_the_newest_waits_for_the_end() -> None:
    entries = [entry(1), entry(2), entry(2, eval_loss=0.5), entry(3)]
    found = points.after(entries, 1, 100.0, 1000, newest=False)
    assert [(it.step, it.time, dict(it.values)) for it in found] == [
        (2, 102.0, {"train/loss": 0.5, "eval/loss": 0.5})
    ]
    assert [it.step for it in points.after(entries, -1, 0, 1000, newest=True)] == [1, 2, 3]
    assert [it.step for it in points.after(entries, -1, 0, 1, newest=True)] == [1], "a part"
    assert points.after(entries, 3, 0, 1000, newest=True) == []


def test_results_have_their_intervals() -> None:
    evaluation = EvaluationResult.model_validate(
        {
            "base": {"f1": 0.25},
            "tuned": {"f1": 0.75},
            "change": {"f1": {"by": 0.5, "low": 0.25}},
            "inUse": {"f1": 0.5},
            "gain": {"f1": {"by": 0.25, "noInterval": "few rows"}},
        }
    )
    assert points.results_of(evaluation) == {
        "base/f1": 0.25,
        "tuned/f1": 0.75,
        "in_use/f1": 0.5,
        "change/f1": 0.5,
        "change/f1_low": 0.25,
        "gain/f1": 0.25,
    }


def test_a_key_is_of_the_run_and_of_no_other(make_spec: MakeSpec) -> None:
    first = make_spec()
    again = make_spec(run={"attempt": 2})
    others = [make_spec(run={"uid": "uid-2"}), make_spec(run={"revision": "r2-00000000"})]
    assert about(first, None).key == about(again, None).key
    keys = {about(it, None).key for it in (first, *others)} | {about(first, None, 3).key}
    assert len(keys) == 4
    assert about(first, None, 3).group == about(first, None).key


def test_curves_go_on_where_another_pod_left_off(mlflow: MlflowServer, of_it: About) -> None:
    """Nothing twice, nothing missing: the second pod's journal begins at its checkpoint."""
    entries = [entry(step) for step in range(1, 31)]
    with delivered(mlflow.uri, of_it) as (first, told):
        first.follow(entries[:20])
        assert end(first, "Interrupted")
    run = mlflow.run(name_of(of_it))
    assert run.info["status"] == "KILLED"
    assert told[-1] == TrackedRun(
        tracker="MLflow",
        id=run.id,
        url=f"{mlflow.uri}/#/experiments/{run.info['experiment_id']}/runs/{run.id}",
    )
    growing = entries[:12]
    with delivered(mlflow.uri, of_it) as (second, _):
        second.follow(growing)
        until(lambda: mlflow.run(name_of(of_it)).info["status"] == "RUNNING")
        growing += entries[12:]
        until(lambda: (29, 1 / 29) in mlflow.run(name_of(of_it)).curve("train/loss"))
        assert end(second, "Finished", results={"tuned/f1": 0.5})
    run = mlflow.run(name_of(of_it))
    assert run.info["status"] == "FINISHED"
    assert run.curve("train/loss") == [(step, 1 / step) for step in range(1, 31)]
    assert run.curve("tuned/f1") == [(30, 0.5)]


def test_settings_stay_as_they_were_first_told(mlflow: MlflowServer, make_spec: MakeSpec) -> None:
    """MLflow refuses another value: a later attempt may have other log intervals."""
    run: dict[str, Any] = {"run": {"name": "settings", "uid": "settings"}}
    long = "x" * 6000
    for training in ({"logEverySteps": 3}, {"logEverySteps": 5}):
        dataset = {"template": f"{{text}}{long}{{label}}"}
        of_it = about(make_spec(training=training, dataset=dataset, **run), None)
        with delivered(mlflow.uri, of_it) as (delivery, told):
            assert end(delivery, "Interrupted", resolved={"precision": "fp32"})
            assert told[-1].problem is None
    found = mlflow.run("team-a/settings").params
    assert found["training.logEverySteps"] == "3"
    assert found["method.lora.rank"] == "8"
    assert found["resolved.precision"] == "fp32"
    assert found["dataset.template"].startswith("{text}xx")


def test_what_an_outage_kept_back_is_told_later(
    gate: Gate, mlflow: MlflowServer, of_it: About, capfd: pytest.CaptureFixture[str]
) -> None:
    entries = [entry(1), entry(2)]
    with delivered(gate.uri, of_it) as (delivery, told):
        delivery.follow(entries)
        until(lambda: bool(told))
        gate.open, asked = False, gate.asked
        entries += [entry(step) for step in range(3, 2500)]
        until(lambda: bool(told[-1].problem))
        assert told[-1].problem == f"{gate.uri} answers HTTP 503 Service Unavailable"
        until(lambda: gate.asked > asked + 2)
        gate.open = True
        until(lambda: told[-1].problem is None)
        assert end(delivery, "Finished")
    curve = mlflow.run(name_of(of_it)).curve("train/loss")
    assert [step for step, _ in curve] == list(range(1, 2500)), "more than fits one call"
    log = capfd.readouterr().err
    assert log.count("warning: MLflow: ") == 1, "said once"
    assert "told all that was missing" in log


def test_the_end_waits_for_a_tracker_that_comes_back(
    gate: Gate, mlflow: MlflowServer, of_it: About
) -> None:
    gate.open = False
    with delivered(gate.uri, of_it) as (delivery, told):
        delivery.follow([entry(1), entry(2)])
        until(lambda: bool(told))
        threading.Timer(2, lambda: setattr(gate, "open", True)).start()
        assert end(delivery, "Finished")
    assert mlflow.run(name_of(of_it)).curve("train/loss") == [(1, 1.0), (2, 0.5)]


def test_the_end_waits_no_longer_than_it_may(of_it: About) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # connects, and never answers
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        with delivered(uri, of_it) as (delivery, _):
            delivery.follow([entry(1)])
            started = time.monotonic()
            assert not end(delivery, "Finished", seconds=1)
            assert time.monotonic() - started < 5


def test_nobody_listens(of_it: About) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
    with delivered(uri, of_it) as (delivery, told):
        assert end(delivery, "Finished", seconds=3) or delivery.is_done(10)
        assert told[-1].problem == f"{uri}: connection refused"


@pytest.mark.parametrize(
    ("fields", "variable", "header"),
    [
        (
            {"token_secret_ref": {"name": "mlflow", "key": "token"}},
            "MLFLOW_TRACKING_TOKEN",
            bearer(SECRET),
        ),
        (
            {"username": "ada", "password_secret_ref": {"name": "mlflow", "key": "password"}},
            "MLFLOW_TRACKING_PASSWORD",
            basic("ada", SECRET),
        ),
    ],
)
def test_logins_right_wrong_and_missing(
    gate: Gate,
    mlflow: MlflowServer,
    of_it: About,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fields: dict[str, Any],
    variable: str,
    header: str,
) -> None:
    """The gate answers a wrong login with what it was shown, as some proxies do."""
    gate.authorization = header
    wrong = "wrong-0a1b2c3d4e5f"
    for value, problem in (
        (None, "the Secret mlflow has no key"),
        (wrong, "refuses the login (HTTP 401): give tracking.mlflow a Secret"),
    ):
        if value:
            monkeypatch.setenv(variable, value)
        with delivered(gate.uri, of_it, **fields) as (delivery, told):
            started = time.monotonic()
            assert end(delivery, "Finished", seconds=30)
            assert time.monotonic() - started < 20, "what is refused isn't waited for"
            assert problem in str(told[-1].problem)
    monkeypatch.setenv(variable, f"{SECRET}\n")
    with delivered(gate.uri, of_it, **fields) as (delivery, told):
        assert end(delivery, "Finished")
        assert told[-1].problem is None
    assert mlflow.run(name_of(of_it)).info["status"] == "FINISHED"
    log = capfd.readouterr().err
    assert SECRET not in log
    assert wrong not in log


def test_a_login_is_not_shown_to_where_a_server_leads(
    gate: Gate, of_it: About, monkeypatch: pytest.MonkeyPatch
) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Leads(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"{gate.uri}{self.path}")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Leads)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    uri = f"http://127.0.0.1:{server.server_port}"
    token = {"name": "mlflow", "key": "token"}
    with delivered(uri, of_it, token_secret_ref=token) as (delivery, told):
        assert end(delivery, "Finished", seconds=30)
        assert "leads elsewhere (HTTP 307)" in str(told[-1].problem)
    server.shutdown()
    server.server_close()
    assert gate.asked == 0


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"experiment": 5}'])
def test_a_server_that_is_no_mlflow(of_it: About, body: bytes) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Another(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Another)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with delivered(f"http://127.0.0.1:{server.server_port}", of_it) as (delivery, told):
        end(delivery, "Finished", seconds=2)
        delivery.is_done(10)
        assert told[-1].problem
    server.shutdown()
    server.server_close()


def test_a_trial_stands_below_its_search(mlflow: MlflowServer, make_spec: MakeSpec) -> None:
    spec = make_spec(run={"name": "searched", "uid": "searched"})
    whole, trial = about(spec, None), about(spec, None, 2)
    with delivered(mlflow.uri, whole) as (delivery, _):
        assert end(delivery, "Finished")
    with delivered(mlflow.uri, trial) as (delivery, _):
        assert end(delivery, "Finished")
    runs = {it.info["run_name"]: it for it in mlflow.runs("team-a/searched")}
    above, below = runs["searched/r1-00000000"], runs["searched/r1-00000000/trial-2"]
    assert below.tags["mlflow.parentRunId"] == above.id


@contextmanager
def by_wandb(
    wish: Wandb, of_it: About, folder: Path, kept: list[Path]
) -> Iterator[tuple[Delivery, list[TrackedRun]]]:
    told: list[TrackedRun] = []

    def keep(file: Path) -> None:
        kept.append(Path(copy(file, folder)))

    tracker = WandbRun(wish, of_it, folder, keep)
    delivery = Delivery(tracker, of_it.began, KNOWN, told.append, every_seconds=FAST)
    yield delivery, told
    end(delivery, "Failed", 0)


def test_each_pod_writes_a_whole_file_for_wandb(
    of_it: About, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_WANDB", str(wandb_packages()))
    entries = [entry(step) for step in range(1, 4000)]
    for steps, outcome, code in ((20, "Interrupted", 255), (3999, "Finished", 0)):
        kept: list[Path] = []
        with by_wandb(Wandb(mode="Offline"), of_it, tmp_path, kept) as (delivery, told):
            delivery.follow(entries[:steps])
            assert end(delivery, outcome, 120)  # type: ignore[arg-type]
            assert told[-1] == TrackedRun(tracker="WandB", id=of_it.key)
        [file] = kept
        assert file.name == f"run-{of_it.key}.wandb"
        found = read_wandb(file)
        assert [it["_step"] for it in found["history"]] == list(range(1, steps + 1))
        assert found["exit"] == code
        assert found["config"]["luthier"] == dict(KNOWN.facts)


def test_wandb_with_nobody_there(
    of_it: About,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = "5ec0" * 10
    monkeypatch.setenv("LUTHIER_WANDB", str(wandb_packages()))
    monkeypatch.setenv("WANDB_API_KEY", key)
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
    wish = Wandb.model_validate(
        {"uri": uri, "apiKeySecretRef": {"name": "wandb", "key": "key"}, "mode": "Online"}
    )
    with by_wandb(wish, of_it, tmp_path, []) as (delivery, told):
        delivery.follow([entry(1)])
        until(lambda: bool(told), within=120)
        assert told[-1].problem == f"{uri} can't be told (CommError); the log says more"
    monkeypatch.setenv("WANDB_API_KEY", "too-short-for-a-key")
    with by_wandb(wish, of_it, tmp_path, []) as (delivery, told):
        until(lambda: bool(told), within=120)
        assert told[-1].problem == f"{uri} refuses the API key of tracking.wandb.apiKeySecretRef"
    monkeypatch.delenv("WANDB_API_KEY")
    with by_wandb(wish, of_it, tmp_path, []) as (delivery, told):
        until(lambda: bool(told), within=120)
        assert told[-1].problem == "the Secret wandb has no key key, or isn't there: make it"
    assert key not in capfd.readouterr().err
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file


def test_nothing_that_a_run_tells_holds_a_login(make_spec: MakeSpec) -> None:
    spec = make_spec()
    model = spec.fine_tuning.model.model_copy(
        update={"token_secret_ref": {"name": "hub", "key": "token"}}
    )
    tuning = spec.fine_tuning.model_copy(update={"model": model})
    told = about(spec.model_copy(update={"fine_tuning": tuning}), None)
    assert "hub" not in json.dumps(told.spec["model"])
