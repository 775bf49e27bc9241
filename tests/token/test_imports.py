"""Import: material that somebody else made becomes a key on the token, or is refused before anything there is replaced."""

import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from hsmkms.core.ciphertext import canary_digest, cka_id
from hsmkms.core.commands import KeyRef, Outcome
from hsmkms.core.material_commands import (
    DecryptRsa,
    GenerateImportPair,
    ImportKey,
    ImportWrapping,
    KeyPairRef,
    Oaep,
    PairSpec,
    PairUse,
)
from hsmkms.hsm.errors import ItemError
from support import reference_decoder as decoder
from support.material import DEPLOYMENT, encrypted, fields, oaep
from support.sealing import CONTEXT, encrypt

DIGEST = bytes(range(32))
HASH_OF = {
    ImportWrapping.OAEP_SHA_1: Oaep.SHA_1,
    ImportWrapping.OAEP_SHA_256: Oaep.SHA_256,
    ImportWrapping.RSA_AES_SHA_1: Oaep.SHA_1,
    ImportWrapping.RSA_AES_SHA_256: Oaep.SHA_256,
}
HYBRID = (ImportWrapping.RSA_AES_SHA_1, ImportWrapping.RSA_AES_SHA_256)
CURVES = {
    PairSpec.ECC_NIST_P256: ec.SECP256R1(),
    PairSpec.ECC_NIST_P384: ec.SECP384R1(),
    PairSpec.ECC_NIST_P521: ec.SECP521R1(),
    PairSpec.ECC_SECG_P256K1: ec.SECP256K1(),
}


@pytest.fixture(scope="module")
def pair(in_process, material):
    """A service key, and an import pair under it: `(KeyRef, public key, wrapped private key)`."""
    service = in_process.generate()
    public, wrapped = fields(material.made.generate_import_pair(GenerateImportPair(service, DIGEST, PairSpec.RSA_2048)))
    return service, serialization.load_der_public_key(public), wrapped


def wrappings(session):
    return [one for one, used in HASH_OF.items() if (session.found.oaep_sha1, session.found.oaep_sha256)[used - 1]]


def wrapped_as(public, wrapping, material):
    """Encrypt material as an importer does."""
    padding = oaep(HASH_OF[wrapping])
    if wrapping not in HYBRID:
        return public.encrypt(material, padding)
    key = os.urandom(32)
    return public.encrypt(key, padding) + aes_key_wrap_with_padding(key, material)


def command_for(session, pair, material, wrapping=ImportWrapping.OAEP_SHA_1, kind=0, use=0, **changes):
    service, public, wrapped = pair
    command = ImportKey(
        service=service,
        digest=DIGEST,
        wrapped=wrapped,
        wrapping=wrapping,
        material=wrapped_as(public, wrapping, material),
        cka_id=cka_id(os.urandom(16), 1),
        kind=kind,
        suite=0 if kind else session.suite,
        use=use,
        expected=b"",
        label=DEPLOYMENT,
    )
    return replace(command, **changes)


def refusal(material, command):
    with pytest.raises(ItemError) as refused:
        material.imports.import_key(command)
    return refused.value.outcome


def der(private):
    return private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def info(private):
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_an_imported_backing_key_is_the_importers(session, material, pair):
    for wrapping in wrappings(session):
        value = os.urandom(32)
        command = command_for(session, pair, value, wrapping)
        canary = material.imports.import_key(command)
        assert canary == decoder.canary(value, command.cka_id[:16], session.suite)
        key = KeyRef(command.cka_id, session.suite, canary)
        sealing = encrypt(key, b"a plaintext of any length")
        blob = sealing.header + session.sequences.encrypt(sealing)
        assert decoder.unseal(value, blob, CONTEXT) == b"a plaintext of any length"
        assert session.keys.load([key.cka_id]) == [key.cka_id], "found again as any other key"
        assert session.sequences.encrypt(sealing)
        assert key.cka_id in session.keys.load()


