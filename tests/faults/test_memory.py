"""During ReEncrypt no plaintext is in the front, its log, or the frames to the workers."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsmkms.client import Client
from support.load import Load, Sealed, callers, make_keys, re_encrypting, seal
from support.memory import readable_maps, search, stopped
from support.service import Deployment, Service, eventually, make_deployment, running
from support.softhsm import MODULE, PIN, SO_PIN

DIRECT = (16, 24, 32, 64, 256)
ENVELOPE = (13, 31, 100, 1000, 4096)
BY_RSA = (16, 24, 32)
"""Lengths that SoftHSM proves of what an RSA key unwraps."""
OAEP = "RSAES_OAEP_SHA_1"
RSA_BYTES = 256
"""How long a ciphertext under alias/rsa is, and none of the others."""
STOPS = 12
CLIENTS = 8
ENOUGH = 20 << 20

TAP = '''
"""Writes every byte that a token worker and the front send each other into a file."""
import os
import socket


class Tapped(socket.socket):
    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self._tap = open(f"{os.environ['TAP']}/{os.getpid()}", "ab", buffering=0)

    def recv(self, *arguments):
        data = super().recv(*arguments)
        self._tap.write(data)
        return data

    def sendall(self, data, *more):
        self._tap.write(data)
        super().sendall(data, *more)


socket.socket = Tapped
'''

ATTACHER = """
# Reads the memory of two processes of its own user at an address that is none: EFAULT says that it may, EPERM that it may not.
import ctypes, errno, os, socket, subprocess, sys, time
libc = ctypes.CDLL(None, use_errno=True)
CAP_SYS_PTRACE = 1 << 19
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, sets) == 0
sets[0] &= ~CAP_SYS_PTRACE  # root may do everything, unless it gives this up
assert libc.capset(header, sets) == 0

def read(pid):
    local, remote = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8), (ctypes.c_size_t * 2)(16, 8)
    assert libc.process_vm_readv(pid, local, 1, remote, 1, 0) == -1
    return errno.errorcode[ctypes.get_errno()]

ours, theirs = socket.socketpair()
ordinary = subprocess.Popen(["sleep", "60"])
worker = subprocess.Popen(
    [sys.executable, "-m", "hsmkms.hsm.worker", "--fd", str(theirs.fileno()), "--parent", str(os.getpid())],
    pass_fds=[theirs.fileno()],
)
end = time.monotonic() + 10
while (found := read(worker.pid)) != "EPERM" and time.monotonic() < end:
    time.sleep(0.02)
print(read(ordinary.pid), found)
ordinary.kill()
worker.kill()
"""


def tapped_deployment(folder: Path) -> Deployment:
    """Return a deployment whose token workers write down what is on their sockets."""
    code, tap = folder / "code", folder / "tap"
    code.mkdir()
    tap.mkdir()
    (code / "sitecustomize.py").write_text(TAP)
    deployment = make_deployment(folder / "deployment")
    module = {"SOFTHSM2_CONF": str(deployment.token.conf)}
    deployment.settings = {"token": {"environment": {**module, "PYTHONPATH": str(code), "TAP": str(tap)}}}
    deployment.write_config()
    return deployment


def frames(deployment: Deployment) -> bytes:
    """Return what front and workers have sent each other since `forget_frames`."""
    return b"\0".join(file.read_bytes() for file in (deployment.folder.parent / "tap").iterdir())


def forget_frames(deployment: Deployment) -> None:
    for file in (deployment.folder.parent / "tap").iterdir():
        os.truncate(file, 0)


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Return what a secret looks like in memory or in a log: raw, in hexadecimal digits, in base64 at any offset, as Python writes it."""
    encoded = [base64.b64encode(bytes(offset) + secret)[8 if offset else 0 : -4] for offset in range(3)]
    return (secret, secret.hex().encode(), secret.hex().upper().encode(), *encoded, repr(secret)[2:-1].encode())


