"""Locks between processes."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier_cluster.errors import ClusterError
from luthier_cluster.locks import locked

HOLDER = """
import sys, time
from pathlib import Path
from luthier_cluster.locks import locked
with locked(Path(sys.argv[1])):
    print(flush=True)
    time.sleep(60)
"""


def test_a_held_lock_is_waited_for_with_a_limit_and_ends_with_its_holder(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        began = time.monotonic()
        with pytest.raises(ClusterError, match="another process has held"), locked(file, 0.3):
            pass
        assert time.monotonic() - began < 5
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close() if holder.stdout else None
    with locked(file, 5):
        assert file.exists()
    assert not file.exists()
