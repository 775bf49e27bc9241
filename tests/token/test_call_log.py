"""What the token is asked during one ReEncrypt, by OpenSC's PKCS#11 spy between worker and module."""

import os
import re
from pathlib import Path

import pytest

from hsmkms.core.ciphertext import Mode, cka_id, parse
from hsmkms.core.commands import GenerateBackingKey, KeyRef, Random
from hsmkms.core.material_commands import DecryptRsa, GenerateKeyPair, KeyPairRef, Oaep, PairSpec, PairUse, RewrapRsa
from support.material import encrypted, from_rsa, to_rsa
from support.sealing import Sealed, encrypt, sealed
from support.softhsm import SPY
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
STEP_BY_STEP = [
    "C_DeriveKey",
    "C_UnwrapKey",
    "C_DestroyObject",
    "C_DeriveKey",
    "C_WrapKey",
    "C_DestroyObject",
    "C_DestroyObject",
]
"""The same seven, in mode 3: the source's wrapping key goes as soon as it has unwrapped."""


def calls_in(log: Path) -> list[str]:
    return re.findall(r"^\d+: (C_\w+)$", log.read_text(errors="replace"), re.MULTILINE)


@pytest.mark.parametrize("length", [13, 32, 4096])
def test_a_rewrap_is_seven_calls_and_no_other(token, in_process, settings, tmp_path, length):
    assert Path(SPY).is_file(), f"this test needs OpenSC's spy at {SPY} (apt install opensc)"
    log = tmp_path / "spy.log"
    environment = token.environment(PKCS11SPY=token.module, PKCS11SPY_OUTPUT=str(log))
    with SpawnedWorker(environment) as worker:
        worker.start(token.settings(module=SPY, capabilities=settings.capabilities))
        keys = []
        for _ in range(2):
            identifier = cka_id(os.urandom(16), 1)
            canary = worker.value(GenerateBackingKey(identifier, in_process.suite, b"deployment"))
            keys.append(KeyRef(identifier, in_process.suite, canary))
        plaintext = os.urandom(length)
        command = encrypt(keys[0], plaintext, padded=in_process.features.wraps_padded)
        old = sealed(command, worker.value(command))
        rewrap, header = old.rewrap(keys[1])
        worker.value(rewrap)  # proves both keys by their canaries

        worker.value(Random(1))  # a marker: C_GenerateRandom
        wrapped = worker.value(rewrap)
        worker.value(Random(1))

        assert worker.value(old.rewrapped(keys[1], header, wrapped).decrypt()) == plaintext
    calls = calls_in(log)
    first, second = (at for at, name in enumerate(calls) if name == "C_GenerateRandom")
    assert calls[first + 1 : second] == (STEP_BY_STEP if old.blob.header.mode is Mode.DIRECT_PADDED else REWRAP)
    if length > 8:  # a shorter one could be there by chance
        assert (
            plaintext[:16].hex(" ").upper() not in log.read_text(errors="replace").split("C_GenerateRandom")[1].upper()
        )


TELL_LENGTH = ["C_GetAttributeValue"]
PROVE_AES = ["C_EncryptInit", "C_Encrypt"]
"""One block of zeros: what shows that a secret is an AES key, where the token does not tell its length."""


@pytest.mark.parametrize("way", ["to RSA", "from RSA", "from RSA to RSA"])
def test_a_rewrap_with_an_rsa_key_asks_for_no_plaintext(token, in_process, settings, tmp_path, way):
    """No C_Decrypt, no CKA_VALUE, and no object of a value."""
    log = tmp_path / "spy.log"
    told = settings.capabilities["value_len_after_unwrap"]
    with SpawnedWorker(token.environment(PKCS11SPY=token.module, PKCS11SPY_OUTPUT=str(log))) as worker:
        worker.start(token.settings(module=SPY, capabilities=settings.capabilities))
        identifier, spec, use = cka_id(os.urandom(16), 1), PairSpec.RSA_2048, PairUse.ENCRYPT
        rsa = KeyPairRef(identifier, spec, use, worker.value(GenerateKeyPair(identifier, spec, use, b"deployment")))
        identifier = cka_id(os.urandom(16), 1)
        canary = worker.value(GenerateBackingKey(identifier, in_process.suite, b"deployment"))
        key, plaintext = KeyRef(identifier, in_process.suite, canary), os.urandom(32)
        command = encrypt(key, plaintext)
        symmetric = sealed(command, worker.value(command))
        oaep = encrypted(rsa, Oaep.SHA_1, plaintext)
        asked = {
            "to RSA": to_rsa(symmetric, rsa, Oaep.SHA_1),
            "from RSA": from_rsa(rsa, Oaep.SHA_1, oaep, key),
            "from RSA to RSA": RewrapRsa(rsa, Oaep.SHA_1, oaep, rsa, Oaep.SHA_1),
        }[way]
        worker.value(asked)  # proves the keys
        worker.value(Random(1))
        made = worker.value(asked)
        worker.value(Random(1))
        if way == "from RSA":
            assert worker.value(Sealed(key, parse(made)).decrypt()) == plaintext
        else:
            assert worker.value(DecryptRsa(rsa, Oaep.SHA_1, made)) == plaintext
    calls = calls_in(log)
    first, second = (at for at, name in enumerate(calls) if name == "C_GenerateRandom")
    assert (
        calls[first + 1 : second]
        == {
            "to RSA": ["C_DeriveKey", "C_UnwrapKey", "C_DestroyObject", "C_WrapKey", "C_DestroyObject"],
            "from RSA": [
                "C_UnwrapKey",
                *(TELL_LENGTH if told else PROVE_AES),
                "C_DeriveKey",
                "C_WrapKey",
                "C_DestroyObject",
                "C_DestroyObject",
            ],
            "from RSA to RSA": ["C_UnwrapKey", *(TELL_LENGTH if told else []), "C_WrapKey", "C_DestroyObject"],
        }[way]
    )
    between = log.read_text(errors="replace").split("C_GenerateRandom")[1]
    assert plaintext[:16].hex(" ").upper() not in between.upper()
    assert not re.search(r"CKA_VALUE\s", between)


def test_a_wrong_pin_is_tried_once(token, settings, tmp_path):
    pin_file = tmp_path / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text("not the PIN")
    log = tmp_path / "spy.log"
    with SpawnedWorker(token.environment(PKCS11SPY=token.module, PKCS11SPY_OUTPUT=str(log))) as worker:
        with pytest.raises(AssertionError, match="PIN_REFUSED"):
            worker.start(token.settings(module=SPY, capabilities=settings.capabilities, pin_file=str(pin_file)))
        assert "not the PIN" not in worker.log()
    assert calls_in(log).count("C_Login") == 1
