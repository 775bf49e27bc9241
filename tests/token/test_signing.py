"""Signatures: software and token accept each other's, and whatever is wrong with one has one answer."""

import os
from ctypes import c_ulong
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from hsmkms.core.ciphertext import cka_id
from hsmkms.core.commands import Load, Outcome, Start
from hsmkms.core.material_commands import (
    GenerateKeyPair,
    GenerateMacKey,
    KeyPairRef,
    Mac,
    MacHash,
    MacKeyRef,
    Oaep,
    PairSpec,
    PairUse,
    Sign,
    Signing,
    VerifySignature,
)
from hsmkms.hsm.constants import CKA, CKK, CKM, CKR
from hsmkms.hsm.cryptoki import Mechanism
from hsmkms.hsm.errors import ItemError, TokenError
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.key_pairs import Pair
from hsmkms.hsm.oaep import OAEP
from hsmkms.hsm.signatures import from_der, to_der
from hsmkms.hsm.signing import INVALID, SCHEMES, VALID, Signer
from hsmkms.hsm.templates import PAIR, PAYLOAD_READABLE, render
from support.material import DEPLOYMENT, encrypted, public_key
from support.softhsm import make_token
from support.worker import SpawnedWorker

CURVES = {
    PairSpec.ECC_NIST_P256: ec.SECP256R1(),
    PairSpec.ECC_NIST_P384: ec.SECP384R1(),
    PairSpec.ECC_NIST_P521: ec.SECP521R1(),
    PairSpec.ECC_SECG_P256K1: ec.SECP256K1(),
}
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
HASHES = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512(), 0: None}
CASES = [
    (spec, algorithm)
    for algorithm, scheme in SCHEMES.items()
    for spec in sorted(scheme.specs)
    if spec not in (PairSpec.RSA_3072, PairSpec.RSA_4096)
]


def software(algorithm, salt=None):
    """Return what `cryptography` takes after the message."""
    hashed = HASHES[SCHEMES[algorithm].digest_bytes]
    if hashed is None:
        return ()
    if algorithm.name.startswith("ECDSA"):
        return (ec.ECDSA(utils.Prehashed(hashed)),)
    if SCHEMES[algorithm].before:
        return padding.PKCS1v15(), utils.Prehashed(hashed)
    length = hashed.digest_size if salt is None else salt
    return padding.PSS(padding.MGF1(hashed), length), utils.Prehashed(hashed)


def software_accepts(key, algorithm, message, signature):
    try:
        public_key(key).verify(signature, message, *software(algorithm))
    except InvalidSignature:
        return False
    return True


def message_for(algorithm):
    return os.urandom(SCHEMES[algorithm].digest_bytes or 4096)


def created(session, material, made, private):
    """Make a public key of software's an object of the session that verifies."""
    public = private.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        spec, numbers = PairSpec.RSA_2048, public.public_numbers()
        key = ((CKA.MODULUS, numbers.n.to_bytes(256, "big")), (CKA.PUBLIC_EXPONENT, b"\1\0\1"))
    else:
        if isinstance(public, ed25519.Ed25519PublicKey):
            spec, point = PairSpec.ECC_NIST_EDWARDS25519, public.public_bytes_raw()
        else:
            spec = next(spec for spec, curve in CURVES.items() if curve.name == public.curve.name)
            point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        length = bytes([len(point)]) if len(point) < 128 else bytes([0x81, len(point)])
        key = ((CKA.EC_PARAMS, PAIR_KINDS[spec].curve), (CKA.EC_POINT, b"\4" + length + point))
    kind, (template, _) = PAIR_KINDS[spec], PAIR[PairUse.SIGN]
    named = ((CKA.TOKEN, False),)
    handle = material.pairs.create_public(kind, template, key, named, kind.allowed[PairUse.SIGN])
    return Pair(c_ulong(0), made.own(handle), kind)


def new_private(spec):
    if spec in CURVES:
        return ec.generate_private_key(CURVES[spec])
    return rsa.generate_private_key(65537, 2048) if spec is PairSpec.RSA_2048 else ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(("spec", "algorithm"), CASES, ids=lambda one: one.name)
