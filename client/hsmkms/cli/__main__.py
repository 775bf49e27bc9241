"""`python -m hsmkms.cli`: the operations alone, without the commands that run a service."""

import sys

from hsmkms.cli.main import execute, new_program

sys.exit(execute(new_program().parser))
