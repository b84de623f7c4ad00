"""What a run that fails leaves behind: its last checkpoint, and an error that names the remedy."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from unit.trainer.support import READ_ONLY_KEY, MakeSpec, Seaweed

from luthier_api.result import ExitCode
from luthier_trainer.errors import Superseded, TrainerError
from luthier_trainer.finetune.run import Run
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training import checkpoint
from luthier_trainer.training.checkpointwriter import CheckpointWriter

# Fails in an early step; what comes before training, such as the estimate, calls it too.
LOSS = """
from pathlib import Path

calls = 0

def loss(outputs, batch):
    global calls
    calls += 1
    if calls > 6:
        Path(__file__).with_name("failed").touch()
        raise ValueError("no more")
    return outputs.logits.float().pow(2).mean()
"""


@pytest.fixture
def failing(make_spec: MakeSpec, tmp_path: Path) -> Run:
    """A run whose own loss fails after a few steps."""
    code = tmp_path / "maps" / "code" / "code.py"
    code.parent.mkdir(parents=True)
    code.write_text(LOSS)
    loss = {"configMapRef": {"name": "code", "key": "code.py"}, "entrypoint": "loss"}
    training = {"maxSteps": 20, "gradientAccumulationSteps": 1, "loss": loss}
    return Run(make_spec(training=training, config_maps_dir=str(tmp_path / "maps")))


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes storage in which checkpoints are uploaded only when training has failed and waits for
    them, each file in `seconds`; before them it calls `then`."""
    upload, drain = FileStore.upload, CheckpointWriter.drain
    failed = tmp_path / "maps" / "code" / "failed"
    waits = threading.Event()

    def draining(self: CheckpointWriter, seconds: float) -> bool:
        if failed.exists():
            waits.set()
        return drain(self, seconds)

    def make(seconds: float, then: Callable[[], None] = lambda: None) -> None:
        def uploading(self: FileStore, key: str, path: Path) -> None:
            if key.startswith("checkpoints/"):
                waits.wait(60)
                then()
                time.sleep(seconds)
            upload(self, key, path)

        monkeypatch.setattr(FileStore, "upload", uploading)
        monkeypatch.setattr(CheckpointWriter, "drain", draining)

    return make


@pytest.fixture
def handlers_restored() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def reached(run: Run) -> int:
    progress = run.pod.reporter.progress
    assert progress
    return progress.step


def saved_step(run: Run, scratch: Path) -> int | None:
    """The step of the newest checkpoint that can be read."""
    output = FileStore(Path(run.pod.order.output.removeprefix("file://")))
    found = checkpoint.read_latest(output, scratch)
    return found[0].step if found else None


def test_a_failure_waits_for_the_checkpoint_that_is_being_uploaded(
    failing: Run, slow: Callable[..., None], tmp_path: Path
) -> None:
    slow(0.2)
    with pytest.raises(TrainerError, match=r"UserCodeFailed.*no more"):
        failing.execute()
    assert 0 < reached(failing) == saved_step(failing, tmp_path)


def test_sigterm_meanwhile_leaves_it_the_grace_period(
    failing: Run, slow: Callable[..., None], tmp_path: Path, handlers_restored: None
) -> None:
    """The failure stays the run's end: a further pod would fail in the same way."""

    def terminate() -> None:
        if not failing.pod.interrupt.requested:
            os.kill(os.getpid(), signal.SIGTERM)

    slow(0.5, terminate)
    failing.pod.interrupt.install()
    with pytest.raises(TrainerError, match=r"UserCodeFailed.*no more"):
        failing.execute()
    assert failing.pod.interrupt.requested
    assert 0 < reached(failing) == saved_step(failing, tmp_path)


def test_a_failure_does_not_wait_for_ever(
    failing: Run,
    slow: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("luthier_trainer.finetune.state._SAVE_SECONDS", 0.5)
    slow(20.0)
    with pytest.raises(TrainerError, match="UserCodeFailed"):
        failing.execute()
    assert "0.5 s weren't enough to upload the last checkpoint" in capfd.readouterr().err


def test_a_pod_that_was_replaced_saves_nothing_more(
    failing: Run, slow: Callable[..., None], tmp_path: Path, handlers_restored: None
) -> None:
    slow(10.0, failing.pod.interrupt.supersede)
    failing.pod.interrupt.install()
    with pytest.raises(Superseded):
        failing.execute()
    assert saved_step(failing, tmp_path) is None


def test_an_output_that_may_not_be_written(
    make_spec: MakeSpec, s3: object, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told before the base is loaded, with what to check."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READ_ONLY_KEY)
    run = Run(
        make_spec(
            output="s3://artifacts/team-a/read-only/r1",
            storage=seaweed.access(retry_seconds=60).to_json(),
        )
    )
    started = time.monotonic()
    with pytest.raises(TrainerError) as caught:
        run.execute()
    error = caught.value.error
    assert caught.value.exit_code == ExitCode.DENIED
    assert (error.code, error.param) == ("StorageDenied", "output.uri")
    for words in ("s3://artifacts/team-a/read-only/r1", "write claim.json", "storage.secretName"):
        assert words in error.message
    assert time.monotonic() - started < 30
    assert run.pod.reporter.progress.stage == "Preflight"
