"""The committed Python code of the contract is what protoc makes of kms.proto."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "proto" / "hsmkms" / "v1"


def test_generated_code_is_what_the_contract_says(tmp_path):
    subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_contract.py", "--output", tmp_path], check=True, timeout=60
    )
    generated = {path.name: path.read_text() for path in (tmp_path / "hsmkms" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in COMMITTED.glob("kms_pb2*")}
    assert generated == committed, "run `make proto` and commit the result"
