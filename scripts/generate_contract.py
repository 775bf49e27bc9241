"""Generate the Python code of the gRPC contract from proto/hsmkms/v1/kms.proto.

`make proto` writes it beside the contract, where it is committed; a test generates it into another folder and compares.
"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parent.parent / "proto"


def generate(output: Path) -> int:
    """Write the generated modules under `output`; return protoc's exit code."""
    well_known = files("grpc_tools") / "_proto"
    arguments = [f"--{kind}_out={output}" for kind in ("python", "grpc_python", "pyi")]
    exit_code: int = protoc.main(
        ["protoc", f"-I{PROTO}", f"-I{well_known}", *arguments, str(PROTO / "hsmkms" / "v1" / "kms.proto")]
    )
    return exit_code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PROTO, help="source root to write under (default: proto/)")
    sys.exit(generate(parser.parse_args().output))
