"""What a command says when it can't go on."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    FAILED = 1  # the manifest is invalid, the run failed
    TROUBLE = 2  # the command itself couldn't do its work
    TIMEOUT = 124  # as timeout(1)
    INTERRUPTED = 130  # as a shell reports Ctrl-C


class CliError(Exception):
    """What went wrong and where, and the remedy. Shown without a traceback."""

    def __init__(self, message: str, remedy: str = "", code: Exit = Exit.TROUBLE) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