def test_the_same_material_comes_back_and_no_other(session, material, pair):
    value = os.urandom(32)
    command = command_for(session, pair, value)
    canary = material.imports.import_key(command)
    again = replace(command, expected=canary)
    assert material.imports.import_key(again) == canary, "over the one that is there"
    other = command_for(session, pair, os.urandom(32), cka_id=command.cka_id, expected=canary)
    assert refusal(material, other) is Outcome.WRONG_MATERIAL
    key = KeyRef(command.cka_id, session.suite, canary)
    assert session.sequences.encrypt(encrypt(key, b"x")), "nothing was replaced"
    session.keys.destroy(command.cka_id, DEPLOYMENT)
    assert refusal(material, other) is Outcome.WRONG_MATERIAL
    assert session.keys.load([command.cka_id]) == []
    assert material.imports.import_key(again) == canary


def test_only_32_bytes_become_a_backing_key(session, material, pair):
    for wrapping in wrappings(session):
        longest = 64 if wrapping in HYBRID else pair[1].key_size // 8 - 2 * (20 if wrapping == 1 else 32) - 2
        for length in [0, 1, 5, 8, 15, 16, 17, 24, 31, 33, 40, 48, 64, longest]:
            if length == 32 or (not length and wrapping in HYBRID):
                continue
            command = command_for(session, pair, os.urandom(length), wrapping)
            assert refusal(material, command) is Outcome.WRONG_LENGTH, (wrapping, length)
            assert session.keys.load([command.cka_id]) == []


def test_what_is_no_material_is_refused(session, material, pair):
    value, service = os.urandom(32), pair[0]
    for wrapping in wrappings(session):
        good = command_for(session, pair, value, wrapping)
        flipped = good.material[:-1] + bytes([good.material[-1] ^ 1])
        for bad in (flipped, os.urandom(len(good.material)), good.material[:-8], good.material + bytes(8), b"x", b""):
            assert refusal(material, replace(good, material=bad)) is Outcome.INVALID_CIPHERTEXT
    forged = [
        replace(good, wrapped=good.wrapped[:-1] + bytes([good.wrapped[-1] ^ 1])),
        replace(good, digest=os.urandom(32)),
        replace(good, service=session.generate()),
        replace(good, wrapped=os.urandom(len(good.wrapped))),
    ]
    for command in forged:
        assert refusal(material, command) is Outcome.INVALID_IMPORT_TOKEN
    assert refusal(material, replace(good, service=replace(service, cka_id=bytes(20)))) is Outcome.KEY_NOT_LOADED


def test_a_foreign_object_is_never_replaced(session, material, pair):
    key = session.generate()
    command = command_for(session, pair, os.urandom(32), cka_id=key.cka_id, label=b"hsm-kms/deployment-2")
    assert refusal(material, command) is Outcome.FAILED
    assert session.sequences.encrypt(encrypt(key, b"x"))


@pytest.fixture(scope="module")
def rsa_private():
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("use", [PairUse.ENCRYPT, PairUse.SIGN])
def test_an_imported_rsa_key_is_the_importers(session, material, pair, rsa_private, use):
    for wrapping in [one for one in wrappings(session) if one in HYBRID]:
        command = command_for(session, pair, der(rsa_private), wrapping, PairSpec.RSA_2048, use)
        public = material.imports.import_key(command)
        assert public == info(rsa_private)
        assert material.imports.import_key(replace(command, expected=public)) == public
        key = KeyPairRef(command.cka_id, PairSpec.RSA_2048, use, public)
        assert session.keys.load([key.cka_id]) == [key.cka_id]
        material.pairs.use(key, use)
        if use is PairUse.ENCRYPT:
            ciphertext = encrypted(key, Oaep.SHA_1, b"a secret")
            assert material.rsa.decrypt_rsa(DecryptRsa(key, Oaep.SHA_1, ciphertext)) == b"a secret"
        assert session.keys.destroy(key.cka_id, DEPLOYMENT) == 2