def test_software_and_token_accept_each_others(session, material, spec, algorithm):
    if not session.found.makes(spec):
        assert spec.name in session.features.needs
        return
    key, message = material.shared(spec, PairUse.SIGN), message_for(algorithm)
    signature = material.signing.sign(Sign(key, algorithm, message))
    assert software_accepts(key, algorithm, message, signature)
    assert material.signing.verify_signature(VerifySignature(key, algorithm, message, signature)) == VALID
    if not SCHEMES[algorithm].digest_bytes:
        assert software_accepts(key, algorithm, b"m", material.signing.sign(Sign(key, algorithm, b"m")))
    private, signer = new_private(spec), Signer(session.cryptoki)
    with session.cryptoki.scratch() as made:
        pair = created(session, material, made, private)
        theirs = private.sign(message, *software(algorithm))
        assert signer.is_valid(pair, SCHEMES[algorithm], message, theirs)
        assert not signer.is_valid(pair, SCHEMES[algorithm], message, signature)
        if algorithm.name.startswith("RSASSA_PSS"):
            for salt in (0, SCHEMES[algorithm].digest_bytes - 1):
                assert not signer.is_valid(
                    pair, SCHEMES[algorithm], message, private.sign(message, *software(algorithm, salt))
                )


def test_an_algorithm_is_for_its_keys_and_digests_alone(session, material):
    for spec, algorithm in CASES:
        if not session.found.makes(spec):
            continue
        key, length = material.shared(spec, PairUse.SIGN), SCHEMES[algorithm].digest_bytes
        for wrong in (0, length - 1, length + 1, 4096) if length else (0, 4097):
            for call, command in (
                (material.signing.sign, Sign(key, algorithm, bytes(wrong))),
                (material.signing.verify_signature, VerifySignature(key, algorithm, bytes(wrong), b"x")),
            ):
                with pytest.raises(ItemError) as refused:
                    call(command)
                assert refused.value.outcome is Outcome.FAILED
        others = [one for one, scheme in SCHEMES.items() if spec not in scheme.specs and session.found.signs(one)]
        for other in others:
            with pytest.raises(ItemError) as refused:
                material.signing.sign(Sign(key, other, message_for(other)))
            assert refused.value.outcome is Outcome.FAILED
    missing = [one for one in Signing if not session.found.signs(one)]
    assert Signing.ED25519_PH_SHA_512 in missing
    for algorithm in missing:
        with pytest.raises(ItemError) as refused:
            material.signing.sign(Sign(material.shared(PairSpec.ECC_NIST_P256, PairUse.SIGN), algorithm, bytes(64)))
        assert refused.value.outcome is Outcome.UNSUPPORTED
    with pytest.raises(ItemError) as refused:
        material.signing.sign(Sign(material.shared(PairSpec.ECC_NIST_P256, PairUse.SIGN), 99, bytes(64)))
    assert refused.value.outcome is Outcome.FAILED


@pytest.mark.parametrize("use", [PairUse.ENCRYPT, PairUse.AGREE])
def test_a_key_of_another_use_signs_nothing(session, material, use):
    encrypts = use is PairUse.ENCRYPT
    key = material.shared(PairSpec.RSA_2048 if encrypts else PairSpec.ECC_NIST_P256, use)
    algorithm = Signing.RSASSA_PSS_SHA_256 if encrypts else Signing.ECDSA_SHA_256
    with pytest.raises(ItemError) as refused:
        material.signing.sign(Sign(key, algorithm, bytes(32)))
    assert refused.value.outcome is Outcome.FAILED
    with pytest.raises(ItemError) as refused:
        material.signing.sign(Sign(replace(key, use=PairUse.SIGN), algorithm, bytes(32)))
    assert refused.value.outcome is Outcome.KEY_DAMAGED, "the object says what it is for"
    session.keys.load([key.cka_id])


def test_an_rsa_key_that_signs_opens_nothing_and_one_that_opens_signs_nothing(session, material):
    """Asked of the token itself, with the mechanisms' right parameters."""
    calls = session.cryptoki
    signs = material.pairs.use(material.shared(PairSpec.RSA_2048, PairUse.SIGN), PairUse.SIGN)
    opens = material.pairs.use(material.shared(), PairUse.ENCRYPT)
    template = render(PAYLOAD_READABLE, session.found)
    wrapped = encrypted(material.shared(PairSpec.RSA_2048, PairUse.SIGN), Oaep.SHA_1, bytes(32))
    for mechanism in (OAEP[Oaep.SHA_1], Mechanism(CKM.RSA_PKCS)):
        with pytest.raises(TokenError):
            calls.decrypt_init(mechanism.pointer, signs.private)
        with pytest.raises(TokenError):
            session.wrapping.unwrap_under(signs.private, mechanism, wrapped, template)
    for algorithm in (Signing.RSASSA_PSS_SHA_256, Signing.RSASSA_PKCS1_V1_5_SHA_256):
        with pytest.raises(TokenError):
            calls.sign_init(SCHEMES[algorithm].mechanism.pointer, opens.private)


