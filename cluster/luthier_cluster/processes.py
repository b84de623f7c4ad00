"""Long-running processes: started in a network namespace, known again by pid and start time."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from . import commands, wait
from .errors import ClusterError
from .record import write_private


@dataclass(frozen=True)
class Process:
    """`start` is the process's start time in clock ticks since boot (proc(5), stat, field 22).

    With it a pid that the kernel has given to somebody else is never taken for ours.
    """

    pid: int
    start: int
    command: list[str]


def parse_stat(stat: str) -> tuple[str, int]:
    """State and start time from /proc/PID/stat; the name in it may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def start_time(pid: int) -> int | None:
    """When a living process started; None for one that is gone or a zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        state, start = parse_stat(Path(f"/proc/{pid}/stat").read_text())
        # A killed leader is a zombie while its other threads still hold the sockets.
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" and threads <= 1 else start


def command_line(pid: int) -> bytes:
    """Its words, each ended by a NUL byte; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def in_pod(pod_uid: str, word: str) -> int:
    """The process of that pod whose command line holds `word`; LookupError if there is none."""
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        try:
            # systemd's cgroup names have underscores for the uid's dashes.
            cgroup = (folder / "cgroup").read_text().replace("_", "-")
        except OSError:  # it has just ended
            continue
        if pod_uid in cgroup and word.encode() in command_line(pid):
            return pid
    raise LookupError(f"no process with {word!r} in pod {pod_uid}")


def alive(process: Process) -> bool:
    return start_time(process.pid) == process.start


def read(pid_file: Path) -> Process | None:
    """The living process that the file tells of, or None."""
    try:
        process = Process(**json.loads(pid_file.read_text()))
    except FileNotFoundError:
        return None
    return process if alive(process) else None


def start(
    command: Sequence[str], *, pid_file: Path, log: Path, netns_file: Path, folder: Path
) -> Process:
    """Starts `command` in the network namespace, detached from this process and its terminal.

    `nsenter` and not `ip netns exec`: that one remounts /sys and hides the cgroups.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    words = ["nsenter", f"--net={netns_file}", f"--wd={folder}", "--", *command]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # An interrupt between the start and the note of it would orphan the process.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        pid = os.posix_spawnp(
            words[0],
            words,
            {"PATH": commands.PATH, "HOME": str(folder)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
        )
        process = Process(pid, start_time(pid) or 0, list(command))
        write_private(pid_file, json.dumps(asdict(process)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return process


def send(process: Process, number: int) -> None:
    """A signal, to this process and to no later one with its pid."""
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def stop(process: Process, *, grace: float = 10) -> None:
    """SIGTERM, and SIGKILL to what is still there after `grace` seconds."""
    send(process, signal.SIGTERM)
    if not wait.until(lambda: not alive(process), grace, every=0.02):
        kill(process)


def kill(process: Process) -> None:
    """SIGKILL; `ClusterError` if the process is still there ten seconds later."""
    send(process, signal.SIGKILL)
    if not wait.until(lambda: not alive(process), 10, every=0.02):
        raise ClusterError(f"process {process.pid} ({process.command[0]}) outlives SIGKILL")


def kill_all(pids: Sequence[int]) -> None:
    """SIGKILL to each, then waits for all of them."""
    found = [(pid, start_time(pid)) for pid in pids]
    doomed = [Process(pid, start, [""]) for pid, start in found if start is not None]
    for process in doomed:
        send(process, signal.SIGKILL)
    for process in doomed:
        kill(process)


def memory_mib(process: Process) -> float:
    """Resident memory in MiB; 0 for a process that is gone."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def tail(log: Path, lines: int) -> str:
    """The log's last lines, read from its end: logs grow to many megabytes."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - 1000 * lines))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
