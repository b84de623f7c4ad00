"""What this machine is, and which devices of ONNX Runtime it has."""

from pathlib import Path

from luthier_trainer.machine.runtime import threads


def runs_here(device: str) -> bool:
    """Whether packages for a device (cpu, cuda or dml) can be run in this pod."""
    if device == "cpu":
        return True
    import onnxruntime_genai as og

    return bool(og.is_cuda_available() if device == "cuda" else og.is_dml_available())


def machine() -> str:
    """What figures of speed depend on, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown CPU'}, {threads()} threads"
