"""A run in W&B, by its own client in a process of its own (wandbchild.py).

Its id is the run's key: whoever goes on asks W&B for the same one. Offline, the whole run is
written anew by each pod, from the journal.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal

from luthier_api.tracking import WANDB_KEY, WANDB_URI, Wandb
from luthier_trainer.credentials import credential
from luthier_trainer.errors import TrainerError
from luthier_trainer.log import log
from luthier_trainer.tracking import wandbchild
from luthier_trainer.tracking.tracker import About, Known, Outcome, Point, TrackerError

# The folder of the client and what it needs, where that isn't among the trainer's own packages.
_FOLDER = "LUTHIER_WANDB"
# What the client needs of this process' environment: no credentials are among it.
_PASSED = ("PATH", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_INIT_SECONDS, _OPEN_SECONDS, _CALL_SECONDS, _FINISH_SECONDS = 30, 90, 20, 20
_CODE: dict[Outcome, int] = {"Finished": 0, "Failed": 1, "Interrupted": 255}
_MOST_NAME = 128
_REFUSED = {"AuthenticationError", "UsageError"}


class WandbRun:
    """See tracker.Tracker. `keep`: puts a run's file beside the result, for `wandb sync`."""

    name: Literal["WandB"] = "WandB"

    def __init__(
        self, wish: Wandb, about: About, folder: Path, keep: Callable[[Path], None]
    ) -> None:
        self.id: str | None = None
        self.url: str | None = None
        self._wish, self._about = wish, about
        self._folder, self._keep = folder / "wandb", keep
        self._process: subprocess.Popen[str] | None = None
        self._file: Path | None = None
        self._told: dict[str, Any] = {}

    def open(self, known: Known) -> int:
        self._stop()
        self._start()
        about, wish = self._about, self._wish
        self._told = self._config(known)
        run = {
            "id": about.key,
            "name": about.name[:_MOST_NAME],
            "entity": wish.entity,
            "project": wish.project or f"{about.namespace}-{about.job}"[:_MOST_NAME],
            "group": about.group or about.job,
            "job_type": "trial" if about.group else "finetune",
            "config": {**about.spec, **self._told},
            "dir": str(self._folder),
        }
        settings: dict[str, Any] = {"finish_timeout": _FINISH_SECONDS}
        if wish.is_offline:
            run["mode"] = "offline"
        else:
            run |= {"mode": "online", "resume": "allow"}
            settings |= {"base_url": wish.uri or WANDB_URI, "init_timeout": _INIT_SECONDS}
            settings |= {"api_key": self._key(), "finish_timeout_raises": True}
        answer = self._call("open", _OPEN_SECONDS, settings=settings, run=run)
        self._file = Path(answer["folder"]) / f"run-{about.key}.wandb"
        self.id, self.url = about.key, answer["url"]
        return int(answer["step"])

    def know(self, known: Known) -> None:
        config = self._config(known)
        new = {name: it for name, it in config.items() if self._told.get(name) != it}
        if new:
            self._call("know", _CALL_SECONDS, config=new)
        self._told |= new

    def measure(self, points: Sequence[Point]) -> None:
        document = [{"step": it.step, "time": it.time, "values": it.values} for it in points]
        self._call("measure", _CALL_SECONDS, points=document)

    def end(self, known: Known) -> None:
        self.know(known)
        assert known.end
        self._call("end", _FINISH_SECONDS + 5, summary=dict(known.results), code=_CODE[known.end])
        if self._wish.is_offline:
            self._save()
        self._file = None

    def close(self) -> None:
        self._stop()
        try:
            self._save()
        except Exception as error:
            log(f"warning: {self.name}: the run's file is lost: {type(error).__name__}")

    def _save(self) -> None:
        if self._file and self._file.is_file():
            self._keep(self._file)
            self._file = None

    def _config(self, known: Known) -> dict[str, Any]:
        """Beside the spec."""
        return {"luthier": dict(known.facts), "resolved": dict(known.resolved)}

    def _key(self) -> str:
        ref = self._wish.api_key_secret_ref
        try:
            found = credential(WANDB_KEY, "tracking.wandb.apiKeySecretRef") if ref else None
        except TrainerError as error:
            raise TrackerError(error.error.message, refused=True) from None
        if found:
            return found
        missing = (
            f"the Secret {ref.name} has no key {ref.key}, or isn't there: make it"
            if ref
            else "it takes an API key: name a Secret in tracking.wandb.apiKeySecretRef"
        )
        raise TrackerError(missing, refused=True)

    def _start(self) -> None:
        packages = [it for it in (os.environ.get(_FOLDER),) if it]
        if not PathFinder.find_spec("wandb", packages or None):
            raise TrackerError(
                "the trainer's image has no client of W&B: use the image trainer-wandb "
                "(docs/tracking.md), or install wandb beside `luthier run`",
                refused=True,
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        names = [it for it in os.environ if it in _PASSED or it.lower() in _PROXIES]
        home = str(self._folder)
        environment = {
            **{name: os.environ[name] for name in names},
            "HOME": home,
            "TMPDIR": home,
            "WANDB_ERROR_REPORTING": "false",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", wandbchild.__file__, *packages],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with suppress(OSError):
                pipe.close()
        self._process = None

    def _call(self, do: str, seconds: float, **arguments: Any) -> Mapping[str, Any]:
        process = self._process
        assert process
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
        except OSError:
            raise TrackerError("its client has died") from None
        line = _line(process.stdout, seconds)
        answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {"error": "Died"}
        if error := answer.get("error"):
            raise self._failure(str(error), str(answer.get("told", "")))
        return answer

    def _failure(self, error: str, told: str) -> TrackerError:
        """In our own words; the client's are for the log."""
        if told:
            log(f"{self.name}: {error}: {told}")
        server = self._wish.uri or WANDB_URI
        if error == "AuthenticationError":
            words = f"{server} refuses the API key of tracking.wandb.apiKeySecretRef"
        elif error == "Died":
            words = "its client has died"
        else:
            words = f"{server} can't be told ({error}); the log says more"
        return TrackerError(words, refused=error in _REFUSED)


def _line(answers: Any, seconds: float) -> str:
    """The next one. Raises TrackerError where none comes in time."""
    ready, _, _ = select.select([answers], [], [], seconds)
    if not ready:
        raise TrackerError(f"no answer in {seconds:.0f} s")
    line: str = answers.readline()
    return line
