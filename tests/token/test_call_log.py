"""What the token is asked during one ReEncrypt, by OpenSC's PKCS#11 spy between worker and module."""

import os
import re
from pathlib import Path

import pytest

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.commands import GenerateBackingKey, KeyRef, Random
from support.sealing import encrypt, sealed
from support.softhsm import MODULE, SPY
from support.worker import SpawnedWorker

REWRAP = [
    "C_DeriveKey",
    "C_UnwrapKey",
    "C_DeriveKey",
    "C_WrapKey",
    "C_DestroyObject",
    "C_DestroyObject",
    "C_DestroyObject",
]


def calls_in(log: Path) -> list[str]:
    return re.findall(r"^\d+: (C_\w+)$", log.read_text(errors="replace"), re.MULTILINE)


@pytest.mark.parametrize("length", [13, 32, 4096])
def test_a_rewrap_is_seven_calls_and_no_other(softhsm, settings, tmp_path, length):
    assert Path(SPY).is_file(), f"this test needs OpenSC's spy at {SPY} (apt install opensc)"
    log = tmp_path / "spy.log"
    environment = softhsm.environment(PKCS11SPY=MODULE, PKCS11SPY_OUTPUT=str(log))
    with SpawnedWorker(environment) as worker:
        worker.start(softhsm.settings(module=SPY, capabilities=settings.capabilities))
        keys = []
        for _ in range(2):
            identifier = cka_id(os.urandom(16), 1)
            canary = worker.value(GenerateBackingKey(identifier, Suite.AES_CBC_ENCRYPT_DATA, b"deployment"))
            keys.append(KeyRef(identifier, Suite.AES_CBC_ENCRYPT_DATA, canary))
        plaintext = os.urandom(length)
        command = encrypt(keys[0], plaintext)
        old = sealed(command, worker.value(command))
        rewrap, header = old.rewrap(keys[1])
        worker.value(rewrap)  # proves both keys by their canaries

        worker.value(Random(1))  # a marker: C_GenerateRandom
        wrapped = worker.value(rewrap)
        worker.value(Random(1))

        assert worker.value(old.rewrapped(keys[1], header, wrapped).decrypt()) == plaintext
    calls = calls_in(log)
    first, second = (at for at, name in enumerate(calls) if name == "C_GenerateRandom")
    assert calls[first + 1 : second] == REWRAP
    if length > 8:  # a shorter one could be there by chance
        assert (
            plaintext[:16].hex(" ").upper() not in log.read_text(errors="replace").split("C_GenerateRandom")[1].upper()
        )


def test_a_wrong_pin_is_tried_once(softhsm, settings, tmp_path):
    pin_file = tmp_path / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text("not the PIN")
    log = tmp_path / "spy.log"
    with SpawnedWorker(softhsm.environment(PKCS11SPY=MODULE, PKCS11SPY_OUTPUT=str(log))) as worker:
        with pytest.raises(AssertionError, match="PIN_REFUSED"):
            worker.start(softhsm.settings(module=SPY, capabilities=settings.capabilities, pin_file=str(pin_file)))
        assert "not the PIN" not in worker.log()
    assert calls_in(log).count("C_Login") == 1
