"""Which process does what, and how those of a pod are started and waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.trainer.support import MakeSpec

from luthier_api.result import ExitCode
from luthier_trainer.distributed import launch as launching
from luthier_trainer.distributed.launch import environment, wait
from luthier_trainer.distributed.place import Place, place_of, processes
from luthier_trainer.distributed.world import World
from luthier_trainer.training.sampler import EpochBatches


@pytest.mark.parametrize(
    ("gpus", "nodes", "given", "place"),
    [
        (0, 1, {}, Place(0, 1, "127.0.0.1:29500")),
        (1, 1, {"JOB_COMPLETION_INDEX": "3"}, Place(0, 1, "127.0.0.1:29500")),
        (0, 2, {"JOB_COMPLETION_INDEX": "1"}, Place(1, 2, "first:29500")),
        (
            4,
            1,
            {"LUTHIER_LOCAL_RANK": "2", "LUTHIER_MASTER": "127.0.0.1:7"},
            Place(2, 4, "127.0.0.1:7"),
        ),
        (
            4,
            2,
            {"LUTHIER_LOCAL_RANK": "2", "JOB_COMPLETION_INDEX": "1"},
            Place(6, 8, "first:29500"),
        ),
    ],
)
def test_the_place_of_a_process(
    gpus: int, nodes: int, given: dict[str, str], place: Place, make_spec: MakeSpec
) -> None:
    spec = make_spec(gpus=gpus, nodes=nodes, master="first" if nodes > 1 else None)
    assert place_of(spec, given) == place
    assert processes(spec) == max(gpus, 1)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 8), st.integers(0, 5))
def test_a_step_has_the_same_batches_however_many_share_it(
    count: int, per_step: int, size: int, first_step: int
) -> None:
    """Each batch is one process' own; those of a step are of that step in every one of them."""
    batches: Any = [[number] for number in range(count)]
    shares = []
    for rank in range(size):
        sampler = EpochBatches(lambda _: batches, 1, per_step, rank, size)
        sampler.begin(0, first_step * per_step)
        shares.append([batch[0] for batch in sampler])
        assert len(sampler) == count
    assert sorted(number for share in shares for number in share) == list(
        range(min(first_step * per_step, count), count)
    )
    for step in range(first_step, -(-count // per_step)):
        numbers = range(step * per_step, min((step + 1) * per_step, count))
        for rank, share in enumerate(shares):
            mine = [number for number in share if number in numbers]
            assert mine == list(numbers)[rank::size]


def test_one_process_is_a_world(tmp_path: Path) -> None:
    world = World()
    assert world.is_first
    assert world.share({"a": 1}) == {"a": 1}
    assert world.gather(2) == [2]
    assert world.add(1, 2.5) == [1, 2.5]
    assert not world.any(False)


def test_each_process_of_a_pod_sees_a_card_of_its_own() -> None:
    cards = {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}
    assert environment(cards, 1, "/s", "127.0.0.1:9", 2)["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    found = environment({}, 1, "/s", None, 2)
    assert found["CUDA_VISIBLE_DEVICES"] == "1"
    assert found["OMP_NUM_THREADS"] == "2"
    assert found["LUTHIER_TERMINATION_LOG"].startswith("/s/")
    assert "LUTHIER_TERMINATION_LOG" not in environment({}, 0, "/s", None, 2)


class _Child:
    """Ends when it is told to: at a poll's number, or killed."""

    def __init__(self, code: int | None, polls: int = 0) -> None:
        self.code, self.left, self.killed = code, polls, False

    def poll(self) -> int | None:
        self.left -= 1
        if self.killed:
            return -signal.SIGKILL
        return self.code if self.left < 0 else None

    def kill(self) -> None:
        self.killed = True


@pytest.mark.parametrize(
    ("children", "asked", "code", "killed"),
    [
        ([_Child(0), _Child(0)], [], 0, []),
        ([_Child(0, 5), _Child(0)], [], 0, []),  # the first one still publishes
        ([_Child(65), _Child(None)], [], 65, [1]),
        ([_Child(None), _Child(-9)], [], 137, [0]),  # of want of memory, say
        ([_Child(75, 2), _Child(-9)], [], 137, []),
        ([_Child(75, 5), _Child(75)], [], 75, []),  # the first one still saves
        ([_Child(75, 5), _Child(75)], [signal.SIGTERM], 75, []),
        ([_Child(0), _Child(None)], [], 0, [1]),
    ],
)
def test_the_exit_code_of_a_pod(
    children: list[_Child], asked: list[int], code: int, killed: list[int]
) -> None:
    found = wait(
        [child.poll for child in children],
        [child.kill for child in children],
        asked,
        last_seconds=0.3,
    )
    assert found == code
    assert [number for number, child in enumerate(children) if child.killed] == killed


def test_a_pod_of_two_processes_passes_signals_on(make_spec: MakeSpec, tmp_path: Path) -> None:
    """The launcher itself, around a program that ends as a trainer does."""
    (tmp_path / "program.py").write_text(
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "rank = os.environ['LUTHIER_LOCAL_RANK']\n"
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit({int(ExitCode.INTERRUPTED)}))\n"
        f"Path({str(tmp_path)!r}, 'ready-' + rank).write_text(os.environ['LUTHIER_MASTER'])\n"
        "time.sleep(60)\n"
    )
    (tmp_path / "order.json").write_text(make_spec(gpus=2).model_dump_json(by_alias=True))
    (tmp_path / "launcher.py").write_text(
        "import os, sys\n"
        "from luthier_api.runspec import read_order\n"
        "from luthier_trainer.distributed.launch import launch\n"
        f"sys.orig_argv[1:] = [{str(tmp_path / 'program.py')!r}]\n"
        f"order = read_order(open({str(tmp_path / 'order.json')!r}, 'rb').read())\n"
        "os._exit(launch(order, 2))\n"
    )
    pod = subprocess.Popen([sys.executable, str(tmp_path / "launcher.py")], env=dict(os.environ))
    try:
        ready = [tmp_path / f"ready-{rank}" for rank in range(2)]
        _until(lambda: all(path.exists() and path.read_text() for path in ready))
        assert len({path.read_text() for path in ready}) == 1
        pod.send_signal(signal.SIGTERM)
        assert pod.wait(20) == ExitCode.INTERRUPTED
    finally:
        pod.kill()
        pod.wait(20)


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_launcher_needs_no_torch() -> None:
    code = "import sys, luthier_trainer.main; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert launching.__doc__
