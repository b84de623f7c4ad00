"""Tests that need a CUDA GPU: without one they fail. `make test-gpu` runs them."""

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gpu.models import Models

from luthier_trainer.training.checkpointwriter import CheckpointWriter


def pytest_report_header() -> str:
    found = torch.cuda.is_available()
    return f"GPU: {torch.cuda.get_device_name() if found else 'none'}, torch {torch.__version__}"


@pytest.fixture(scope="session", autouse=True)
def gpu() -> None:
    if not torch.cuda.is_available():
        pytest.fail(
            "no CUDA GPU that torch can use (torch.cuda.is_available() is false): run these tests "
            "where there is one",
            pytrace=False,
        )


@pytest.fixture(autouse=True)
def own_memory(gpu: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins with all of the GPU's memory."""
    writers: list[CheckpointWriter] = []
    begin = CheckpointWriter.__init__

    def remembered(self: CheckpointWriter, *arguments: Any) -> None:
        writers.append(self)
        begin(self, *arguments)

    monkeypatch.setattr(CheckpointWriter, "__init__", remembered)
    yield
    for writer in writers:
        # Its thread waits for a next checkpoint as long as the process lives, and this has the
        # model.
        writer._on_written = lambda _: None
    torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured: `record_property("measured", (table, row))`."""
    tables: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "measured":
                table, row = value
                tables.setdefault(table, []).append(row)
    for table, rows in tables.items():
        terminalreporter.write_sep("-", table)
        for row in sorted(rows):
            terminalreporter.write_line(row)
