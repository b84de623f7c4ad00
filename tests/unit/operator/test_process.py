"""The process ends when told, and when a part of it can't go on."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from integration.operatorprocess import OperatorProcess
from kubernetes.aio.client import Configuration
from unit.operator.apiserver import ApiServer, client_of

from luthier_operator import handlers
from luthier_operator.resources import FINE_TUNE_JOBS


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    api = ApiServer()
    async with client_of(api):
        yield api


async def test_what_ends_the_work_ends_the_run_loop(api: ApiServer) -> None:
    async def work() -> None:
        await asyncio.sleep(0.1)
        raise RuntimeError("the recorder came to an end")

    with pytest.raises(RuntimeError, match="recorder"):
        await asyncio.wait_for(handlers.run(work, Configuration(host=api.url)), 10)


async def test_a_run_loop_that_is_stopped_ends_all_tasks_of_the_work(api: ApiServer) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def child() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def work() -> None:
        await asyncio.sleep(0.1)  # kopf takes later tasks for its own
        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    loop = asyncio.get_running_loop()
    running = asyncio.create_task(handlers.run(work, Configuration(host=api.url)))
    await asyncio.wait_for(started.wait(), 10)
    began = loop.time()
    signal.raise_signal(signal.SIGTERM)
    await asyncio.wait_for(running, 10)
    assert ended.is_set()
    assert loop.time() - began < 3  # kopf alone would wait for the child for five seconds


@pytest.fixture
async def process(api: ApiServer, tmp_path: Path) -> AsyncIterator[OperatorProcess]:
    """The operator, with that API server."""
    config = {
        "current-context": "api",
        "contexts": [{"name": "api", "context": {"cluster": "api", "user": "api"}}],
        "clusters": [{"name": "api", "cluster": {"server": api.url}}],
        "users": [{"name": "api", "user": {}}],
    }
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    process = OperatorProcess(kubeconfig, tmp_path)
    try:
        await asyncio.to_thread(process.start)
        yield process
    finally:
        if process.running:
            await asyncio.to_thread(process.kill)


async def test_versions_that_go_back_end_the_process(
    api: ApiServer, process: OperatorProcess
) -> None:
    await api.put(FINE_TUNE_JOBS, "team", "tone")
    async with asyncio.timeout(20):
        while api.watching < 5:  # noqa: ASYNC110 - there is no event of it
            await asyncio.sleep(0.05)
    api.version, api.oldest = 50, 1_000
    await api.cut()
    assert await asyncio.to_thread(process.wait) == 1
    log = process.log.read_text()
    assert "why: VersionsWentBackError: resource=" in log
    assert "the operator ends, to be started again" in log


async def test_sigterm_ends_the_process_well(api: ApiServer, process: OperatorProcess) -> None:
    took = await asyncio.to_thread(process.kill, signal.SIGTERM)
    assert took < 3
    assert process.wait() == 0
    assert "Traceback" not in process.log.read_text()
