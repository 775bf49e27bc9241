"""The command line: as a process, as a user runs it, against a server that answers by script; and its parser alone."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from hsmkms.cli.examples import EXAMPLES
from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.main import EPILOG, execute, new_program
from hsmkms.cli.options import command_name, request_members
from hsmkms.client.contract import (
    OPERATIONS,
    DecryptResponse,
    EncryptionAlgorithm,
    GetKeyPolicyResponse,
    KeyListEntry,
    ListKeysResponse,
    ReEncryptResponse,
    Tag,
)
from hsmkms.core.messages import Empty, PutKeyPolicyRequest
from support.scripted_server import Refusal

MOVED = ReEncryptResponse(
    b"\0moved\xff", "arn:a", "arn:b", EncryptionAlgorithm.SYMMETRIC_DEFAULT, EncryptionAlgorithm.SYMMETRIC_DEFAULT
)


@pytest.fixture
def run(profile_file, tmp_path):
    """Run the program in an empty folder and return what became of it."""

    def run(*arguments, stdin=b"", settings=None):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("HSM_KMS_", "GRPC_"))}
        return subprocess.run(
            [sys.executable, "-m", "hsmkms.cli", *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            timeout=30,
            env=environment | {"HSM_KMS_PROFILE_FILE": str(profile_file)} | (settings or {}),
            check=False,
        )

    return run


def test_a_file_is_re_encrypted_as_the_seed_document_does_it(run, server, tmp_path):
    (tmp_path / "ExampleEncryptedFile").write_bytes(b"\0sealed\xff")
    server.answers(MOVED)
    done = run(
        "re-encrypt",
        "--ciphertext-blob",
        "fileb://ExampleEncryptedFile",
        "--source-key-id",
        "alias/a",
        "--destination-key-id",
        "alias/b",
        "--source-encryption-context",
        "tenant=a,purpose=b",
        "--query",
        "CiphertextBlob",
        "--output",
        "text",
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == base64.b64encode(MOVED.ciphertext_blob) + b"\n"
    request = server.received[0].request
    assert request.ciphertext_blob == b"\0sealed\xff"
    assert request.source_encryption_context == {"tenant": "a", "purpose": "b"}
    assert (request.source_key_id, request.destination_key_id) == ("alias/a", "alias/b")


def test_streams_in_and_raw_bytes_out(run, server):
    plaintext = bytes(range(256)) * 16
    server.answers(DecryptResponse("arn:a", plaintext, EncryptionAlgorithm.SYMMETRIC_DEFAULT))
    done = run("decrypt", "--ciphertext-blob", "-", "--output", "raw", stdin=b"\xffsealed\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, plaintext, b"")
    assert server.received[0].request.ciphertext_blob == b"\xffsealed\n"


def test_a_refusal_is_told_in_awss_words_with_the_request_id(run, server):
    server.answers(
        Refusal(grpc.StatusCode.NOT_FOUND, "NotFoundException", "Alias arn:aws:kms:r:1:alias/b is not found.")
    )
    done = run("re-encrypt", "--ciphertext-blob", "AAAA", "--destination-key-id", "alias/b")
    assert (done.returncode, done.stdout) == (254, b"")
    assert done.stderr.decode() == (
        "An error occurred (NotFoundException) when calling the ReEncrypt operation: "
        "Alias arn:aws:kms:r:1:alias/b is not found. (request id request-1)\n"
    )
    server.answers(Refusal(grpc.StatusCode.INVALID_ARGUMENT, "InvalidCiphertextException"))
    done = run("decrypt", "--ciphertext-blob", "AAAA")
    assert done.stderr.endswith(b"when calling the Decrypt operation: (request id request-2)\n")


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "text"),
    [
        (["list-keys", "--endpoint", "127.0.0.1:1"], {}, 255, "nothing listens at 127.0.0.1:1"),
        (["--ca-file", "nosuch.pem", "list-keys"], {}, 253, "cannot read ca_file nosuch.pem: No such file"),
        (["list-keys"], {"HSM_KMS_CA_FILE": "nosuch.pem"}, 253, "cannot read ca_file nosuch.pem"),
        (["list-keys", "--profile", "other"], {}, 253, "has no profile 'other'; it has: default"),
        (["list-keys", "--server-name", "other.test"], {}, 255, "has no certificate for 'other.test'"),
        (["enable-key", "--key-id", "a", "--idempotency-key", "ä"], {}, 252, "printable ASCII"),
    ],
)
def test_what_keeps_it_from_an_answer_is_one_line(run, arguments, settings, code, text):
    done = run(*arguments, settings=settings)
    assert (done.returncode, done.stdout) == (code, b"")
    assert text in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_connection_options_may_stand_before_or_after_the_command(run, server, profile_file):
    for arguments in (
        ("--profile-file", str(profile_file), "list-keys"),
        ("list-keys", "--profile-file", str(profile_file)),
    ):
        server.answers(ListKeysResponse(()))
        assert run(*arguments, settings={"HSM_KMS_PROFILE_FILE": "/nosuch"}).returncode == 0


def test_lists_come_whole_unless_a_page_is_asked_for(run, server):
    first = ListKeysResponse((KeyListEntry("1", "arn:1"),), "next", truncated=True)
    server.answers(first, ListKeysResponse((KeyListEntry("2", "arn:2"),)))
    assert json.loads(run("list-keys").stdout) == {
        "Keys": [{"KeyId": "1", "KeyArn": "arn:1"}, {"KeyId": "2", "KeyArn": "arn:2"}]
    }
    for option in (["--no-paginate"], ["--limit", "1"]):
        server.answers(first)
        assert json.loads(run("list-keys", *option).stdout)["NextMarker"] == "next"


def test_an_operation_without_answer_prints_nothing(run, server):
    server.answers(Empty())
    done = run("disable-key", "--key-id", "1234", "--idempotency-key", "mine")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert server.received[0].idempotency_key == "mine"


def test_output_that_nobody_reads_or_that_cannot_be_written(run, server, profile_file, tmp_path):
    environment = os.environ | {"HSM_KMS_PROFILE_FILE": str(profile_file)}
    many = ListKeysResponse(tuple(KeyListEntry(str(number), "arn:" * 20) for number in range(1500)))
    command = f"{sys.executable} -m hsmkms.cli list-keys"
    for redirection, code, said in (
        ("| true", 141, ""),
        (">/dev/full", 255, "hsm-kms: error: cannot write to standard output: No space left on device\n"),
        (">&-", 255, "hsm-kms: error: standard output is closed: the answer is lost\n"),
    ):
        server.script.clear()
        server.answers(many)
        script = f"set -o pipefail; {command} {redirection}"
        done = subprocess.run(
            ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr.decode()) == (code, said)


def test_help_that_cannot_be_written_is_no_success(tmp_path):
    command = [sys.executable, "-m", "hsmkms.cli", "re-encrypt", "--help"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, timeout=30, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (255, 1)


def test_ctrl_c_ends_it_without_a_traceback(server, profile_file):
    server.answers(server.hang)
    process = subprocess.Popen(
        [sys.executable, "-m", "hsmkms.cli", "list-keys"],
        env=os.environ | {"HSM_KMS_PROFILE_FILE": str(profile_file)},
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 10
    while not server.received and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (130, b"\n")


def usage_error(capsys, *arguments):
    assert execute(new_program().parser, arguments) == ExitCode.USAGE
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["re-encript"], "unknown command 're-encript': did you mean re-encrypt?"),
        (["ReEncrypt"], "did you mean re-encrypt?"),
        (["xyzzy"], "unknown command 'xyzzy' (see hsm-kms --help)"),
        (
            ["re-encrypt", "--destinaton-key-id", "a"],
            "unknown option --destinaton-key-id: did you mean --destination-key-id?",
        ),
        (["re-encrypt", "--dest", "a"], "unknown option --dest"),
        (["--profil", "a", "list-keys"], "unknown option --profil: did you mean --profile?"),
        (["re-encrypt"], "the following arguments are required: --destination-key-id (see hsm-kms re-encrypt --help)"),
        (["list-keys", "more"], "unrecognized arguments: more"),
        (["list-keys", "--limit"], "argument --limit: expected one argument"),
        (["list-keys", "--limit", "ten"], "argument --limit: is not a whole number"),
        (["list-keys", "--output", "yaml"], "argument --output: 'yaml' is not one of json, text, raw"),
        (["list-keys", "--query", "Keys["], "bad value for --query Keys["),
        (["list-keys", "--output", "raw"], "this command's answer has none"),
        (
            ["encrypt", "--key-id", "a", "--plaintext", "not base64"],
            "argument --plaintext: is not base64; write fileb://PATH",
        ),
        (
            ["decrypt", "--ciphertext-blob", "fileb://nosuch"],
            "argument --ciphertext-blob: cannot read nosuch: No such file",
        ),
        (["create-key", "--tags", "Key=a"], "argument --tags: has no member 'Key'; write TagKey=VALUE,TagValue=VALUE"),
        (
            ["decrypt", "--encryption-algorithm", "RSA"],
            "argument --encryption-algorithm: 'RSA' is not one of SYMMETRIC_DEFAULT",
        ),
    ],
)
def test_usage_errors_say_what_is_wrong_in_one_line(capsys, arguments, text):
    said = usage_error(capsys, *arguments)
    assert text in said
    assert said.count("\n") == 1


def test_without_a_command_it_prints_its_help(capsys):
    said = usage_error(capsys)
    for operation in OPERATIONS:
        assert command_name(operation) in said
    for code in ExitCode:
        assert f"{code:d} " in said or code is ExitCode.OK
    assert "HSM_KMS_PROFILE_FILE" in said


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_every_command_has_help_with_every_option_and_an_example(capsys, operation):
    assert execute(new_program().parser, [command_name(operation.name), "--help"]) == 0
    text = capsys.readouterr().out
    for field in operation.request.__dataclass_fields__:
        assert "--" + field.replace("_", "-") in text
    assert "--endpoint" in text
    options = " --" if operation.request.__dataclass_fields__ else "\n"
    assert f"hsm-kms {command_name(operation.name)}{options}" in text.partition("examples:")[2]


def examples():
    for text in (*EXAMPLES.values(), EPILOG.partition("examples:")[2]):
        for line in text.replace("\\\n", " ").splitlines():
            if "hsm-kms" in line:
                yield "hsm-kms" + line.partition("hsm-kms")[2]


@pytest.mark.parametrize("example", list(examples()))
def test_the_examples_are_right(example):
    words = shlex.split(example.split(" | ")[0].split(" > ")[0])[1:]
    arguments = new_program().parser.parse_args(words)
    assert callable(arguments.run)


def test_a_policy_goes_into_a_file_and_comes_from_it(run, server, tmp_path):
    policy = '{\n  "Version": "2012-10-17",\n  "Statement": []\n}'
    server.answers(GetKeyPolicyResponse(policy, "default"), Empty(), Empty())
    read = run("get-key-policy", "--key-id", "1234", "--query", "Policy", "--output", "text")
    assert read.stdout.decode() == policy + "\n"
    (tmp_path / "policy.json").write_bytes(read.stdout)
    for typed in ("file://policy.json", policy):
        assert run("put-key-policy", "--key-id", "1234", "--policy", typed).returncode == 0
    assert [received.request for received in server.received[1:]] == [
        PutKeyPolicyRequest(key_id="1234", policy=policy + "\n"),
        PutKeyPolicyRequest(key_id="1234", policy=policy),
    ]


def test_options_become_members_of_the_request(tmp_path):
    (tmp_path / "context.json").write_text('{"a": "1,2"}')
    words = [
        "create-key",
        *("--description", ""),
        *("--tags", "TagKey=a,TagValue=b", '{"TagKey": "c", "TagValue": "d"}'),
        "--no-multi-region",
    ]
    program = new_program()
    members = request_members(program.parser, OPERATIONS["CreateKey"], program.parser.parse_args(words))
    assert members == {"description": "", "tags": (Tag("a", "b"), Tag("c", "d")), "multi_region": False}
    words = [
        "re-encrypt",
        *("--destination-key-id", "alias/b"),
        *("--source-encryption-context", f"file://{tmp_path}/context.json"),
        *("--grant-tokens", "one", "two"),
        "--dry-run",
        *("--dry-run-modifiers", "IGNORE_CIPHERTEXT"),
    ]
    members = request_members(program.parser, OPERATIONS["ReEncrypt"], program.parser.parse_args(words))
    assert members == {
        "destination_key_id": "alias/b",
        "source_encryption_context": {"a": "1,2"},
        "grant_tokens": ("one", "two"),
        "dry_run": True,
        "dry_run_modifiers": ("IGNORE_CIPHERTEXT",),
    }


def test_a_program_is_composed_of_the_operations_and_commands_of_its_own(capsys):
    program = new_program("demo")
    token = program.commands.add_parser("token", help="the token")
    init = token.add_commands().add_parser("init")

    def fail(_arguments):
        raise CommandFailed("no token\nthere", ExitCode.CONFIGURATION)

    init.set_defaults(run=fail)
    assert execute(program.parser, ["token", "init"]) == ExitCode.CONFIGURATION
    assert capsys.readouterr().err == "demo: error: no token\N{REPLACEMENT CHARACTER}there\n"
    assert execute(program.parser, ["token"]) == ExitCode.USAGE
    assert "usage: demo token" in capsys.readouterr().err
    assert execute(program.parser, ["token", "inti"]) == ExitCode.USAGE
    assert "demo token: error: unknown command 'inti': did you mean init?" in capsys.readouterr().err


def test_help_can_be_printed_on_a_terminal_that_knows_only_ascii(run):
    done = run("re-encrypt", "--help", settings={"PYTHONIOENCODING": "ascii", "COLUMNS": "40"})
    assert done.returncode == 0
    with contextlib.suppress(UnicodeDecodeError):
        assert "\\u2026" in done.stdout.decode("ascii")
