"""Ctrl-C lets the workers of pytest-xdist clean up.

They have the signal, too, and tear down what their tests started: clusters take their time. execnet
would interrupt that after 5 seconds, and end the process after 15.
"""

from typing import Any

import pytest

CLEAN_UP_SECONDS = 180


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        from execnet.gateway_base import WorkerGateway

        WorkerGateway._terminate_execution = _wait_for_tests
    elif config.pluginmanager.hasplugin("xdist"):
        from xdist.workermanage import NodeManager

        NodeManager.EXIT_TIMEOUT = CLEAN_UP_SECONDS


def _wait_for_tests(gateway: Any) -> None:
    gateway._execpool.trigger_shutdown()
    gateway._execpool.waitall(CLEAN_UP_SECONDS)
