"""Ctrl-C while tests run on all cores."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[2]
WITHIN = 150  # on a busy machine
_SLOW = """
import time
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def cluster(worker_id):
    "Takes longer to go than execnet waits."
    left = Path(__file__).with_name(f"left-by-{worker_id}")
    left.touch()
    yield
    time.sleep(7)
    left.unlink()

@pytest.mark.parametrize("number", range(2))
def test_long(number, cluster):
    time.sleep(60)
"""


def test_workers_clean_up_in_their_own_time(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(_SLOW)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, "-p", "interrupted", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + WITHIN
        while len(list(tmp_path.glob("left-by-*"))) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        assert process.wait(WITHIN) == 2
        assert not list(tmp_path.glob("left-by-*"))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
