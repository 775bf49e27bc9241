"""What `make run` does: a service with a SoftHSM token on loopback, all of it under one folder.

Makes what is missing (PIN, token, CA and certificates, configuration, two KMS keys, an access key), starts `hsm-kms serve`, re-encrypts a
file with the command line on the screen, says how the AWS CLI does it, and stays up until Ctrl-C. A second run keeps the token, the
catalog, the certificates and the access key.
Whatever a user can cause ends in one line and exit code 1.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import http.client
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dev_setup import (
    HSM_KMS,
    REGION,
    ROOT,
    Problem,
    Settings,
    attempt,
    ensure_access_key,
    environment,
    find_module,
    prepare,
    run,
)

ALIASES = ("payments", "archive")
READY_WITHIN_S = 60.0
STOP_WITHIN_S = 40.0
LOG_LINES_SHOWN = 12
PR_SET_PDEATHSIG = 1

LETTER = "Pay 1,000 EUR to the bearer. No server is to read this.\n"
SHOWN: tuple[tuple[str, str], ...] = (
    (
        "Encrypt a file under alias/payments:",
        """\
.venv/bin/hsm-kms encrypt --key-id alias/payments --plaintext fileb://{var}/demo/letter.txt \\
      --encryption-context tenant=blue,purpose=intake \\
      --query CiphertextBlob --output text | base64 --decode > {var}/demo/sealed.bin""",
    ),
    (
        "Re-encrypt it under alias/archive and another encryption context; the plaintext stays in the token:",
        """\
.venv/bin/hsm-kms re-encrypt --ciphertext-blob fileb://{var}/demo/sealed.bin \\
      --source-encryption-context tenant=blue,purpose=intake \\
      --destination-key-id alias/archive --destination-encryption-context tenant=blue,purpose=archive \\
      --query CiphertextBlob --output text | base64 --decode > {var}/demo/archived.bin""",
    ),
    (
        "Decrypt the result and compare:",
        """\
.venv/bin/hsm-kms decrypt --ciphertext-blob fileb://{var}/demo/archived.bin \\
      --encryption-context tenant=blue,purpose=archive --query Plaintext --output text |
      base64 --decode | cmp - {var}/demo/letter.txt && echo equal to the byte""",
    ),
)
AWS = """\
AWS_ENDPOINT_URL_KMS=https://127.0.0.1:{aws_port} AWS_CA_BUNDLE={var}/tls/ca.pem AWS_DEFAULT_REGION={region} \\
      AWS_ACCESS_KEY_ID={access_key_id} AWS_SECRET_ACCESS_KEY="$(cat {var}/aws-secret-access-key)" \\
      aws kms re-encrypt --ciphertext-blob fileb://{var}/demo/sealed.bin --source-encryption-context tenant=blue,purpose=intake \\
      --destination-key-id alias/archive"""
"""The AWS CLI's way; the secret is read by the shell, so that it is not on the screen."""
NEXT = """
The service is up: gRPC on 127.0.0.1:{grpc_port}, the AWS endpoint on https://127.0.0.1:{aws_port}, probes and metrics on
http://127.0.0.1:{metrics_port}/metrics, its log in {var}/hsm-kms.log. Try next, in another terminal:

    export HSM_KMS_PROFILE_FILE={var}/profiles.toml
    .venv/bin/hsm-kms list-aliases
    .venv/bin/hsm-kms describe-key --key-id alias/payments
    .venv/bin/hsm-kms generate-data-key --key-id alias/payments --key-spec AES_256 --encryption-context tenant=blue
    .venv/bin/hsm-kms re-encrypt --help
    .venv/bin/hsm-kms token info --config {var}/hsm-kms.toml

The AWS CLI and every AWS SDK take these variables (the secret is one of this development service alone, in a file that only you can read):

    {aws}

Ctrl-C stops it; the token and the keys stay in {var}/."""


class Stop(BaseException):
    """Ctrl-C or SIGTERM."""


def say(text: str = "") -> None:
    """Print a line now."""
    print(text, flush=True)


