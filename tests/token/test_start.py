"""Starting on a token: what is wrong is said in one line that says what to do, and nothing is tried that could lock a token."""

import fcntl
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from hsmkms.core.commands import Outcome, Start
from hsmkms.core.startup import TokenDescription
from hsmkms.hsm.capabilities import PURPOSES
from hsmkms.hsm.errors import StartError
from hsmkms.hsm.module import read_pin
from support.softhsm import LABEL, MODULE, PIN, SO_PIN, make_folder, make_token
from support.token_document import capabilities_of, shown
from support.worker import SpawnedWorker


def refusal(token, settings):
    """Start a worker that must refuse; return the outcome, its one line and its log."""
    with SpawnedWorker(token.environment()) as worker:
        result = worker.ask_one(Start(settings.to_json()))
        assert worker.retired
        log = worker.log()
        assert worker.process.returncode == 2
    text = result.value.decode()
    assert "\n" not in text
    assert "Traceback" not in log
    assert all(json.loads(line)["event"] for line in log.splitlines() if line.startswith("{"))
    return result.outcome, text, log


def test_the_first_worker_probes_and_later_ones_are_told(token):
    with SpawnedWorker(token.environment()) as worker:
        first = worker.start(token.settings())
    assert first.token_label == LABEL
    assert first.max_sessions is None
    assert first.startup_ms > 0
    found = first.capabilities
    assert found.keys() == PURPOSES.keys()
    assert {name: shown(value) for name, value in found.items()} == capabilities_of(token.name)
    with SpawnedWorker(token.environment()) as worker:
        later = worker.start(token.settings(capabilities=found))
    assert later.capabilities == found
    assert later.startup_ms < first.startup_ms


def test_a_missing_module_is_named_with_its_package(token, tmp_path):
    outcome, text, _ = refusal(token, token.settings(module=str(tmp_path / "nothing.so")))
    assert outcome is Outcome.MISCONFIGURED
    assert str(tmp_path / "nothing.so") in text
    assert "apt install softhsm2" in text


def test_a_file_that_is_no_module_is_named(token, tmp_path):
    (tmp_path / "text.so").write_text("not a library")
    outcome, text, _ = refusal(token, token.settings(module=str(tmp_path / "text.so")))
    assert outcome is Outcome.MISCONFIGURED
    assert "text.so is not a PKCS#11 module" in text


def test_a_missing_token_is_told_after_three_looks(token):
    outcome, text, _ = refusal(token, token.settings(token_label="no such token"))
    assert outcome is Outcome.UNAVAILABLE  # it may come back
    assert "'no such token'" in text
    assert "hsm-kms token init" in text


def test_a_wrong_pin_is_not_shown(token, tmp_path):
    pin_file = tmp_path / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text("some-other-pin")
    outcome, text, log = refusal(token, token.settings(pin_file=str(pin_file)))
    assert outcome is Outcome.PIN_REFUSED
    assert str(pin_file) in text
    assert "some-other-pin" not in text + log


def test_two_tokens_of_one_label_are_told_apart_by_serial_number(tmp_path, softhsm_settings):
    token = make_token(tmp_path / "token")
    token.init(token.label)
    known = softhsm_settings.capabilities
    outcome, text, _ = refusal(token, token.settings(capabilities=known))
    assert outcome is Outcome.MISCONFIGURED
    serials = text.partition("(")[2].rstrip(")").split(", ")
    assert len(serials) == 2
    with SpawnedWorker(token.environment()) as worker:
        assert worker.start(token.settings(token_serial=serials[1], capabilities=known)).token_serial == serials[1]


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        (b"pin\n", 0o640, "chmod 600"),
        (b"pin\n", 0o604, "chmod 600"),
        (b"", 0o600, "one line"),
        (b"two\nlines\n", 0o600, "one line"),
        (b"\xff\xfe", 0o600, "UTF-8"),
        (b"x" * 300, 0o600, "one line"),
    ],
)
def test_a_pin_file_that_does_not_do(tmp_path, content, mode, says):
    path = tmp_path / "pin"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(StartError, match=says) as refused:
        read_pin(str(path))
    assert refused.value.outcome is Outcome.MISCONFIGURED


