"""The program `hsm-kms`: the KMS operations of `hsmkms.cli`, and the operator's commands beside them."""

from __future__ import annotations

import sys
from typing import NoReturn

from hsmkms.cli.main import execute, new_program
from hsmkms.server.operator_commands import add_commands


def main() -> NoReturn:
    """Run the command that the command line names."""
    program = new_program()
    add_commands(program.commands)
    sys.exit(execute(program.parser))


if __name__ == "__main__":
    main()