@contextmanager
def serving(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Run `hsm-kms serve`, ready when the block begins, drained when it ends."""
    if settings.log.exists():
        settings.log.replace(settings.log.with_suffix(".log.1"))
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    with settings.log.open("wb") as log:
        service = subprocess.Popen(
            [HSM_KMS, "serve", "--config", settings.configuration],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(settings),
            cwd=ROOT,
            start_new_session=True,  # Ctrl-C reaches this script alone, which then drains the service
            preexec_fn=end_with_parent,  # noqa: PLW1509 - one thread, and a call that takes no lock
        )
    try:
        wait_until_ready(settings, service)
        yield service
    finally:
        stop(service)


def wait_until_ready(settings: Settings, service: subprocess.Popen[bytes]) -> None:
    """Return when the service says that it is ready."""
    deadline = time.monotonic() + READY_WITHIN_S
    while not is_ready(settings.metrics_port):
        if service.poll() is not None:
            refuse_end(settings, service)
        if time.monotonic() > deadline:
            raise Problem(
                f"the service is not ready after {READY_WITHIN_S:.0f} s; its log ends so:\n{last_lines(settings.log)}"
            )
        time.sleep(0.1)


def refuse_end(settings: Settings, service: subprocess.Popen[bytes]) -> NoReturn:
    """Say how the service ended: by its own last word where it had one, else by the end of its log."""
    word = last_lines(settings.log).rpartition("\n")[2].strip()
    if word.startswith("hsm-kms: "):
        raise Problem(f"the service did not start: {word.removeprefix('hsm-kms: ').removeprefix('error: ')}")
    raise Problem(
        f"the service ended with exit code {service.returncode}; its log ends so:\n{last_lines(settings.log)}"
    )


def is_ready(port: int) -> bool:
    """Ask /readyz."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(service: subprocess.Popen[bytes]) -> None:
    """Let the service drain, for a bounded time."""
    if service.poll() is not None:
        return
    service.terminate()
    try:
        service.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


def last_lines(log: Path) -> str:
    """Return the end of the log, indented."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(f"  {line}" for line in lines or ["(empty)"])


def ensure_key(settings: Settings, name: str) -> None:
    """Create a KMS key with the alias unless the alias exists."""
    environ = environment(settings)
    described = attempt([HSM_KMS, "describe-key", "--key-id", f"alias/{name}"], environ)
    if described.returncode == 0:
        return
    if "NotFoundException" not in described.stderr:
        raise Problem(f"describe-key of alias/{name} failed: {described.stderr.strip()}")
    description = f"Made by make run: {name}"
    create = [HSM_KMS, "create-key", "--description", description, "--query", "KeyMetadata.KeyId", "--output", "text"]
    created = run(create, environ)
    run([HSM_KMS, "create-alias", "--alias-name", f"alias/{name}", "--target-key-id", created.stdout.strip()], environ)


def show_reencrypt(settings: Settings) -> None:
    """Re-encrypt a file on the screen, by the very commands that are printed."""
    demo = settings.var / "demo"
    demo.mkdir(mode=0o700, exist_ok=True)
    (demo / "letter.txt").write_text(LETTER)
    var = shlex.quote(settings.shown_var)
    say(f"\n    export HSM_KMS_PROFILE_FILE={var}/profiles.toml")
    for number, (title, template) in enumerate(SHOWN, 1):
        command = template.format(var=var)
        say(f"\n{number}. {title}\n    {command}")
        done = run(["bash", "-o", "pipefail", "-c", command], environment(settings))
        for line in done.stdout.splitlines():
            say(f"    {line}")


def show_what_next(settings: Settings, access_key_id: str) -> None:
    """Print where everything is and commands to try in another terminal."""
    var = shlex.quote(settings.shown_var)
    ports = {"grpc_port": settings.grpc_port, "aws_port": settings.aws_port, "metrics_port": settings.metrics_port}
    aws = AWS.format(var=var, aws_port=settings.aws_port, region=REGION, access_key_id=access_key_id)
    say(NEXT.format(var=var, aws=aws, **ports))


@contextmanager
def exclusive(var: Path) -> Iterator[None]:
    """Hold the folder against a second `make run`."""
    var.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (var / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(f"another `make run` uses {var}; stop it, or choose another folder: make run VAR=…") from None
        yield


def parse_arguments() -> Settings:
    """Read the command line."""

    def port(text: str) -> int:
        number = int(text) if text.isascii() and text.isdecimal() else 0
        if not 1 <= number <= 65535:
            raise argparse.ArgumentTypeError(f"{text!r} is no port from 1 to 65535")
        return number

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--var", default="var", help="folder for everything (default: var)")
    parser.add_argument("--grpc-port", type=port, default=9443, help="port of the API on 127.0.0.1 (default: 9443)")
    parser.add_argument("--aws-port", type=port, default=9444, help="port of the AWS endpoint (default: 9444)")
    parser.add_argument("--metrics-port", type=port, default=9464, help="port of probes and metrics (default: 9464)")
    parser.add_argument("--module", help="path of SoftHSM's PKCS#11 module (default: where packages put it)")
    arguments = parser.parse_args()
    var = Path(arguments.var).resolve()
    if not re.fullmatch(r"[^\x00-\x1f\x7f#?%]+", str(var)):
        raise Problem(
            f"VAR={arguments.var!r}: no control characters, and none of # ? %, which the files under it could not name"
        )
    ports = (arguments.grpc_port, arguments.aws_port, arguments.metrics_port)
    if len(set(ports)) != len(ports):
        raise Problem("GRPC_PORT, AWS_PORT and METRICS_PORT must differ")
    return Settings(var, arguments.var, *ports, find_module(arguments.module))


def stop_on_signal(_signal: int, _frame: FrameType | None) -> None:
    """Turn the first SIGINT or SIGTERM into `Stop`; the drain that follows is bounded, so later ones are ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Stop


def main() -> int:
    """Do what `make run` does; return the exit code."""
    os.umask(0o077)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_on_signal)
    try:
        settings = parse_arguments()
        with exclusive(settings.var):
            prepare(settings)
            say("Starting the service …")
            with serving(settings) as service:
                for name in ALIASES:
                    ensure_key(settings, name)
                show_reencrypt(settings)
                show_what_next(settings, ensure_access_key(settings))
                service.wait()
                refuse_end(settings, service)
    except Stop:
        say("\nStopped.")
        return 0
    except Problem as problem:
        print(f"make run: {problem}", file=sys.stderr)
    except OSError as error:
        print(f"make run: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
