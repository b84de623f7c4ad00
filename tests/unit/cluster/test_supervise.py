"""Waiting for a component: its death is seen, and its limit kept."""

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from luthier_cluster import processes, supervise, wait
from luthier_cluster.components import Component
from luthier_cluster.errors import ComponentError
from luthier_cluster.layout import Layout
from luthier_cluster.processes import Process


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/starting" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Healthy) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join(10)


@pytest.fixture
def layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Layout:
    monkeypatch.setenv("LUTHIER_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("luthier_cluster.layout.run_root", lambda: tmp_path / "run")
    layout = Layout("demo", 1)
    layout.logs.mkdir(parents=True)
    layout.pids.mkdir(parents=True)
    (layout.logs / "etcd.log").write_text("".join(f"line {n}\n" for n in range(100)) + "panic!\n")
    return layout


def pretend_running(layout: Layout, pid: int) -> None:
    process = Process(pid, processes.start_time(pid) or 0, ["etcd"])
    supervise.pid_file(layout, "etcd").write_text(json.dumps(asdict(process)))


def test_a_dead_component_is_reported_though_a_stranger_answers(
    layout: Layout, server: str
) -> None:
    with pytest.raises(ComponentError) as error:
        supervise.await_ready(layout, Component("etcd", ("etcd",), server))
    message = str(error.value)
    assert message.startswith("etcd has died. Last lines of ")
    assert str(layout.logs / "etcd.log") in message
    assert message.endswith("line 99\npanic!")
    assert "line 50\n" not in message


def test_a_component_that_never_answers_is_given_up(layout: Layout, server: str) -> None:
    pretend_running(layout, os.getpid())
    starting = Component("etcd", ("etcd",), f"{server}/starting", within=0.3)
    began = time.monotonic()
    with pytest.raises(ComponentError, match=r"etcd isn't ready after 0\.3 s .*/starting"):
        supervise.await_ready(layout, starting)
    assert time.monotonic() - began < 5


def test_what_answers_counts_as_ready(server: str, tmp_path: Path) -> None:
    assert wait.answers(f"{server}/healthz")
    assert not wait.answers(f"{server}/starting")
    assert not wait.answers("http://127.0.0.1:1/healthz")
    assert not wait.answers(f"unix:{tmp_path}/no.sock")
