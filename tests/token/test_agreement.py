"""Shared secrets and MACs: those of software, and refused where the other's key or the message is not what it must be."""

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from hsmkms.core.ciphertext import cka_id
from hsmkms.core.commands import Load, Outcome
from hsmkms.core.material_commands import Agree, Mac, MacHash, MacKeyRef, PairSpec, PairUse, VerifyMac
from hsmkms.hsm.constants import CKR
from hsmkms.hsm.errors import ItemError, TokenError
from hsmkms.hsm.key_kinds import MAC_HASHES, PAIR_KINDS
from hsmkms.hsm.public_keys import point_info
from support.material import DEPLOYMENT, public_key

CURVES = {
    PairSpec.ECC_NIST_P256: ec.SECP256R1(),
    PairSpec.ECC_NIST_P384: ec.SECP384R1(),
    PairSpec.ECC_NIST_P521: ec.SECP521R1(),
}
P256 = PAIR_KINDS[PairSpec.ECC_NIST_P256]


def info_of(private):
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def point_of(private, form=serialization.PublicFormat.UncompressedPoint):
    return private.public_key().public_bytes(serialization.Encoding.X962, form)


@pytest.mark.parametrize("spec", CURVES, ids=lambda one: one.name)
def test_the_secret_is_the_one_that_software_derives(session, material, spec):
    key, kind = material.shared(spec, PairUse.AGREE), PAIR_KINDS[spec]
    for _ in range(4):
        private = ec.generate_private_key(CURVES[spec])
        compressed = point_info(kind, point_of(private, serialization.PublicFormat.CompressedPoint))
        for info in (info_of(private), compressed):
            secret = material.agreements.agree(Agree(key, info))
            assert secret == private.exchange(ec.ECDH(), public_key(key))
            assert len(secret) == kind.coordinate_bytes


def test_zeros_at_the_beginning_of_a_secret_stay(session, material):
    """One secret in 256 begins with a zero: some tokens cut it."""
    key = material.shared(PairSpec.ECC_NIST_P256, PairUse.AGREE)
    while True:
        private = ec.generate_private_key(CURVES[key.spec])
        expected = private.exchange(ec.ECDH(), public_key(key))
        if not expected[0]:
            break
    assert material.agreements.agree(Agree(key, info_of(private))) == expected


def explicit(info):
    """The same key with the curve's numbers in place of its name (SEC 1, appendix C.2); only its form matters here."""
    return info.replace(P256.curve, b"\x30\x03\x02\x01\x01")


def bad_keys():
    private = ec.generate_private_key(CURVES[PairSpec.ECC_NIST_P256])
    info, point = info_of(private), point_of(private)
    off = point[:-1] + bytes([point[-1] ^ 1])
    k1 = info_of(ec.generate_private_key(ec.SECP256K1()))
    return {
        "not on the curve": point_info(P256, off),
        "zero": point_info(P256, b"\4" + bytes(64)),
        "infinity": point_info(P256, b"\0"),
        "infinity, filled up": point_info(P256, bytes(65)),
        "not below the prime": point_info(P256, b"\4" + b"\xff" * 64),
        "hybrid": point_info(P256, bytes([6 | point[-1] & 1]) + point[1:]),
        "compressed, of no point": next(
            bad for x in range(1, 100) if (bad := point_info(P256, b"\2" + x.to_bytes(32, "big"))) and not _loads(bad)
        ),
        "short point": point_info(P256, point[:-1]),
        "long point": point_info(P256, point + b"\0"),
        "another curve of that size": k1,
        "another curve's name": k1.replace(PAIR_KINDS[PairSpec.ECC_SECG_P256K1].curve, P256.curve),
        "another curve": info_of(ec.generate_private_key(ec.SECP384R1())),
        "RSA": info_of(rsa.generate_private_key(65537, 2048)),
        "Ed25519": info_of(ed25519.Ed25519PrivateKey.generate()),
        "X25519": info_of(x25519.X25519PrivateKey.generate()),
        "explicit curve": explicit(info),
        "the point alone": point,
        "a byte more": info + b"\0",
        "a byte less": info[:-1],
        "BER": b"\x30\x81" + info[1:2] + info[2:],
        "PEM": private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "too long": b"\x30\x82\x20\x01" + bytes(0x2001),
        "a private key": private.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "one byte": b"x",
    }


def _loads(info):
    try:
        serialization.load_der_public_key(info)
    except ValueError:
        return False
    return True


def test_a_public_key_that_is_none_on_the_curve_never_reaches_the_token(session, material):
    key = material.shared(PairSpec.ECC_NIST_P256, PairUse.AGREE)
    material.pairs.use(key, PairUse.AGREE)
    derived = session.cryptoki.statistics.calls["C_DeriveKey"]
    before = derived.count
    for name, info in bad_keys().items():
        with pytest.raises(ItemError) as refused:
            material.agreements.agree(Agree(key, info))
        assert refused.value.outcome is Outcome.INVALID_PUBLIC_KEY, name
    assert derived.count == before


