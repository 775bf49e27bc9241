"""The command line on files, as a user types it, against the service."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from support.service import Service, run_cli


def ok(service: Service, *arguments: str, stdin: bytes = b"") -> bytes:
    done = run_cli(service, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return done.stdout


@pytest.mark.parametrize("length", [1, 13, 32, 100, 4096])
def test_files_go_to_another_key_to_newer_material_and_to_another_context(
    service: Service, tmp_path: Path, length: int
) -> None:
    plain, sealed, moved = (tmp_path / name for name in ("plain", "sealed.bin", "moved.bin"))
    plain.write_bytes(os.urandom(length))

    def to_file(path: Path, *arguments: str) -> None:
        path.write_bytes(
            base64.b64decode(ok(service, *arguments, "--query", "CiphertextBlob", "--output", "text"), validate=False)
        )

    def opened(path: Path, context: str) -> bytes:
        arguments = ("decrypt", "--ciphertext-blob", f"fileb://{path}", "--encryption-context", context)
        return base64.b64decode(ok(service, *arguments, "--query", "Plaintext", "--output", "text"))

    key_id = ok(service, "create-key", "--query", "KeyMetadata.KeyId", "--output", "text").decode().strip()
    ok(service, "create-alias", "--alias-name", f"alias/cli-{length}", "--target-key-id", key_id)
    to_file(
        sealed, "encrypt", "--key-id", f"alias/cli-{length}", "--plaintext", f"fileb://{plain}",
        "--encryption-context", "tenant=a,purpose=b",
    )  # fmt: skip
    to_file(
        moved, "re-encrypt", "--ciphertext-blob", f"fileb://{sealed}", "--source-key-id", f"alias/cli-{length}",
        "--destination-key-id", "alias/destination", "--source-encryption-context", "tenant=a,purpose=b",
        "--destination-encryption-context", '{"tenant": "other"}',
    )  # fmt: skip
    assert opened(moved, "tenant=other") == plain.read_bytes()

    ok(service, "rotate-key-on-demand", "--key-id", key_id)
    newer = json.loads(
        ok(
            service, "re-encrypt", "--ciphertext-blob", "-", "--destination-key-id", key_id,
            "--source-encryption-context", "purpose=b,tenant=a", "--destination-encryption-context", "tenant=a",
            stdin=sealed.read_bytes(),
        )
    )  # fmt: skip
    assert newer["SourceKeyMaterialId"] != newer["DestinationKeyMaterialId"]
    moved.write_bytes(base64.b64decode(newer["CiphertextBlob"]))
    assert opened(moved, "tenant=a") == plain.read_bytes()


def test_a_refusal_is_one_line_and_the_aws_exit_code(service: Service) -> None:
    done = run_cli(service, "describe-key", "--key-id", "alias/nothing")
    assert done.returncode == 254
    assert done.stdout == b""
    text = done.stderr.decode()
    assert text.startswith(
        "An error occurred (NotFoundException) when calling the DescribeKey operation: Alias arn:aws"
    )
    assert "(request id " in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("re-encypt",), ("re-encrypt",)),
        (("re-encrypt", "--destination-key", "x"), ("--destination-key-id",)),
        (("re-encrypt",), ("--destination-key-id",)),
        (("encrypt", "--key-id", "alias/source", "--plaintext", "fileb:///nowhere/file"), ("/nowhere/file",)),
        (("encrypt", "--key-id", "alias/source", "--plaintext", "no base64!"), ("fileb://",)),
    ],
)
def test_typing_mistakes_are_answered_with_what_was_meant(
    service: Service, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = run_cli(service, *arguments)
    assert done.returncode == 252
    assert b"Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.decode()


def test_every_operation_has_a_command_with_help(service: Service) -> None:
    listed = ok(service, "--help").decode()
    for command in (
        "create-alias", "create-key", "decrypt", "delete-alias", "describe-key", "disable-key", "enable-key", "encrypt",
        "generate-data-key", "generate-data-key-without-plaintext", "generate-random", "list-aliases",
        "list-key-rotations", "list-keys", "re-encrypt", "rotate-key-on-demand", "update-alias", "serve", "token",
    ):  # fmt: skip
        assert f"\n    {command}" in listed
        assert ok(service, command, "--help").decode().startswith("usage: hsm-kms")