def recognisable(secret: bytes, length: int) -> bytes:
    """Return a plaintext of that length which holds the secret's first 13 bytes in every piece of 32 bytes."""
    pieces = [secret[:13] + os.urandom(3) for _ in range(length // 16 + 1)]
    return b"".join(pieces)[:length]


def sealed_by_another_process(deployment: Deployment, secret: bytes) -> tuple[list[Sealed], list[Sealed]]:
    """Return ciphertexts under alias/source made by a service process that is gone, and others under alias/rsa made outside."""
    with running(deployment) as earlier:
        operator = make_keys(earlier)
        rsa_key = operator.create_key(key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT").key_metadata.key_id
        operator.create_alias(alias_name="alias/rsa", target_key_id=rsa_key)
        public = load_der_public_key(operator.get_public_key(key_id="alias/rsa").public_key)
        assert isinstance(public, RSAPublicKey)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
        outside = [recognisable(secret, length) for length in BY_RSA]
        return (
            [seal(operator, recognisable(secret, length), length=str(length)) for length in (*DIRECT, *ENVELOPE)],
            [Sealed(public.encrypt(plaintext, oaep), {}, plaintext) for plaintext in outside],
        )


def re_encrypting_rsa(client: Client, symmetric: Sealed, by_rsa: Sequence[Sealed]) -> Callable[[], list[bytes]]:
    """Return a call with an RSA key as source, as destination, and as both; it returns the results, the last of them under alias/rsa."""
    source = {"source_key_id": "alias/rsa", "source_encryption_algorithm": OAEP}
    destination = {"destination_key_id": "alias/rsa", "destination_encryption_algorithm": OAEP}

    def call() -> list[bytes]:
        requests = [
            {"ciphertext_blob": one.blob, "destination_key_id": "alias/destination", **source} for one in by_rsa
        ]
        to_rsa = {"ciphertext_blob": symmetric.blob, "source_encryption_context": symmetric.context, **destination}
        requests += [to_rsa, {"ciphertext_blob": by_rsa[0].blob, **source, **destination}]
        return [client.re_encrypt(**request).ciphertext_blob for request in requests]

    return call


def test_the_plaintext_of_re_encrypt_is_in_no_process_that_talks_to_the_network(tmp_path: Path) -> None:
    secret = os.urandom(13)
    wanted = forms(secret)
    deployment = tapped_deployment(tmp_path)
    sealed, by_rsa = sealed_by_another_process(deployment, secret)
    assert search_bytes(frames(deployment), wanted), "the tap does not see the frames of Encrypt"
    with running(deployment) as service:
        forget_frames(eventually_all_workers(service))
        front = service.process.pid
        chance = random.Random()
        made: list[bytes] = []
        with_rsa = [re_encrypting_rsa(service.client(name), sealed[0], by_rsa) for name in ("reader", "creator")]
        with Load([*callers(service, CLIENTS, re_encrypting, sealed), *with_rsa]) as load:
            for _ in range(STOPS):
                before = load.count()
                eventually(lambda before=before: load.count() > before + 50, what="re-encryptions between two stops")
                time.sleep(chance.uniform(0, 0.05))
                with stopped(front):
                    searched, found = search(front, *wanted)
                assert not found, found
                assert searched > ENOUGH, f"only {searched} bytes of the front could be read"
        load.assert_no_errors()
        operator = service.client()
        for one in sealed:  # each mode and length once for sure
            answer = operator.re_encrypt(
                ciphertext_blob=one.blob, source_encryption_context=one.context, destination_key_id="alias/destination"
            )
            made.append(answer.ciphertext_blob)
        moved = re_encrypting_rsa(operator, sealed[0], by_rsa)()
        assert not search(front, *wanted)[1]
        assert not search_bytes("".join(service.log_text).encode(), wanted)
        seen = frames(deployment)
        assert len(seen) > 100 * load.count(), "the tap has seen too little"
        assert not search_bytes(seen, wanted)

        for blob, one in zip(moved, [*by_rsa, sealed[0], by_rsa[0]], strict=True):
            under_rsa = {"key_id": "alias/rsa", "encryption_algorithm": OAEP} if len(blob) == RSA_BYTES else {}
            assert operator.decrypt(ciphertext_blob=blob, **under_rsa).plaintext == one.plaintext

        # The same search finds what is there: the scanner's positive control.
        with Load([_decrypting(service, made, sealed)] * 4):
            eventually(
                lambda: _found_while_stopped(front, wanted), 20, "a plaintext in the front's memory after Decrypt"
            )
        assert search_bytes(frames(deployment), wanted), "the plaintexts of Decrypt are not in the frames"
        assert not search_bytes("".join(service.log_text).encode(), wanted)
        print(f"{STOPS} stops during {load.count()} re-encryptions, {searched >> 20} MiB searched at each")


def search_bytes(text: bytes, wanted: Sequence[bytes]) -> list[bytes]:
    return [item for item in wanted if item in text]


def eventually_all_workers(service: Service) -> Deployment:
    service.wait_for_workers(4)
    return service.deployment


def _found_while_stopped(front: int, wanted: Sequence[bytes]) -> list[str]:
    with stopped(front):
        return search(front, *wanted)[1]


def _decrypting(service: Service, blobs: Sequence[bytes], sealed: Sequence[Sealed]):
    client = service.client("reader")

    def call() -> None:
        for blob, one in zip(blobs, sealed, strict=True):
            assert client.decrypt(ciphertext_blob=blob).plaintext == one.plaintext

    return call


def test_the_front_has_no_pkcs11_module_and_no_pin(service: Service) -> None:
    make_keys(service)
    front = service.process.pid
    libraries = {name for _, _, name in readable_maps(front) if ".so" in name}
    assert libraries
    assert not [name for name in libraries if "softhsm" in name.lower() or "pkcs11" in name.lower()]
    for pid in service.workers().values():
        assert Path(MODULE).name in {Path(name).name for _, _, name in readable_maps(pid)}, (
            "the control: a worker has the module"
        )
    with stopped(front):
        assert not search(front, PIN.encode(), SO_PIN.encode())[1]
        assert search(front, str(service.deployment.token.pin_file).encode())[1], (
            "the control: the front knows the path"
        )


def test_nobody_can_attach_to_a_worker_or_find_its_core(service: Service) -> None:
    for pid in [service.process.pid, *service.workers().values()]:
        limits = Path(f"/proc/{pid}/limits").read_text()
        core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"], core
    probed = subprocess.run([sys.executable, "-c", ATTACHER], capture_output=True, text=True, timeout=30, check=False)
    assert probed.returncode == 0, probed.stderr
    assert probed.stdout.split() == ["EFAULT", "EPERM"], "an ordinary process, and a worker"
