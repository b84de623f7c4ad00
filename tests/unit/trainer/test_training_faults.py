"""What ends a training, before it spoils the weights."""

import errno
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from unit.trainer.training_runs import Causal, Fit

from luthier_api.result import ExitCode
from luthier_trainer.distributed.world import World
from luthier_trainer.errors import TrainerError, from_exception
from luthier_trainer.objectives.objective import Batch
from luthier_trainer.training import checkpoint


class Spoilt(Causal):
    """The loss of the `at`-th batch is `value`; or only its gradient is infinite."""

    def __init__(self, at: int, value: float, gradient: bool = False) -> None:
        super().__init__()
        self.at, self.value, self.gradient, self.calls = at, value, gradient, 0

    def loss(self, model: nn.Module, batch: Any, count: Any) -> Any:
        self.calls += 1
        loss = super().loss(model, batch, count)
        if self.calls != self.at:
            return loss
        self.batch = batch
        if self.gradient:
            loss.register_hook(lambda grad: grad * float("inf"))
            return loss
        return loss * self.value


class Dying(Causal):
    """The process that makes a batch of it ends as told."""

    def __init__(self, die: Callable[[], None]) -> None:
        super().__init__()
        self.die = die

    def collate(self, items: Sequence[Any]) -> Batch:
        self.die()
        return super().collate(items)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ended() -> None:
    os._exit(1)


@pytest.mark.parametrize("die", [killed, ended])
def test_a_loader_that_dies_is_told_with_the_levers(
    die: Callable[[], None], tmp_path: Path
) -> None:
    fit = Fit(tmp_path, objective=Dying(die), settings={"dataloaderWorkers": 1})
    with pytest.raises(RuntimeError) as caught:
        fit()
    told_as_lack_of_memory(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        # As torch says it.
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your shared memory "
        "limit.",
        "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to allocate "
        "shared memory(shm) for file </torch_7>: No space left on device (28)",
    ],
)
def test_a_loader_without_shared_memory_is_told_with_the_levers(words: str) -> None:
    told_as_lack_of_memory(RuntimeError(words))


def told_as_lack_of_memory(error: Exception) -> None:
    told = from_exception(error).error
    assert (told.code, told.param) == ("OutOfMemory", "training.dataloaderWorkers")
    for words in ("DataLoader worker", "dataloaderWorkers", "perDeviceBatchSize", "sharedMemory"):
        assert words in told.message


def test_a_loader_that_fails_otherwise_is_no_lack_of_memory() -> None:
    for words in (
        "DataLoader worker (pid 7) is killed by signal: Segmentation fault. ",
        "Caught KeyError in DataLoader worker process 0.",
    ):
        assert from_exception(RuntimeError(words)).error.code == "InternalError"


@pytest.mark.parametrize(
    ("value", "gradient", "code"),
    [
        (float("nan"), False, "LossNotFinite"),
        (float("inf"), False, "LossNotFinite"),
        (1.0, True, "GradientNotFinite"),
    ],
)
def test_no_step_is_made_with_what_is_no_number(
    value: float, gradient: bool, code: str, tmp_path: Path
) -> None:
    """The sixth batch is the second of step 3."""
    fit = Fit(tmp_path, objective=Spoilt(6, value, gradient))
    with pytest.raises(TrainerError) as caught:
        fit()
    error = caught.value
    assert error.exit_code == ExitCode.UNSUPPORTED
    assert error.error.code == code
    assert error.error.param == "training.learningRate"
    assert "step 3" in error.error.message
    assert "data.jsonl:" in error.error.message
    assert all(torch.isfinite(p).all() for p in fit.model.parameters())
    assert fit.writer.drain(60)
    found = checkpoint.read_latest(fit.store, tmp_path)
    assert found
    assert found[0].step == 2
    weights = {n.removeprefix("model."): t for n, t in found[0].tensors.items()}
    for name, parameter in fit.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name


def test_the_rows_of_the_bad_batch_are_named(tmp_path: Path) -> None:
    objective = Spoilt(6, float("nan"))
    fit = Fit(tmp_path, objective=objective)
    with pytest.raises(TrainerError) as caught:
        fit()
    message = caught.value.error.message
    named = {int(part.split(",")[0].split(";")[0]) for part in message.split("data.jsonl:")[1:]}
    ids = {tuple(row[row != 0].tolist()) for row in objective.batch["input_ids"]}
    assert {tuple(fit.items[index].ids) for index in named} == ids


@pytest.mark.parametrize("place", ["scratch", "store"])
def test_a_full_disk_is_told(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system's own answer, at the place where it would come."""
    fit = Fit(tmp_path)

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/tensors")

    if place == "scratch":
        monkeypatch.setattr(checkpoint, "write_tensors", full)
    else:
        fit.store.upload = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left") as caught:
        fit()
    told = from_exception(caught.value)
    assert told.error.message.startswith("No room is left on the disk: /scratch/tensors. ")


def test_a_really_full_disk_is_told() -> None:
    """/dev/full answers each write with ENOSPC."""
    from luthier_trainer.models.tensorfile import write_tensors

    with pytest.raises(OSError, match="No space left") as caught:
        write_tensors(Path("/dev/full"), {"a": torch.rand(10**6)})
    assert from_exception(caught.value).error.code == "DiskFull"


def test_noise_needs_embeddings(tmp_path: Path) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

    fit = Fit(tmp_path, make_model=Bare, settings={"neftuneNoiseAlpha": 5})
    with pytest.raises(TrainerError) as caught:
        fit()
    assert caught.value.error.code == "NoInputEmbeddings"
    assert caught.value.error.param == "training.neftuneNoiseAlpha"


def test_fp16_leaves_out_steps_whose_gradient_overflows_but_not_for_ever() -> None:
    from luthier_trainer.training.nonfinite import NonFiniteCheck

    check = NonFiniteCheck("row {}".format, scaled=True, world=World())
    for step in range(25):
        check.begin([[step]])
        check.add(torch.tensor(1.0))
        check.check(torch.tensor(1.0), torch.tensor(float("inf")), step)
    check.begin([[1, 2]])
    check.add(torch.tensor(1.0))
    with pytest.raises(TrainerError, match="row 1, row 2"):
        check.check(torch.tensor(1.0), torch.tensor(float("inf")), 26)


def test_fp16_does_not_wait_where_the_loss_is_no_number() -> None:
    """Its scale is the gradient's: the loss would stay what it is."""
    from luthier_trainer.training.nonfinite import NonFiniteCheck

    check = NonFiniteCheck("row {}".format, scaled=True, world=World())
    check.begin([[1, 2], [3]])
    check.add(torch.tensor(1.0))
    check.add(torch.tensor(float("nan")))
    with pytest.raises(TrainerError, match=r"LossNotFinite.*a batch of row 3;"):
        check.check(torch.tensor(float("nan")), torch.tensor(float("nan")), 1)