@pytest.mark.parametrize("spec", CURVES, ids=str)
@pytest.mark.parametrize("use", [PairUse.SIGN, PairUse.AGREE])
def test_an_imported_ec_key_is_the_importers(session, material, pair, spec, use):
    if spec is PairSpec.ECC_SECG_P256K1 and use is PairUse.AGREE:
        return
    for _ in range(4):  # both signs of y
        private = ec.generate_private_key(CURVES[spec])
        for wrapping in (ImportWrapping.RSA_AES_SHA_1, ImportWrapping.OAEP_SHA_1):
            if wrapping is ImportWrapping.OAEP_SHA_1 and len(der(private)) > 214:
                continue
            command = command_for(session, pair, der(private), wrapping, spec, use)
            if not session.found.imports(spec):
                assert refusal(material, command) is Outcome.UNSUPPORTED
                continue
            assert material.imports.import_key(command) == info(private)
            key = KeyPairRef(command.cka_id, spec, use, info(private))
            assert session.keys.load([key.cka_id]) == [key.cka_id]
            material.pairs.use(key, use)
            assert session.keys.destroy(key.cka_id, DEPLOYMENT) == 2


def test_a_private_key_of_another_kind_is_refused(session, material, pair, rsa_private):
    wrapping, kind, use = ImportWrapping.RSA_AES_SHA_1, PairSpec.RSA_2048, PairUse.SIGN
    longer = rsa.generate_private_key(65537, 3072)
    p256 = ec.generate_private_key(ec.SECP256R1())
    p384 = ec.generate_private_key(ec.SECP384R1())
    cases = [(longer, kind), (p256, kind), (rsa_private, PairSpec.RSA_3072)]
    if session.found.imports(PairSpec.ECC_NIST_P256):
        cases += [(p384, PairSpec.ECC_NIST_P256), (rsa_private, PairSpec.ECC_NIST_P256)]
    for private, wanted in cases:
        command = command_for(session, pair, der(private), wrapping, wanted, use)
        assert refusal(material, command) is Outcome.WRONG_LENGTH, (private, wanted)
        assert session.keys.load([command.cka_id]) == []
    for junk in (os.urandom(32), os.urandom(1218), der(rsa_private)[:-9], b"0\x03\2\1\5" + bytes(11)):
        command = command_for(session, pair, junk, wrapping, kind, use)
        assert refusal(material, command) is Outcome.WRONG_LENGTH
    command = command_for(session, pair, of_another_modulus(rsa_private), wrapping, kind, use)
    assert refusal(material, command) is Outcome.WRONG_LENGTH
    good = command_for(session, pair, der(rsa_private), wrapping, kind, use)
    flipped = good.material[:-1] + bytes([good.material[-1] ^ 1])
    assert refusal(material, replace(good, material=flipped)) is Outcome.INVALID_CIPHERTEXT


def of_another_modulus(private):
    """Return an RSA private key in DER that is whole, and does not work: its modulus is that of `private`."""
    other = rsa.generate_private_key(65537, 2048)
    moduli = [one.public_key().public_numbers().n.to_bytes(256, "big") for one in (other, private)]
    assert der(other).count(moduli[0]) == 1
    return der(other).replace(*moduli)


def test_another_rsa_key_does_not_replace_the_one_that_is_there(session, material, pair, rsa_private):
    wrapping, use = ImportWrapping.RSA_AES_SHA_1, PairUse.SIGN
    command = command_for(session, pair, der(rsa_private), wrapping, PairSpec.RSA_2048, use)
    public = material.imports.import_key(command)
    other = der(rsa.generate_private_key(65537, 2048))
    attempt = command_for(
        session, pair, other, wrapping, PairSpec.RSA_2048, use, cka_id=command.cka_id, expected=public
    )
    assert refusal(material, attempt) is Outcome.WRONG_MATERIAL
    material.pairs.use(KeyPairRef(command.cka_id, PairSpec.RSA_2048, use, public), use)


def test_the_canary_of_an_import_is_that_of_a_generated_key(session, material, pair):
    """The derivation input is the key's, and nothing tells the two apart but where they come from."""
    command = command_for(session, pair, os.urandom(32))
    canary = material.imports.import_key(command)
    handle = session.keys.use(KeyRef(command.cka_id, session.suite, canary))
    assert session.wrapping.make_canary(handle, session.suite, canary_digest(command.cka_id[:16])) == canary