def test_a_pin_file_is_a_regular_file_of_this_user_or_root(tmp_path):
    with pytest.raises(StartError, match="No such file"):
        read_pin(str(tmp_path / "nothing"))
    with pytest.raises(StartError, match="not a regular file"):
        read_pin(str(tmp_path))
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(StartError, match="not a regular file"):
        read_pin(str(tmp_path / "pipe"))
    foreign = tmp_path / "foreign"
    foreign.touch(mode=0o600)
    if os.geteuid() == 0:
        os.chown(foreign, 12345, 12345)
        with pytest.raises(StartError, match="must belong to"):
            read_pin(str(foreign))


@pytest.mark.parametrize("content", [b"1234", b"1234\n", b"1234\r\n"])
def test_one_newline_is_not_the_pins(tmp_path, content):
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_bytes(content)
    assert read_pin(str(path)) == "1234"


def test_six_workers_start_at_one_moment(token, settings):
    def start(_):
        with SpawnedWorker(token.environment()) as worker:
            return worker.ask_one(Start(settings.to_json())).outcome

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(start, range(6))) == {Outcome.OK}


def test_the_lock_is_waited_for_and_not_for_ever(token, settings, tmp_path):
    lock = tmp_path / "lock"
    known = token.settings(capabilities=settings.capabilities, lock_file=str(lock), lock_wait_s=0.3)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        outcome, text, _ = refusal(token, known)
        assert outcome is Outcome.UNAVAILABLE
        assert str(lock) in text
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)


def test_a_lock_file_that_is_a_link_is_not_followed(token, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    outcome, text, _ = refusal(token, token.settings(lock_file=str(tmp_path / "link")))
    assert outcome is Outcome.MISCONFIGURED
    assert "lock file" in text
    assert not (tmp_path / "elsewhere").exists()


OPERATOR = """
import json, sys
from hsmkms.core.startup import WorkerSettings
from hsmkms.hsm.errors import StartError
from hsmkms.hsm.operator import capability_rows, describe_token, init_token
module, label, so_pin, pin, settings = sys.argv[1:]
try:
    serial = init_token(module, label, so_pin, pin)
    described = describe_token(WorkerSettings.from_json(settings))
except StartError as error:
    sys.exit(f"{error.outcome.name}: {error.detail}")
assert described.token_serial == serial
print(json.dumps([described.to_json().decode(), [[row.name, row.found, row.purpose] for row in capability_rows(described)]]))
"""


def operate(token, label, so_pin=SO_PIN, pin=PIN):
    """What `hsm-kms token init` and `token info` do, in a process of its own."""
    settings = token.settings(token_label=label).to_json().decode()
    return subprocess.run(
        [sys.executable, "-c", OPERATOR, MODULE, label, so_pin, pin, settings],
        env=token.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_operator_makes_a_token_and_asks_what_it_can_do(tmp_path):
    token = make_folder(tmp_path / "token")
    done = operate(token, "made by hand")
    assert done.returncode == 0, done.stderr
    described, rows = json.loads(done.stdout)
    assert TokenDescription.from_json(described.encode()).token_label == "made by hand"
    assert [row[0] for row in rows] == list(PURPOSES)
    assert {row[0]: row[1] for row in rows}["suite_1"] == "yes"
    again = operate(token, "made by hand")
    assert again.returncode == 1
    assert "already" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize(("label", "pin"), [("", PIN), ("x" * 33, PIN), ("ü", PIN), ("fine", "123")])
def test_a_label_or_pin_that_does_not_do_is_refused(tmp_path, label, pin):
    token = make_folder(tmp_path / "token")
    done = operate(token, label, pin=pin)
    assert done.returncode == 1
    assert done.stderr.startswith("MISCONFIGURED: ")
