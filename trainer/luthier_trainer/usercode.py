"""Code of the user's own: loaded from a file, and its faults told by its file and line.

Whether it may run at all is decided before: the operator asks the platform's consent.
"""

import contextlib
import io
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from luthier_api.meta import CodeRef
from luthier_api.runspec import RunSpec
from luthier_trainer.errors import TrainerError, from_exception, unsupported
from luthier_trainer.log import log
from luthier_trainer.runtime import all_packages

_LACKS = ("OutOfMemory", "DiskFull")


def source_of(code: CodeRef, spec: RunSpec, param: str) -> Path:
    """The mounted file. Raises TrainerError (UserCodeMissing)."""
    reference = code.config_map_ref
    path = Path(spec.config_maps_dir, reference.name, reference.key)
    if not path.is_file():
        raise unsupported(
            "UserCodeMissing",
            f"the ConfigMap {reference.name} isn't mounted, or has no key {reference.key}",
            param,
        )
    return path


@dataclass(frozen=True)
class UserCode:
    """A file of the user's. `what`: what it is, in words; `param`: the field that names it."""

    source: Path
    what: str
    param: str

    def entrypoint(self, name: str) -> Any:
        """What the file, run as a module, calls `name`. Raises TrainerError (UserCodeFailed)."""
        module = ModuleType(f"luthier_user_{self.param.rpartition('.')[2]}")
        module.__file__ = str(self.source)
        sys.modules[module.__name__] = module  # as dataclasses expect
        with self.running():
            code = compile(self.source.read_bytes(), str(self.source), "exec")
            exec(code, module.__dict__)  # noqa: S102
        found = getattr(module, name, None)
        if found is None:
            raise self.refused(
                f"{self.source.name} has no {name}: define it, or correct entrypoint"
            )
        return found

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """What it prints goes to the log. What it raises becomes a TrainerError
        (UserCodeFailed) with the innermost line of the user's file; a lack of memory or disk
        stays one.
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
            log("".join(traceback.format_exception(error)).rstrip())
            raise self._failed(error) from error
        finally:
            printed.end()

    def refused(self, problem: str) -> TrainerError:
        """It ran, and can't be used."""
        return unsupported("UserCodeFailed", f"your {self.what}: {problem}", self.param)

    def _failed(self, error: BaseException) -> TrainerError:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == self.source]
        text = str(error)
        if isinstance(error, SyntaxError) and error.filename == str(self.source):
            lines, text = [error.lineno], error.msg
        place = f"{self.source.name}, line {lines[-1]}" if lines else self.source.name
        cause = f"{type(error).__name__}: {text[:600]}".rstrip(": ")
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
