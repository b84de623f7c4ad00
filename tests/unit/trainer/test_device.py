"""Where a run computes follows from its spec, not from what is visible."""

from pathlib import Path

import pytest
import torch
from unit.trainer.cells import source, tuned

from luthier_api.training import Training
from luthier_trainer.errors import TrainerError
from luthier_trainer.machine import device, memory
from luthier_trainer.models.precision import Precision, resolve_precision
from luthier_trainer.models.quantized import quantized_device
from luthier_trainer.training import environment, generators
from luthier_trainer.training.estimate import memory_of

TRAINER = Path(device.__file__).parent


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_asked", None)


@pytest.fixture
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that torch sees. Whoever touches it fails: there is none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.usefixtures("visible")
def test_a_gpu_that_was_not_asked_for_is_left_alone() -> None:
    assert device.on_gpu()
    device.decide(0)
    assert not device.on_gpu()
    assert device.name() == "cpu"
    assert resolve_precision("auto", 0).name in ("fp32", "bf16")
    assert memory.limit_bytes(1000) == 1000
    assert memory.used_bytes() > 0
    assert memory.peak_bytes() > 0
    assert "generator.cuda" not in generators.capture()[0]
    assert "GPU" not in environment.environment("fp32", 1, {})["device"]
    assert quantized_device() == {"": "cpu"}
    model = tuned(source("llama"), "lora", Precision("fp32")).model
    assert model.device.type == "cpu"
    calibrated = _Calibration()
    assert memory_of(model, Training(max_steps=1), 0, calibrated).snapshots > 0  # type: ignore[arg-type]


class _Calibration:
    copy_bytes = 0


def test_no_gpu_where_one_was_asked_for_is_told() -> None:
    with pytest.raises(TrainerError, match=r"placement\.gpus is 1") as caught:
        device.decide(1)
    assert caught.value.error.code == "NoGpu"
    device.decide(0)


@pytest.mark.parametrize(("gpus", "settings"), [(0, {"CUDA_VISIBLE_DEVICES": ""}), (1, {})])
def test_libraries_see_none_either(gpus: int, settings: dict[str, str]) -> None:
    assert device.visible(gpus) == settings


@pytest.mark.usefixtures("visible")
@pytest.mark.parametrize(("native", "auto"), [(True, "bf16"), (False, "fp16")])
def test_emulated_bfloat16_is_not_chosen(
    native: bool, auto: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As torch has it: cards before Ampere count unless it is told not to count emulation."""

    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    device.decide(1)
    assert resolve_precision("auto", 1).name == auto
    assert resolve_precision("bf16", 1).name == "bf16"
    assert ("emulates bfloat16" in capsys.readouterr().err) is not native


def test_one_place_looks_for_a_gpu() -> None:
    """All others ask it: two answers would put batches and weights on different processors."""
    looking = [
        path.relative_to(TRAINER).as_posix()
        for path in TRAINER.rglob("*.py")
        if "cuda.is_available()" in path.read_text()
    ]
    assert looking == ["device.py"]
