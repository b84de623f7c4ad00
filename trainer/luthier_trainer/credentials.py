"""The credentials of this pod, which the kubelet sets as environment variables.

Where code of the user's own runs they leave the environment first: the process starts anew
without them, and gets them through a pipe of its own. They still lie in its memory: that is no
wall against code that looks for them, see docs/platform.md.
"""

import json
import os
from collections.abc import Mapping

from luthier_api.result import ExitCode
from luthier_trainer import redaction
from luthier_trainer.errors import TrainerError

# What the new process finds its credentials by: the descriptor to read.
_DESCRIPTOR = "LUTHIER_CREDENTIALS_FD"
# What the AWS SDK itself reads whenever it renews what it has.
_STAYS = ("AWS_CONTAINER_AUTHORIZATION_TOKEN",)
_taken: dict[str, str] = {}


def credential(name: str, param: str) -> str | None:
    """Of that name, without the line break at the end of many a file. Raises TrainerError
    (InvalidCredentials), which doesn't show it."""
    value = _taken.get(name, os.environ.get(name, "")).strip()
    if not value:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        raise TrainerError(
            ExitCode.DENIED,
            "InvalidCredentials",
            f"the value of {name} has a line break, a blank or another character that no "
            "credential has; store it alone under its own key of the Secret, e.g. by "
            "`kubectl create secret generic NAME --from-literal=KEY=VALUE`",
            param,
        )
    return value


def in_environment(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the variables that hold credentials."""
    return [name for name in environment if redaction.is_secret(name) and name not in _STAYS]


def without_credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program that replaces this one and calls `take_over`."""
    names = in_environment(environment)
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    document = json.dumps({name: environment[name] for name in names}).encode()
    # The pipe's buffer must hold all of it: nobody reads yet.
    os.set_blocking(writing, False)
    written = os.write(writing, document)
    os.close(writing)
    if written != len(document):
        raise OSError("the credentials in the environment are too long")
    kept = {name: value for name, value in environment.items() if name not in names}
    return {**kept, _DESCRIPTOR: str(reading)}


def take_over() -> None:
    """What the program before this one left, if it did."""
    descriptor = os.environ.pop(_DESCRIPTOR, None)
    if descriptor is None:
        return
    with os.fdopen(int(descriptor), "rb") as pipe:
        _taken.update(json.load(pipe))
    redaction.remember(*(value.strip() for value in _taken.values()))
