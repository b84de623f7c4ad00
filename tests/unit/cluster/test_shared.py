"""What processes of a test run share: ports that stay free, clusters that the last takes down."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import of_run, shared
from ports import ReservedPort

# Uses what is shared until its input ends; tells what it does.
USER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from clusters import shared
def say(word):
    print(word, flush=True)
with shared(Path(sys.argv[1]), lambda: say("prepare"), lambda: say("remove")):
    say("use")
    sys.stdin.read()
"""
TESTS = Path(__file__).parents[2]


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", USER, str(folder), str(TESTS)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str], words: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(words)]


def test_the_first_prepares_and_the_last_removes(tmp_path: Path) -> None:
    first = start(tmp_path)
    assert said(first, 2) == ["prepare", "use"]
    second = start(tmp_path)
    assert said(second, 1) == ["use"]
    assert first.communicate(timeout=30)[0] == ""
    assert second.communicate(timeout=30)[0] == "remove\n"
    third = start(tmp_path)
    assert third.communicate(timeout=30)[0].split() == ["prepare", "use", "remove"]


def test_one_that_is_killed_keeps_nobody_from_removing(tmp_path: Path) -> None:
    killed, other = start(tmp_path), start(tmp_path)
    said(killed, 1)
    said(other, 1)
    killed.kill()
    killed.communicate(timeout=30)
    assert other.communicate(timeout=30)[0].split()[-1] == "remove"


def test_what_cannot_be_prepared_is_tried_by_the_next_and_removed(tmp_path: Path) -> None:
    done: list[str] = []

    def fail() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError), shared(tmp_path, fail, lambda: done.append("removed")):
        done.append("used")
    with shared(tmp_path, lambda: done.append("prepared"), lambda: None):
        pass
    assert done == ["removed", "prepared"]


def test_clusters_of_one_run_among_others() -> None:
    names = ["demo", "e2e-12", "test-12-345", "test-345-12", "e2e-123", "mine-12x"]
    assert of_run("12", names) == ["e2e-12", "test-12-345"]


def test_a_reserved_port_is_for_the_server_alone() -> None:
    port = ReservedPort()
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port.number))
    for _ in range(2):  # a server that is started again
        with socket.create_server(("127.0.0.1", port.number)) as server:
            assert server.getsockname()[1] == port.number


def test_a_port_with_another_one_above_it() -> None:
    port = ReservedPort(above=(10_000,), below=50_000)
    assert port.number < 50_000
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind(("127.0.0.1", port.number + 10_000))
