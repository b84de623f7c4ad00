"""What this machine is."""

from pathlib import Path

from luthier_trainer.machine.runtime import threads


def machine() -> str:
    """What figures of speed depend on, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {threads()} threads"
