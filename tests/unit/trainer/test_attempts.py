"""The records of pods: counting, no progress, fencing; and the claim on an output."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.trainer.support import MakeSpec

from luthier_api.result import ExitCode
from luthier_api.runstatus import Usage
from luthier_trainer.errors import Superseded, TrainerError
from luthier_trainer.pod import attempts as attempts_module
from luthier_trainer.pod.attempts import Attempts
from luthier_trainer.pod.claim import read_claim, take_claim
from luthier_trainer.storage.filestore import FileStore

StartPod = Callable[..., Attempts]
DIGEST = "sha256:data"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def pod(store: FileStore, make_spec: MakeSpec) -> StartPod:
    """Starts a pod of a run: pod(resumed_from, attempt=1, uid="uid-1")."""

    def start(resumed_from: int = 0, **identity: object) -> Attempts:
        attempts = Attempts(store, make_spec(run=identity).run)
        attempts.begin(resumed_from)
        return attempts

    return start


def test_failures_and_disruptions_are_told_apart(pod: StartPod) -> None:
    pod(0)  # died without a word
    pod(4).end("Interrupted", None, Usage(cpu_seconds=10, trained_tokens=100))
    pod(8).end("Failed", "InternalError", Usage(cpu_seconds=5, trained_tokens=50))
    last = pod(12)
    assert last.restarts.failures == 2
    assert last.restarts.disruptions == 1
    assert last.restarts.total == 3
    last.advance(14, Usage(cpu_seconds=1, trained_tokens=7))
    assert last.usage == Usage(cpu_seconds=16, gpu_seconds=0, trained_tokens=157)


def test_two_deaths_at_one_checkpoint_end_the_run(pod: StartPod) -> None:
    pod(4)
    pod(8)
    pod(8).end("Interrupted", None, Usage())  # no death
    pod(8)
    with pytest.raises(TrainerError) as caught:
        pod(8)
    assert caught.value.exit_code == ExitCode.NO_PROGRESS
    assert caught.value.error.code == "NoProgress"
    assert "perDeviceBatchSize" in caught.value.error.message
    pod(8, attempt=2)  # the user's retry may try again


def test_deaths_with_progress_go_on(pod: StartPod) -> None:
    for step in (0, 4, 4, 8, 12):
        pod(step)


def test_a_newer_pod_fences_the_older(pod: StartPod) -> None:
    old = pod(0)
    old.fence()
    new = pod(0)
    new.fence()
    with pytest.raises(Superseded):
        old.fence()


def test_a_pod_of_an_older_attempt_does_not_begin(pod: StartPod) -> None:
    pod(0, attempt=2)
    with pytest.raises(Superseded):
        pod(0, attempt=1)


def test_a_restarted_container_leaves_a_record_of_its_own(
    pod: StartPod, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POD_UID", "pod-1")
    pod(0)
    assert pod(4).restarts.failures == 1
    assert len(store.entries("attempts/")) == 2


class TestClaim:
    def take(
        self, store: FileStore, make_spec: MakeSpec, uid: str, digest: str = DIGEST, **fields: Any
    ) -> Attempts:
        spec = make_spec(run={"uid": uid}, output="file:///claimed").model_copy(update=fields)
        attempts = Attempts(store, spec.run)
        take_claim(store, spec, digest, attempts)
        attempts.begin(0)
        return attempts

    def test_the_first_one_holds_it(self, store: FileStore, make_spec: MakeSpec) -> None:
        self.take(store, make_spec, "uid-1")
        self.take(store, make_spec, "uid-1")
        claim = read_claim(store)
        assert claim
        assert (claim.uid, claim.dataset_digest) == ("uid-1", DIGEST)

    def test_another_is_refused_while_pods_may_run(
        self, store: FileStore, make_spec: MakeSpec
    ) -> None:
        self.take(store, make_spec, "uid-1")
        with pytest.raises(TrainerError) as caught:
            self.take(store, make_spec, "uid-2", grace_seconds=0)
        assert caught.value.exit_code == ExitCode.OUTPUT_CLAIMED
        assert caught.value.error.code == "OutputClaimed"
        assert caught.value.error.param == "output.uri"
        assert "team-a/colours" in caught.value.error.message

    def test_a_namesake_of_before_has_its_grace_to_end_in(
        self, store: FileStore, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Deleted and applied again while its pod saves what it has.
        first = self.take(store, make_spec, "uid-1")
        monkeypatch.setattr(attempts_module, "POLL_SECONDS", 0.01)
        ending = threading.Timer(0.2, first.end, ("Interrupted", None, Usage()))
        ending.start()
        self.take(store, make_spec, "uid-2", grace_seconds=60)
        ending.join()
        claim = read_claim(store)
        assert claim
        assert claim.uid == "uid-2"

    def test_another_takes_over_what_has_ended(self, store: FileStore, make_spec: MakeSpec) -> None:
        first = self.take(store, make_spec, "uid-1")
        first.end("Interrupted", None, Usage())
        self.take(store, make_spec, "uid-2")
        claim = read_claim(store)
        assert claim
        assert claim.uid == "uid-2"
        with pytest.raises(Superseded):
            first.fence()

    def test_another_shape_is_refused(self, store: FileStore, make_spec: MakeSpec) -> None:
        self.take(store, make_spec, "uid-1").end("Failed", "x", Usage())
        with pytest.raises(TrainerError) as caught:
            self.take(store, make_spec, "uid-2", shape_hash="0" * 64)
        assert caught.value.error.code == "OutputClaimed"

    def test_the_data_is_pinned(self, store: FileStore, make_spec: MakeSpec) -> None:
        self.take(store, make_spec, "uid-1")
        with pytest.raises(TrainerError) as caught:
            self.take(store, make_spec, "uid-1", digest="sha256:other")
        assert caught.value.exit_code == ExitCode.DATA
        assert caught.value.error.code == "DatasetChanged"
