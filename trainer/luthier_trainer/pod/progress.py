"""Reports to the operator: in a thread of their own, so that they never hold up a run."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from luthier_api.finetunejob import Progress
from luthier_api.progress import PROGRESS_ROUTE, ProgressReport
from luthier_api.runspec import ProgressTarget, RunIdentity
from luthier_trainer.log import log
from luthier_trainer.machine.runtime import resident_bytes
from luthier_trainer.redaction import redacted_values

_TIMEOUT = 5


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: the pod's token is for the operator alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


# In the cluster the operator is next door: a proxy is for the way out.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


class Reporter:
    """The latest state, posted every interval and when the stage changes.

    `over` is called when the operator says that this run is over (409).
    """

    def __init__(
        self,
        run: RunIdentity,
        pod: str,
        target: ProgressTarget | None,
        over: Callable[[], None],
    ) -> None:
        self._target = target
        self._over = over
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._told_refusal = False
        self._held: frozenset[str] = frozenset()
        self._report = ProgressReport(run=run, pod=pod, sequence=0, progress=Progress())
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        if target:
            self._thread.start()

    @property
    def report(self) -> ProgressReport:
        """What is known now."""
        with self._lock:
            return self._report

    @property
    def progress(self) -> Progress:
        return self.report.progress

    def stage(self, name: str) -> None:
        """Say what is being done, at once."""
        log(f"stage: {name}")
        self.update(stage=name)
        self._wake.set()

    def update(self, **values: Any) -> None:
        """Set fields of `progress`."""
        with self._lock:
            progress = self._report.progress.model_copy(update=values)
            if progress.total_steps:
                percent = f"{100 * progress.step // progress.total_steps}%"
                progress = progress.model_copy(update={"percent": percent})
            self._report = self._report.model_copy(update={"progress": progress})

    def set(self, **values: Any) -> None:
        """Set fields of the report beside `progress`, but for those that are held."""
        self.keep(**{name: it for name, it in values.items() if name not in self._held})

    def keep(self, **values: Any) -> None:
        """As `set`, whether they are held or not."""
        with self._lock:
            self._report = self._report.model_copy(update=values)

    def hold(self, *names: str) -> None:
        """From now on `set` leaves these alone: what a single trial says of itself is no news of
        the run."""
        self._held = frozenset(names)

    def close(self) -> None:
        """Send the last state, and stop."""
        if self._target:
            self._closed = True
            self._wake.set()
            self._thread.join(_TIMEOUT + 1)

    def _run(self) -> None:
        assert self._target
        while True:
            self._wake.wait(self._target.interval_seconds)
            self._wake.clear()
            last = self._closed
            try:
                self._send(self._target)
            except Exception as error:  # a report may fail, the run must not
                log(f"progress: report not sent: {type(error).__name__}")
            if last:
                return

    def _send(self, target: ProgressTarget) -> None:
        now = datetime.now(UTC)
        with self._lock:
            eta = self._report.eta_seconds
            finish = (now + timedelta(seconds=eta)).isoformat(timespec="seconds") if eta else None
            progress = self._report.progress.model_copy(
                update={
                    "memory_bytes": resident_bytes(),
                    "updated": now.isoformat(timespec="seconds"),
                    "estimated_finish": finish,
                }
            )
            self._report = self._report.model_copy(
                update={"sequence": self._report.sequence + 1, "progress": progress}
            )
            body = json.dumps(redacted_values(self._report.to_json(sparse=True))).encode()
        request = urllib.request.Request(  # noqa: S310 - the operator's URL
            target.url.rstrip("/") + PROGRESS_ROUTE, data=body, method="POST"
        )
        request.add_header("Content-Type", "application/json")
        # The kubelet replaces the token before it expires.
        token = Path(target.token_file)
        if token.is_file():
            request.add_header("Authorization", f"Bearer {token.read_text().strip()}")
        try:
            with _OPENER.open(request, timeout=_TIMEOUT):
                pass
        except urllib.error.HTTPError as error:
            self._refused(error.code)
        except (OSError, urllib.error.URLError):
            pass  # a dead operator costs a report

    def _refused(self, code: int) -> None:
        if code == 409 and not self._closed:
            log("progress: the operator says that this run is over")
            self._closed = True
            self._over()
        elif code in (401, 403) and not self._told_refusal:
            self._told_refusal = True
            log(f"progress: the operator refuses our reports ({code}); the run goes on")


class Pace:
    """Time to go, from the steps of this pod so far."""

    def __init__(self, first_step: int, total_steps: int) -> None:
        self._first = first_step
        self._total = total_steps
        self._started = time.monotonic()

    def eta_seconds(self, step: int) -> float | None:
        done = step - self._first
        if done <= 0:
            return None
        return (time.monotonic() - self._started) / done * (self._total - step)
