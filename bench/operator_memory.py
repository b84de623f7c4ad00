"""Memory of the operator's process: idle, and with finished resources in the cluster.

The resources are made while the operator is scaled to zero, with the status that a finished run
leaves, so that none of them starts a Job.
"""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from bench.local import Bench


def resident_mib(bench: Bench) -> float:
    """VmRSS of the operator's process, MiB."""
    status = (bench.operator_process() / "status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return int(kib) / 1024


def make_finished(bench: Bench, count: int) -> None:
    """`count` resources whose status says that their revision is complete."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bench.create_finished, (f"finished-{n:04}" for n in range(count))))


def scale(bench: Bench, replicas: int) -> None:
    words = ["-n", "luthier-system", "scale", "deployment/luthier", f"--replicas={replicas}"]
    bench.cluster.kubectl(*words)
    if replicas:
        bench.cluster.kubectl(
            "-n", "luthier-system", "rollout", "status", "deployment/luthier", "--timeout=120s",
            within=130,
        )  # fmt: skip
        time.sleep(10)  # until the store is filled and quiet
    else:
        deadline = time.monotonic() + 60
        while bench.operator_pods():
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("scale to zero", 60)
            time.sleep(0.5)


def rows(bench: Bench, count: int = 1000) -> list[tuple[str, str]]:
    """(what, figure) for the table."""
    scale(bench, 0)
    scale(bench, 1)
    idle = resident_mib(bench)
    scale(bench, 0)
    make_finished(bench, count)
    scale(bench, 1)
    full = resident_mib(bench)
    return [
        ("operator, resident, idle", f"{idle:.0f} MiB"),
        (f"operator, resident, {count:,} finished resources", f"{full:.0f} MiB"),
    ]
