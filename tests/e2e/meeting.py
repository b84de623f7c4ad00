"""What pods of several nodes do where nothing is to be trained: they meet as the order says, and
then wait for a signal to end by. A program for pods, of Python's own library alone.

    python meeting.py ORDER
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

PORT = 29500
# How they end: well, by a crash, in a way that trying again can't heal.
WELL, CRASH, HOPELESS = signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP
_CODES = {WELL: 0, CRASH: 1, HOPELESS: 65, signal.SIGTERM: 75}
_ended: list[int] = []


def main() -> int:
    for number in _CODES:
        signal.signal(number, lambda caught, _: _ended.append(caught))
    order = json.loads(Path(sys.argv[1]).read_text())
    index, nodes = int(os.environ["JOB_COMPLETION_INDEX"]), int(order["nodes"])
    print(f"{index} of {nodes} looks for {order['master']}", flush=True)
    open_ends = _receive(nodes - 1) if index == 0 else _call(order["master"], index)
    if open_ends:
        print(f"{index} has met all {nodes}", flush=True)
    while not _ended:
        time.sleep(0.1)
    code = _CODES[signal.Signals(_ended[0])]
    if index == 0 and code in (0, 65):
        Path("/dev/termination-log").write_text(json.dumps(_result(order, code)))
    return code


def _receive(others: int) -> list[socket.socket]:
    """All that have called, once the last one has."""
    with socket.create_server(("", PORT)) as server:
        server.settimeout(0.2)
        callers: list[socket.socket] = []
        while len(callers) < others and not _ended:
            try:
                caller, _ = server.accept()
            except TimeoutError:
                continue
            caller.settimeout(None)
            callers.append(caller)
    for caller in callers:
        caller.sendall(b"met\n")
    return callers


def _call(master: str, index: int) -> list[socket.socket]:
    """Call the first one by its name, which may be there later than this pod."""
    while not _ended:
        try:
            call = socket.create_connection((master, PORT), timeout=2)
            call.settimeout(60)
            if call.recv(4) == b"met\n":
                return [call]
        except OSError as error:
            print(f"{index}: {error}", flush=True)
            time.sleep(0.2)
    return []


def _result(order: dict[str, Any], code: int) -> dict[str, Any]:
    run = {"revision": order["run"]["revision"], "attempt": order["run"]["attempt"]}
    if code:
        error = {"code": "NoRows", "message": "There is nothing to learn from."}
        return run | {"outcome": "Failed", "error": error}
    artifact = {"uri": order["output"], "manifestSha256": "0" * 64}
    return run | {"outcome": "Succeeded", "artifact": artifact}


if __name__ == "__main__":
    sys.exit(main())
