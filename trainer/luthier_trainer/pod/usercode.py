"""Code of the user's own: loaded from a file, and its faults told by its file and line.

Whether it may run at all is decided before: the operator asks the platform's consent.
"""

import contextlib
import io
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier_api.meta import CodeRef, ConfigMapKeyRef
from luthier_api.runspec import RunOrder, RunSpec
from luthier_trainer.data.row import hidden
from luthier_trainer.errors import (
    TrainerError,
    from_exception,
    stands_in,
    unsupported,
    words_of,
)
from luthier_trainer.log import log, log_traceback
from luthier_trainer.machine.runtime import all_packages
from luthier_trainer.storage.filestore import FileStore

_LACKS = ("OutOfMemory", "DiskFull")
_BRIEF = 80


def has_code(order: RunOrder) -> bool:
    """Whether a run executes code of the user's."""
    if not isinstance(order, RunSpec):
        return False
    tuning = order.fine_tuning
    return bool(tuning.training.loss or tuning.evaluation.script)


def made_with_code(manifest: Mapping[str, Any]) -> bool:
    """Whether code of the user's took part in a run, by the manifest of its artifact: what is made
    of it is then that code's word, too."""
    if manifest.get("customCode"):
        return True
    spec = manifest.get("spec")
    parts = (
        [spec.get(name) for name in ("training", "evaluation")] if isinstance(spec, dict) else []
    )
    return any(part.get("loss") or part.get("script") for part in parts if isinstance(part, dict))


def source_of(code: CodeRef, spec: RunSpec, param: str) -> Path:
    """The mounted file. Raises TrainerError (UserCodeMissing)."""
    return mounted(code.config_map_ref, spec, param, "UserCodeMissing")


def mounted(reference: ConfigMapKeyRef, spec: RunSpec, param: str, missing: str) -> Path:
    """The file of a ConfigMap's key. Raises TrainerError with the code `missing`."""
    mount = Path(spec.config_maps_dir, reference.name)
    try:
        path = FileStore(mount, [mount.resolve()], param).local(reference.key)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise unsupported(
            missing,
            f"the ConfigMap {reference.name} isn't mounted, or has no key {reference.key}",
            param,
        ) from None
    return path


@dataclass(frozen=True)
class UserCode:
    """A file of the user's. `what`: what it is, in words; `param`: the field that names it."""

    source: Path
    what: str
    param: str

    def entrypoint(self, name: str) -> Any:
        """What the file, run as a module, calls `name`. Raises TrainerError (UserCodeFailed)."""
        module = ModuleType(self._module)
        module.__file__ = str(self.source)
        sys.modules[module.__name__] = module  # as dataclasses expect
        with self.running(seen_rows=False):
            code = compile(self.source.read_bytes(), str(self.source), "exec")
            exec(code, module.__dict__)  # noqa: S102
        found = getattr(module, name, None)
        if found is None:
            raise self.refused(
                f"{self.source.name} has no {name}: define it, or correct entrypoint"
            )
        return found

    @property
    def names(self) -> dict[str, Any]:
        """What the file defines, once its entrypoint was looked up."""
        return vars(sys.modules[self._module])

    @property
    def _module(self) -> str:
        return f"luthier_user_{self.param.rpartition('.')[2]}"

    @contextlib.contextmanager
    def running(self, *, seen_rows: bool = True) -> Iterator[None]:
        """What it prints goes to the log. What it raises becomes a TrainerError
        (UserCodeFailed) with the innermost line of the user's file; a lack of memory or disk
        stays one. Of code that has `seen_rows` the log alone has words that may be theirs.
        """
        printed = _Log(self.what)
        try:
            with contextlib.redirect_stdout(printed), all_packages():
                yield
        except TrainerError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, Exception) and from_exception(error).error.code in _LACKS:
                raise
            log_traceback(error)
            raise self._failed(error, seen_rows) from error
        finally:
            printed.end()

    def refused(self, problem: str) -> TrainerError:
        """It ran, and can't be used."""
        return unsupported("UserCodeFailed", f"your {self.what}: {problem}", self.param)

    def brief(self, value: Any) -> str:
        """What it returned, as a status may have it: a number, or what stands in the code."""
        text = repr(value)
        if value is None or isinstance(value, int | float) or stands_in(text, self._text):
            return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 1]}…"
        return hidden(self.what, value)

    @property
    def _text(self) -> str:
        return self.source.read_text("utf-8", errors="replace")

    def _failed(self, error: BaseException, seen_rows: bool) -> TrainerError:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == self.source]
        cause = f"{type(error).__name__}: {str(error)[:600]}".rstrip(": ")
        if seen_rows:
            cause = words_of(error, self._text)[:600]
        if isinstance(error, SyntaxError) and error.filename == str(self.source):
            lines, cause = [error.lineno], f"{type(error).__name__}: {error.msg}"
        place = f"{self.source.name}, line {lines[-1]}" if lines else self.source.name
        return unsupported(
            "UserCodeFailed",
            f"your {self.what} failed in {place}: {cause}; correct the code",
            self.param,
        )


class _Log(io.TextIOBase):
    """A stream whose lines go to the log, each after what wrote it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rest = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            log(f"{self._what}: {line}")
        return len(text)

    def end(self) -> None:
        if self._rest:
            self.write("\n")
