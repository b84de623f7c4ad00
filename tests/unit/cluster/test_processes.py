"""Processes are known by pid and start time, and their ends are seen."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from luthier_cluster import processes, wait
from luthier_cluster.processes import Process


@contextmanager
def child(code: str = "pass") -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code`, says so, and sleeps."""
    script = f"import signal, time; {code}; print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        started.stdout.readline()
        try:
            yield started
        finally:
            started.kill()


def known(started: subprocess.Popen[str]) -> Process:
    start = processes.start_time(started.pid)
    assert start is not None
    return Process(started.pid, start, ["child"])


def test_a_name_with_brackets_and_blanks_does_not_shift_the_fields() -> None:
    fields = ["S", *map(str, range(4, 22)), "98765", "0"]
    assert processes.parse_stat(f"12 (a) b (c) {' '.join(fields)}") == ("S", 98765)


def test_a_recycled_pid_is_neither_found_nor_killed(tmp_path: Path) -> None:
    with child() as started:
        earlier = replace(known(started), start=known(started).start - 1)
        file = tmp_path / "pid.json"
        file.write_text(json.dumps(asdict(earlier)))
        assert processes.read(file) is None
        processes.kill(earlier)
        assert started.poll() is None


def test_kill_ends_it_and_leaves_no_zombie() -> None:
    with child() as started:
        process = known(started)
        processes.kill(process)
        assert not processes.alive(process)
        # It may have been a zombie at that question, which the next one buries.
        processes.alive(process)
        assert not Path(f"/proc/{process.pid}").exists()


def test_a_zombie_counts_as_dead() -> None:
    """Its parent never waits for it."""
    with child("import os; os.fork() or os._exit(0)") as parent:
        pid = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text())
        stat = Path(f"/proc/{pid}/stat")
        assert wait.until(lambda: processes.parse_stat(stat.read_text())[0] == "Z", 10)
        assert processes.start_time(pid) is None


def test_stop_insists_with_what_ignores_it() -> None:
    with child("signal.signal(signal.SIGTERM, signal.SIG_IGN)") as started:
        process = known(started)
        processes.stop(process, grace=0.3)
        assert not processes.alive(process)


def test_a_signal_to_nobody_is_no_error() -> None:
    with child() as started:
        process = known(started)
        processes.kill(process)
        processes.send(process, signal.SIGTERM)


def test_memory_of_this_process_is_plausible() -> None:
    me = Process(os.getpid(), processes.start_time(os.getpid()) or 0, [])
    assert 5 < processes.memory_mib(me) < 100_000


def test_tail_reads_the_end_of_a_large_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n}\n" for n in range(200_000)))
    assert processes.tail(log, 2) == "line 199998\nline 199999"
    assert processes.tail(tmp_path / "none", 2) == ""