def wrong_ecdsa(signature):
    """Forms that are no strict DER of a valid signature on P-256, though some would be one if they were read leniently."""
    r, s = utils.decode_dss_signature(signature)

    def integer(value, *, zeros=0, length=None):
        body = bytes(zeros) + value.to_bytes(value.bit_length() // 8 + 1, "big")
        return b"\2" + (bytes([len(body)]) if length is None else length) + body

    def sequence(body, tag=0x30):
        return bytes([tag, len(body)]) + body

    body = integer(r) + integer(s)
    return [
        *(utils.encode_dss_signature(*pair) for pair in ((0, s), (r, 0), (ORDER_P256, s), (r, ORDER_P256), (s, r))),
        utils.encode_dss_signature(r + ORDER_P256, s),
        utils.encode_dss_signature(r, s + (1 << 256)),
        sequence(integer(r, zeros=1) + integer(s)),
        sequence(integer(r) + integer(s, zeros=3)),
        b"\x30\x81" + bytes([len(body)]) + body,
        b"\x30\x80" + body + b"\0\0",
        sequence(integer(r, length=b"\x81" + integer(r)[1:2]) + integer(s)),
        sequence(b"\2" + integer(r)[1:] + b"\3" + integer(s)[1:]),
        sequence(body, 0x31),
        sequence(body + b"\0"),
        sequence(body + integer(1)),
        sequence(integer(r)),
        sequence(b"\2\0" + integer(s)),
        sequence(b"\2\x20" + b"\xff" * 32 + integer(s)),
        signature + b"\0",
        signature[:-1],
        signature[1:],
        r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        b"\x30",
        b"\x30\0",
        b"\x30\x82",
        b"\x30\2\2\xff",
        b"\xff" * 6144,
        bytes(6144),
    ]


def wrong_rsa(signature, key, other):
    n = public_key(key).public_numbers().n
    numbers = (0, 1, n - 1, n, (1 << 2048) - 1, n - int.from_bytes(signature, "big"))
    wide = int.from_bytes(signature, "big") + n
    return [
        *(number.to_bytes(256, "big") for number in numbers),
        *([wide.to_bytes(256, "big")] if wide < 1 << 2048 else []),
        other,
        signature[1:],
        b"\0" + signature,
        signature + b"\0",
        b"x",
        bytes(6144),
    ]


def test_whatever_is_wrong_with_a_signature_has_one_answer(session, material, worker):
    """And costs the worker nothing: it goes on, with its session."""
    for spec, algorithm in CASES:
        if not session.found.makes(spec):
            continue
        key, message = material.shared(spec, PairUse.SIGN), message_for(algorithm)
        assert worker.value(Load(key.cka_id)) == key.cka_id
        signature = worker.value(Sign(key, algorithm, message))
        good = VerifySignature(key, algorithm, message, signature)
        wrong = [
            signature[:at] + bytes([signature[at] ^ 0x80]) + signature[at + 1 :]
            for at in (0, 1, 40, -1 % len(signature))
        ]
        if spec is PairSpec.ECC_NIST_P256:
            wrong += wrong_ecdsa(signature)
        elif spec is PairSpec.RSA_2048:
            another = Signing.RSASSA_PSS_SHA_256 if SCHEMES[algorithm].before else Signing.RSASSA_PKCS1_V1_5_SHA_256
            wrong += wrong_rsa(signature, key, worker.value(Sign(key, another, message_for(another))))
        elif spec is PairSpec.ECC_NIST_EDWARDS25519:
            wrong += [b"x", bytes(64), b"\xff" * 64, signature[:63], signature + b"\0", bytes(6144)]
        for one in wrong:
            assert not software_accepts(key, algorithm, message, one)
            result = worker.ask_one(replace(good, signature=one))
            assert (result.outcome, result.value) == (Outcome.OK, INVALID), one[:80].hex()
        assert worker.value(replace(good, message=message[:-1] + bytes([message[-1] ^ 1]))) == INVALID
        assert not worker.retired
        assert worker.value(good) == VALID


def test_der_and_raw_are_one_to_one():
    for half in (32, 48, 66):
        for numbers in ((1, 1), (127, 128), (255, 256), ((1 << (8 * half)) - 1, 1 << (8 * half - 8))):
            signature = utils.encode_dss_signature(*numbers)
            raw = b"".join(number.to_bytes(half, "big") for number in numbers)
            assert to_der(raw) == signature
            assert from_der(signature, half) == raw
            assert from_der(signature, half - 1) is None or max(numbers) < 1 << (8 * half - 8)
            for at in range(len(signature)):
                assert from_der(signature[:at], half) is None
                changed = signature[:at] + bytes([signature[at] ^ 0x81]) + signature[at + 1 :]
                again = from_der(changed, half)
                assert again is None or to_der(again) == changed


def test_a_tokens_own_word_for_a_wrong_signature_is_told_from_a_token_that_fails(session, material, monkeypatch):
    key = material.shared(PairSpec.ECC_NIST_P256, PairUse.SIGN)
    signature = material.signing.sign(Sign(key, Signing.ECDSA_SHA_256, bytes(32)))
    question = VerifySignature(key, Signing.ECDSA_SHA_256, bytes(32), signature)
    verify = session.cryptoki.verify

    def failing(ckr, times):
        left = [ckr] * times

        def call(*arguments):
            verify(*arguments)
            if left:
                raise TokenError("C_Verify", left.pop())

        monkeypatch.setattr(session.cryptoki, "verify", call)

    for ckr in (CKR.GENERAL_ERROR, CKR.FUNCTION_FAILED, CKR.ARGUMENTS_BAD, CKR.DATA_INVALID, 0x80000001):
        failing(ckr, 1)
        assert material.signing.verify_signature(question) == INVALID, "the key works all the same"
    for ckr in (CKR.DEVICE_ERROR, CKR.SESSION_HANDLE_INVALID):
        failing(ckr, 1)
        with pytest.raises(TokenError):
            material.signing.verify_signature(question)
    failing(CKR.GENERAL_ERROR, 1 << 10)
    with pytest.raises(ItemError) as refused:
        material.signing.verify_signature(question)
    assert refused.value.outcome is Outcome.KEY_DAMAGED, "nothing works with it, and the token is well"
    monkeypatch.undo()
    session.keys.load([key.cka_id])
    assert material.signing.verify_signature(question) == VALID


# Damaged keys.


def value_in(data, attribute):
    """Return where the encrypted value of an attribute begins in a SoftHSM object file."""
    return data.index(int(attribute).to_bytes(8, "big") + (3).to_bytes(8, "big")) + 24


@pytest.mark.parametrize("what", [PairSpec.RSA_2048, PairSpec.ECC_NIST_P256, "HMAC"], ids=str)
def test_a_damaged_key_file_never_gives_a_wrong_result(tmp_path, softhsm_settings, what):
    token = make_token(tmp_path / "token")
    known = token.settings(capabilities=softhsm_settings.capabilities)
    identifier = cka_id(os.urandom(16), 1)
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)
        if what == "HMAC":
            key = MacKeyRef(identifier, worker.value(GenerateMacKey(identifier, 32, DEPLOYMENT)))
            question = Mac(key, MacHash.SHA_256, b"m")
            expected = worker.value(question)
        else:
            made = worker.value(GenerateKeyPair(identifier, what, PairUse.SIGN, DEPLOYMENT))
            key = KeyPairRef(identifier, what, PairUse.SIGN, made)
            algorithm = Signing.ECDSA_SHA_256 if what is PairSpec.ECC_NIST_P256 else Signing.RSASSA_PKCS1_V1_5_SHA_256
            question = Sign(key, algorithm, bytes(32))
    files = [path for path in token.tokens.glob("*/*.object") if path.name != "token.object"]
    parts = (CKA.MODULUS, 0x123, 0x124, 0x128) if what is PairSpec.RSA_2048 else (CKA.VALUE,)
    own = int(parts[-1]).to_bytes(8, "big") + (3).to_bytes(8, "big")
    (private,) = [path for path in files if own in path.read_bytes()]
    whole, seen = private.read_bytes(), set()
    for at in [place for part in parts for place in (value_in(whole, part), value_in(whole, part) + 20)]:
        private.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with SpawnedWorker(token.environment()) as worker:
            try:
                started = worker.ask_one(Start(known.to_json()))
                result = worker.ask_one(question) if started.outcome is Outcome.OK else started
            except (EOFError, ConnectionError):
                seen.add("the module ended the process")
                continue
        if result.outcome is Outcome.OK:  # RSA works without the number that was changed
            right = (
                result.value == expected
                if what == "HMAC"
                else software_accepts(key, algorithm, bytes(32), result.value)
            )
            assert right
        seen.add(result.outcome)
    assert Outcome.KEY_DAMAGED in seen
    private.write_bytes(whole)
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)
        assert worker.value(question)


def test_every_kind_signs_by_something(session):
    """No kind of key pair is offered that can then do nothing."""
    for spec, kind in PAIR_KINDS.items():
        if session.found.makes(spec) and kind.key_type is not CKK.RSA:
            assert [one for one, scheme in SCHEMES.items() if spec in scheme.specs and session.found.signs(one)]
