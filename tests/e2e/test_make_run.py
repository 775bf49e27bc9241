"""`make run`, twice in one folder: it shows a ReEncrypt, keeps its keys, and ends at Ctrl-C. What a user does wrong costs one line."""

import errno
import json
import os
import queue
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HSM_KMS = Path(sys.executable).with_name("hsm-kms")
PATIENCE_S = 120


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def command(var, grpc_port, metrics_port, aws_port):
    program = [sys.executable, ROOT / "scripts" / "dev_environment.py", "--var", var]
    return [
        *program,
        *("--grpc-port", str(grpc_port)),
        *("--metrics-port", str(metrics_port)),
        *("--aws-port", str(aws_port)),
    ]


class Run:
    """`make run`'s program, with its output line by line."""

    def __init__(self, var):
        self.lines, self._queue = [], queue.Queue()
        self.process = subprocess.Popen(
            command(var, free_port(), free_port(), free_port()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def wait_for(self, text):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            line = self._queue.get(timeout=max(deadline - time.monotonic(), 0.001))
            assert line is not None, "it ended:\n" + "".join(self.lines)
            self.lines.append(line)
            if text in line:
                return

    def stop(self, with_signal=signal.SIGINT):
        self.process.send_signal(with_signal)
        return self.process.wait(PATIENCE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        self.process.stdout.close()


def key_id(var):
    describe = [HSM_KMS, "--profile-file", var / "profiles.toml", "describe-key", "--key-id", "alias/payments"]
    describe += ["--query", "KeyMetadata.KeyId", "--output", "text"]
    return subprocess.run(describe, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout


def shell(line, folder):
    """Run a line as whoever reads it types it, in the folder from which it was shown."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    words = ["bash", "-e", "-o", "pipefail", "-c", line]
    return subprocess.run(
        words, capture_output=True, text=True, cwd=folder, env=environ, timeout=PATIENCE_S, check=False
    )


def the_aws_cli_works(var, shown):
    """The line that is printed, and with its variables the line of AWS's documentation, word for word."""
    assert (var / "aws-secret-access-key").read_text().strip() not in shown
    printed = shown[shown.index("AWS_ENDPOINT_URL_KMS=") :].partition("\n\n")[0]
    done = shell(printed, var.parent)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["CiphertextBlob"]) > 100
    exports = "\n".join(
        f"export {pair}" for pair in re.findall(r'AWS_[A-Z_]+=(?:"[^"]*"|\'[^\']*\'[^ ]*|[^ "]+)', printed)
    )
    to_file = "--query CiphertextBlob --output text | base64 --decode >"
    lines = (
        exports,
        "echo secret > ExamplePlaintextFile",
        f"aws kms encrypt --key-id alias/payments --plaintext fileb://ExamplePlaintextFile {to_file} ExampleEncryptedFile",
        (
            "aws kms re-encrypt --ciphertext-blob fileb://ExampleEncryptedFile --source-key-id alias/payments "
            f"--destination-key-id alias/archive {to_file} ExampleReEncryptedFile"
        ),
        "aws kms decrypt --ciphertext-blob fileb://ExampleReEncryptedFile --query Plaintext --output text | base64 --decode",
    )
    done = shell("\n".join(lines), var.parent)
    assert done.stdout == "secret\n", done.stderr


def test_two_runs_show_a_reencrypt_and_keep_the_keys(tmp_path):
    var = tmp_path / "a folder"
    ids, access_keys = [], []
    for ending in (signal.SIGINT, signal.SIGTERM):
        with Run(var) as run:
            run.wait_for("equal to the byte")  # in the command that is shown
            run.wait_for("equal to the byte")  # in what it says
            run.wait_for("Ctrl-C stops it")
            ids.append(key_id(var))
            access_keys.append((var / "aws-access-key-id").read_text())
            the_aws_cli_works(var, "".join(run.lines))
            assert run.stop(ending) == 0
    assert ids[0] == ids[1]
    assert access_keys[0] == access_keys[1]
    for name in ("aws-access-key-id", "aws-secret-access-key"):
        assert stat.S_IMODE((var / name).stat().st_mode) == 0o600


def test_a_port_in_use_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            command(tmp_path / "var", port, free_port(), free_port()),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"make run: port {port} on 127.0.0.1: {os.strerror(errno.EADDRINUSE)}; choose another: make run GRPC_PORT=…"
    ]
