"""Exit codes, and the exception that carries one."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the program's exit code says: the AWS CLI's numbers, where it has one."""

    OK = 0
    UNEXPECTED = 1
    """A fault of this program: Python's own code for an exception that nobody caught."""
    INTERRUPTED = 130
    """Ctrl-C."""
    BROKEN_PIPE = 141
    """Who read the output stopped reading."""
    USAGE = 252
    """The command line is wrong: nothing was sent."""
    CONFIGURATION = 253
    """The profile or a file that it names is wrong: nothing was sent."""
    REFUSED = 254
    """The service answered with an error."""
    FAILED = 255
    """There is no answer, or it could not be written; whether the service did what was asked may be unknown."""


class CommandFailed(Exception):
    """A command cannot go on: the program says why in one line and ends.

    Args:
        message: What is wrong and what to do.
        code: The exit code.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
