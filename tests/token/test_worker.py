"""The worker as a process: what it refuses, what it survives, and when it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.commands import GenerateBackingKey, KeyRef, Load, Outcome, Random, Start, Statistics
from hsmkms.core.frames import Request, encode_request
from hsmkms.core.startup import ALLOCATOR
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm import worker as module
from hsmkms.hsm.worker import Worker
from hsmkms.server.token.process import worker_environment
from support.sealing import encrypt
from support.softhsm import make_token
from support.worker import SpawnedWorker


def test_an_expired_item_is_not_started(worker):
    now = time.monotonic_ns()
    before = WorkerStatistics.from_json(worker.value(Statistics())).calls["C_GenerateRandom"].count
    results = worker.ask(Random(8), Random(8), expiry_ns=now - 1)
    assert [result.outcome for result in results] == [Outcome.EXPIRED] * 2
    assert WorkerStatistics.from_json(worker.value(Statistics())).calls["C_GenerateRandom"].count == before
    assert worker.ask_one(Random(8), expiry_ns=now + 10**12).outcome is Outcome.OK


def test_a_batch_is_answered_item_by_item(worker, in_process):
    unknown = KeyRef(bytes(20), in_process.suite, bytes(40))
    identifier = cka_id(os.urandom(16), 1)
    canary = worker.value(GenerateBackingKey(identifier, in_process.suite, b"deployment"))
    good = encrypt(KeyRef(identifier, in_process.suite, canary), b"x")
    bad = encrypt(KeyRef(cka_id(os.urandom(16), 1), in_process.suite, unknown.canary), b"x")
    outcomes = [result.outcome for result in worker.ask(bad, good, bad)]
    assert outcomes == [Outcome.KEY_NOT_LOADED, Outcome.OK, Outcome.KEY_NOT_LOADED]
    assert not worker.retired


def test_statistics_count_calls_objects_and_memory(worker):
    worker.value(Random(8))
    counted = WorkerStatistics.from_json(worker.value(Statistics()))
    assert counted.calls["C_GenerateRandom"].count == 1
    assert counted.calls["C_GenerateRandom"].nanoseconds > 0
    assert counted.resident_bytes > 1 << 20
    assert counted.objects == 0


def test_frames_may_come_together_or_in_pieces(worker):
    frames = [encode_request(Request(number, (0,), (Random(number),))) for number in range(1, 6)]
    worker.send(b"".join(frames[:3]) + frames[3][:3])
    assert [len(worker.receive().results[0].value) for _ in range(3)] == [1, 2, 3]
    worker.send(frames[3][3:20])
    worker.send(frames[3][20:] + frames[4])
    assert [worker.receive().number for _ in range(2)] == [4, 5]
    worker.send(frames[0][:3])
    worker.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        worker.receive()
    assert "in its middle" in worker.log()


def test_a_frame_may_be_as_long_as_the_pipe_is_not(worker):
    wanted = b"".join(cka_id(os.urandom(16), 1) for _ in range(16000))
    assert [result.outcome for result in worker.ask(*[Load(wanted)] * 3)] == [Outcome.OK] * 3


def test_a_worker_has_few_variables_and_the_configuration_s_go_first():
    assert worker_environment({})["GLIBC_TUNABLES"] == ALLOCATOR["GLIBC_TUNABLES"]
    own = {"GLIBC_TUNABLES": "glibc.malloc.check=1", "SOFTHSM2_CONF": "/etc/softhsm2.conf"}
    found = worker_environment(own)
    assert {name: found[name] for name in own} == own
    assert "HOME" not in found


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x00\x00\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x05hello",
        encode_request(Request(9, (0,), (Random(8),)))[:-1],
        encode_request(Request(9, (0,), (Random(8),))).replace(b"\x09\x06", b"\x09\x63", 1),
        encode_request(Request(9, (0,), (Load(b"x" * 21),))),
        encode_request(Request(9, (0,), (Start(b"{}"),))),
    ],
    ids=["empty", "huge", "garbage", "cut", "altered", "odd-cka-ids", "second-start"],
)
def test_a_malformed_frame_ends_the_process(worker, frame):
    worker.send(frame)
    worker.socket.shutdown(socket.SHUT_WR)
    with pytest.raises((EOFError, ConnectionError)):
        worker.receive()
    log = worker.log()
    assert "bad_frame" in log
    assert "Traceback" not in log
    assert worker.process.returncode == 3


@pytest.mark.parametrize("first", [Random(8), Start(b"not json"), Start(b'{"module": 1}')])
def test_the_first_frame_must_be_start(token, first):
    with SpawnedWorker(token.environment()) as worker:
        worker.send(encode_request(Request(1, (0,), (first,))))
        with pytest.raises((EOFError, ConnectionError)):
            worker.receive()
        assert "bad_frame" in worker.log()


def test_it_ends_at_end_of_file(worker):
    worker.socket.close()
    assert worker.process.wait(5) == 0


def test_ctrl_c_and_strangers_are_kept_out(worker):
    worker.process.send_signal(signal.SIGINT)
    assert worker.ask_one(Random(8)).outcome is Outcome.OK
    proc = Path("/proc") / str(worker.process.pid)
    status = (proc / "status").read_text()
    assert "SigIgn:\t" in status
    assert "Threads:\t1\n" in status
    assert [line.split()[4:6] for line in (proc / "limits").read_text().splitlines() if "core" in line] == [
        ["0", "0"]
    ] or ("Max core file size        0                    0" in (proc / "limits").read_text())
    assert (proc / "environ").stat().st_uid == 0  # not dumpable: its /proc files are root's


PARENT = """
import subprocess, sys, time
fd = int(sys.argv[1])
process = subprocess.Popen([sys.executable, "-m", "hsmkms.hsm.worker", "--fd", str(fd)], pass_fds=[fd])
print(process.pid, flush=True)
time.sleep(60)
"""


def test_it_dies_with_its_parent_even_while_the_socket_is_open(token, settings):
    ours, theirs = socket.socketpair()
    kept = theirs.dup()  # so that no end of file tells the worker
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdout=subprocess.PIPE,
        env=token.environment(),
    )
    theirs.close()
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    ours.settimeout(10)
    ours.sendall(encode_request(Request(1, (0,), (Start(settings.to_json()),))))
    assert ours.recv(4)
    parent.kill()
    parent.wait(10)
    deadline = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _runs(pid)
    parent.stdout.close()
    for end in (ours, kept):
        end.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_unforeseen_exception_tells_its_type_only_and_retires(capfd):
    """The text of an exception could hold a value."""
    ours, theirs = socket.socketpair()
    worker = Worker(theirs)

    def fail(_):
        raise RuntimeError("a plaintext")

    worker._handlers = {Random.opcode: fail}
    results, retiring = worker._run_items(Request(1, (0, 0, 0), (Random(8), Random(8), Random(8))))
    assert retiring
    assert [result.outcome for result in results] == [Outcome.FAILED]  # the others were not started
    assert results[0].value == b"RuntimeError"
    assert "a plaintext" not in capfd.readouterr().err
    ours.close()
    theirs.close()


@pytest.fixture
def softhsm_worker(softhsm, softhsm_settings):
    with SpawnedWorker(softhsm.environment()) as spawned:
        spawned.start(softhsm_settings)
        yield spawned


def test_a_broken_token_makes_the_worker_retire(softhsm_worker, softhsm):
    """A handle that the token no longer knows: the object was destroyed by someone else."""
    worker = softhsm_worker
    before = set(softhsm.tokens.glob("*/*.object"))
    identifier = cka_id(os.urandom(16), 1)
    canary = worker.value(GenerateBackingKey(identifier, Suite.AES_CBC_ENCRYPT_DATA, b"deployment"))
    (file,) = set(softhsm.tokens.glob("*/*.object")) - before
    file.unlink()
    result = worker.ask_one(encrypt(KeyRef(identifier, Suite.AES_CBC_ENCRYPT_DATA, canary), b"x"))
    assert result.outcome in (Outcome.UNAVAILABLE, Outcome.FAILED, Outcome.KEY_DAMAGED)
    if result.outcome is not Outcome.KEY_DAMAGED:
        assert worker.retired
        assert worker.process.wait(5) == module.EXIT_RETIRED


def test_a_token_that_went_away_is_no_damaged_key(tmp_path, softhsm_settings):
    """SoftHSM answers on with its folder gone, and makes session keys; only the backing keys are not there."""
    token = make_token(tmp_path / "token")
    with SpawnedWorker(token.environment()) as worker:
        worker.start(token.settings(capabilities=softhsm_settings.capabilities))
        identifier = cka_id(os.urandom(16), 1)
        canary = worker.value(GenerateBackingKey(identifier, Suite.AES_CBC_ENCRYPT_DATA, b"deployment"))
        token.tokens.rename(tmp_path / "away")
        result = worker.ask_one(encrypt(KeyRef(identifier, Suite.AES_CBC_ENCRYPT_DATA, canary), b"x"))
        assert result.outcome is Outcome.UNAVAILABLE, result.value
        assert worker.retired
    with SpawnedWorker(token.environment()) as worker:
        again = worker.ask_one(Start(token.settings(capabilities=softhsm_settings.capabilities).to_json()))
        assert again.outcome is Outcome.UNAVAILABLE, again.value
    (tmp_path / "away").rename(token.tokens)
    with SpawnedWorker(token.environment()) as worker:
        worker.start(token.settings(capabilities=softhsm_settings.capabilities))
        assert (
            worker.ask_one(encrypt(KeyRef(identifier, Suite.AES_CBC_ENCRYPT_DATA, canary), b"x")).outcome is Outcome.OK
        )
