"""argparse, with the manners that this program wants of it.

No abbreviations; a mistyped command or option is answered with the nearest one; usage errors are one line, exit code 252; help
keeps examples as they are written. A parser with sub-commands called without one prints its help and exits with 252.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NoReturn, TypeAlias

from hsmkms.cli.exits import ExitCode
from hsmkms.cli.output import writing

MAX_HELP_COLUMNS: Final = 110

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"  # noqa: SLF001 argparse has no public name for it


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help no wider than the terminal, and no wider than can be read."""

    def __init__(self, prog: str) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=34, width=max(60, min(columns - 2, MAX_HELP_COLUMNS)))


class Parser(argparse.ArgumentParser):
    """An argument parser. Takes argparse's arguments, except those about abbreviations and formatting."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=HelpFormatter, allow_abbrev=False, **settings)

    def add_commands(self) -> Commands:
        """Give this parser sub-commands, and return where they are added."""

        def show_help(_arguments: argparse.Namespace) -> int:
            self.print_help(sys.stderr)
            return ExitCode.USAGE

        self.set_defaults(run=show_help)
        return self.add_subparsers(title="commands", metavar="COMMAND", prog=self.prog, parser_class=Parser)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]  # one signature for its overloads
        """Parse, but look for unknown options first: argparse would report a missing one instead of the mistyped one."""
        words = sys.argv[1:] if args is None else list(args)
        self._refuse_unknown_options(words)
        return super().parse_known_args(words, namespace)

    def _refuse_unknown_options(self, words: Iterable[str]) -> None:
        is_value = False
        for word in words:
            if is_value:
                is_value = False
            elif word == "--" or (not word.startswith("-") and self._subparsers is not None):
                return  # what follows is for the sub-command
            elif word.startswith("-") and word != "-":
                name, equals, _ = word.partition("=")
                action = self._option_string_actions.get(name)
                if action is None:
                    self.error(f"unknown option {name}{nearest(name, self._option_string_actions)}")
                is_value = action.nargs is None and not equals

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 as above
            self.error(f"unknown command '{value}'{nearest(value, choices)}")
        raise argparse.ArgumentError(action, f"'{value}' is not one of {', '.join(choices)}{nearest(value, choices)}")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write, and do not let a failure pass unseen, as argparse does."""
        stream = file or sys.stderr
        if message and stream is not None:
            with writing():
                stream.write(message)

    def error(self, message: str) -> NoReturn:
        """End the program with one line."""
        self.exit(ExitCode.USAGE, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the question whether the nearest of some words was meant, or an empty text where none is near."""
    plain = {each.lstrip("-").upper(): each for each in words}
    matches = difflib.get_close_matches(word.lstrip("-").upper(), plain, n=1, cutoff=0.6)
    return f": did you mean {plain[matches[0]]}?" if matches else ""