def test_a_bad_public_key_costs_the_worker_nothing(worker, session, material):
    key = material.shared(PairSpec.ECC_NIST_P256, PairUse.AGREE)
    assert worker.value(Load(key.cka_id)) == key.cka_id
    for info in bad_keys().values():
        if len(info) <= 8192:
            assert worker.ask_one(Agree(key, info)).outcome is Outcome.INVALID_PUBLIC_KEY
    private = ec.generate_private_key(CURVES[key.spec])
    assert worker.value(Agree(key, info_of(private))) == private.exchange(ec.ECDH(), public_key(key))


def test_a_point_that_the_token_refuses_is_told_from_a_token_that_fails(session, material, monkeypatch):
    key = material.shared(PairSpec.ECC_NIST_P256, PairUse.AGREE)
    question = Agree(key, info_of(ec.generate_private_key(CURVES[key.spec])))
    material.agreements.agree(question)
    derive = session.cryptoki.derive_key

    def failing(ckr):
        left = [ckr]

        def call(*arguments):
            if left:
                raise TokenError("C_DeriveKey", left.pop())
            derive(*arguments)

        monkeypatch.setattr(session.cryptoki, "derive_key", call)

    for ckr in (CKR.PUBLIC_KEY_INVALID, CKR.GENERAL_ERROR, CKR.MECHANISM_PARAM_INVALID, 0x80000001):
        failing(ckr)
        with pytest.raises(ItemError) as refused:
            material.agreements.agree(question)
        assert refused.value.outcome is Outcome.INVALID_PUBLIC_KEY
    for ckr in (CKR.DEVICE_ERROR, CKR.HOST_MEMORY):
        failing(ckr)
        with pytest.raises(TokenError):
            material.agreements.agree(question)


@pytest.mark.parametrize("use", [PairUse.SIGN, PairUse.ENCRYPT])
def test_a_key_of_another_use_agrees_on_nothing(session, material, use):
    spec = PairSpec.RSA_2048 if use is PairUse.ENCRYPT else PairSpec.ECC_NIST_P256
    key = material.shared(spec, use)
    question = Agree(key, info_of(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(ItemError) as refused:
        material.agreements.agree(question)
    assert refused.value.outcome is (Outcome.FAILED if use is PairUse.SIGN else Outcome.UNSUPPORTED)
    if use is PairUse.SIGN:
        with pytest.raises(ItemError) as refused:
            material.agreements.agree(replace(question, key=replace(key, use=PairUse.AGREE)))
        assert refused.value.outcome is Outcome.KEY_DAMAGED
        session.keys.load([key.cka_id])


# MACs.


@pytest.mark.parametrize(("length", "algorithm"), MAC_HASHES.items(), ids=str)
def test_a_mac_is_checked_whole(session, material, length, algorithm):
    identifier = cka_id(os.urandom(16), 1)
    key = MacKeyRef(identifier, material.macs.generate(identifier, length, DEPLOYMENT))
    sequences = material.mac_sequences
    for message in (b"m", os.urandom(64), os.urandom(4096)):
        mac = sequences.mac(Mac(key, algorithm, message))
        assert len(mac) == length
        good = VerifyMac(key, algorithm, message, mac)
        assert sequences.verify_mac(good) == b"\1"
        flips = [mac[:at] + bytes([mac[at] ^ 1]) + mac[at + 1 :] for at in (0, length // 2, length - 1)]
        for wrong in (*flips, mac[:-1], mac[:10], mac + b"\0", b"x", bytes(6144)):
            assert sequences.verify_mac(replace(good, mac=wrong)) == b"\0"
        assert sequences.verify_mac(replace(good, message=message + b"\0" if len(message) < 4096 else b"m")) == b"\0"
    for wrong in (Mac(key, algorithm, b""), Mac(key, algorithm, bytes(4097))):
        with pytest.raises(ItemError) as refused:
            sequences.mac(wrong)
        assert refused.value.outcome is Outcome.FAILED
    for other in {*MacHash, 99} - {algorithm}:
        with pytest.raises(ItemError) as refused:
            sequences.mac(Mac(key, other, b"m"))
        assert refused.value.outcome is Outcome.FAILED, "a key has one hash"
    assert session.keys.destroy(identifier, DEPLOYMENT) == 1
    with pytest.raises(ItemError) as refused:
        sequences.mac(Mac(key, algorithm, b"m"))
    assert refused.value.outcome is Outcome.KEY_NOT_LOADED
