"""The contract of `core.ports.Token` for key pairs, HMAC keys and imported material: the simulator and the workers on each token.

What a token lacks (`TokenFeatures`) is not asked of it but once, to see it refused.
"""

import os
from dataclasses import replace

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from contract.test_token_port import TOKENS, Silent
from hsmkms.core.ciphertext import (
    MAC_CANARY_BYTES,
    Header,
    KeyType,
    Mode,
    Suite,
    cka_id,
    derivation_digest,
    parse,
    sealed_digest,
)
from hsmkms.core.commands import Decrypt, KeyRef
from hsmkms.core.context import canonical
from hsmkms.core.errors import (
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KeyUnavailableException,
    KmsError,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.features import TokenFeatures
from hsmkms.core.import_tokens import WRAPPINGS
from hsmkms.core.material_commands import (
    Agree,
    DecryptRsa,
    EncryptRsa,
    GenerateDataKeyPair,
    ImportWrapping,
    KeyPairRef,
    Mac,
    MacHash,
    MacKeyRef,
    PairSpec,
    PairUse,
    RewrapFromRsa,
    RewrapRsa,
    RewrapToRsa,
    Sign,
    Signing,
    VerifyMac,
    VerifyRsa,
    VerifySignature,
)
from hsmkms.core.model import WrappingAlgorithm
from hsmkms.core.ports import ImportedMaterial
from hsmkms.core.specs import OAEP
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.settings import suite_of
from support.sealing import encrypt, sealed
from support.simulated_token import SimulatedToken, pkcs8, wrap_material
from support.simulator import call_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = call_of()
NO_CONTEXT = canonical({})
HASH_BYTES = {"224": 28, "256": 32, "384": 48, "512": 64}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["simulator", *TOKENS])
async def token(request, tmp_path_factory):
    if request.param == "simulator":
        yield SimulatedToken()
        return
    made = TOKENS[request.param](tmp_path_factory.mktemp("token-material") / "token")
    pool = TokenPool(PoolSettings(made.settings(), made.variables, workers=1, spare=False), Silent())
    try:
        description = await pool.start()
        features = TokenFeatures.from_capabilities(description.capabilities)
        workers = WorkerToken(pool, suite_of(description), b"hsm-kms/contract", features)
        workers.use_import_key(await backing_key_of(workers))
        yield workers
    finally:
        await pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backing_key(token):
    return await backing_key_of(token)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rsa_keys(token):
    return [await pair_of(token, PairSpec.RSA_2048, PairUse.ENCRYPT) for _ in range(2)]


async def backing_key_of(token):
    identifier = cka_id(os.urandom(16), 1)
    return KeyRef(identifier, token.suite, await token.generate_backing_key(identifier, token.suite))


async def pair_of(token, spec, use):
    identifier = cka_id(os.urandom(16), 1)
    return KeyPairRef(identifier, spec, use, await token.generate_key_pair(identifier, spec, use))


def algorithms(token):
    return [oaep for name, oaep in OAEP.items() if name in token.features.encryption_algorithms]


def flipped(data, at=-1):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


async def opened(token, key, blob):
    ciphertext = parse(blob)
    head = ciphertext.header.to_bytes()
    digest = derivation_digest(head, NO_CONTEXT, sealed_digest(ciphertext.sealed))
    return await token.decrypt(CALL, Decrypt(key, digest, head, ciphertext.wrapped, ciphertext.sealed))


# RSA keys to encrypt with


async def test_oaep_there_and_back(token, rsa_keys):
    key = rsa_keys[0]
    assert algorithms(token)
    for algorithm in algorithms(token):
        for length in (1, 16, 190):
            plaintext = os.urandom(length)
            blob = await token.encrypt_rsa(CALL, EncryptRsa(key, algorithm, plaintext))
            assert len(blob) == 256
            assert await token.decrypt_rsa(CALL, DecryptRsa(key, algorithm, blob)) == plaintext
            assert await token.verify_rsa(CALL, VerifyRsa(key, algorithm, blob)) is None


async def test_an_oaep_ciphertext_that_does_not_open_is_invalid(token, rsa_keys):
    algorithm = algorithms(token)[0]
    blob = await token.encrypt_rsa(CALL, EncryptRsa(rsa_keys[0], algorithm, b"0123456789abcdef"))
    for key, wrong in ((rsa_keys[0], flipped(blob)), (rsa_keys[0], bytes(256)), (rsa_keys[1], blob)):
        with pytest.raises(InvalidCiphertextException):
            await token.decrypt_rsa(CALL, DecryptRsa(key, algorithm, wrong))
        with pytest.raises(InvalidCiphertextException):
            await token.verify_rsa(CALL, VerifyRsa(key, algorithm, wrong))
    assert await token.decrypt_rsa(CALL, DecryptRsa(rsa_keys[0], algorithm, blob)) == b"0123456789abcdef"


async def test_four_ways_of_a_data_key(token, rsa_keys, backing_key):
    data_key, algorithm = os.urandom(32), algorithms(token)[0]
    made = encrypt(backing_key, data_key)
    ciphertext = sealed(made, await token.encrypt(CALL, made))
    verify = ciphertext.verify()
    to_rsa = RewrapToRsa(backing_key, verify.source_digest, verify.wrapped, Mode.DIRECT, rsa_keys[0], algorithm)
    blob = await token.rewrap_to_rsa(CALL, to_rsa)
    assert await token.decrypt_rsa(CALL, DecryptRsa(rsa_keys[0], algorithm, blob)) == data_key
    with pytest.raises(InvalidCiphertextException):
        await token.rewrap_to_rsa(CALL, replace(to_rsa, wrapped=flipped(to_rsa.wrapped)))
    moved = await token.rewrap_rsa(CALL, RewrapRsa(rsa_keys[0], algorithm, blob, rsa_keys[1], algorithm))
    assert await token.decrypt_rsa(CALL, DecryptRsa(rsa_keys[1], algorithm, moved)) == data_key
    command = RewrapFromRsa(rsa_keys[1], algorithm, moved, backing_key, os.urandom(16), NO_CONTEXT)
    back = await token.rewrap_from_rsa(CALL, command)
    header = parse(back).header
    assert (header.mode, header.length, header.salt, header.cka_id) == (
        Mode.DIRECT,
        32,
        command.salt,
        backing_key.cka_id,
    )
    assert await opened(token, backing_key, back) == data_key
    with pytest.raises(InvalidCiphertextException):
        await token.rewrap_from_rsa(CALL, replace(command, oaep=flipped(moved)))


@pytest.mark.parametrize("length", [1, 8, 13, 16, 24, 32, 33, 40, 190])
async def test_a_payload_arrives_as_it_was_or_not_at_all(token, rsa_keys, backing_key, length):
    payload, algorithm = os.urandom(length), algorithms(token)[0]
    blob = await token.encrypt_rsa(CALL, EncryptRsa(rsa_keys[0], algorithm, payload))
    command = RewrapFromRsa(rsa_keys[0], algorithm, blob, backing_key, os.urandom(16), NO_CONTEXT)
    exact = length % 8 == 0 and length >= 16
    if length in (16, 24, 32) or (
        token.features.proves_lengths and (exact or (token.features.wraps_padded and length % 8))
    ):
        assert await opened(token, backing_key, await token.rewrap_from_rsa(CALL, command)) == payload
    else:
        with pytest.raises(UnsupportedOperationException) as refused:
            await token.rewrap_from_rsa(CALL, command)
        assert refused.value.message


async def test_an_empty_payload_arrives_nowhere(token, rsa_keys, backing_key):
    algorithm = algorithms(token)[0]
    public = serialization.load_der_public_key(rsa_keys[0].public_key)
    name = next(name for name, oaep in OAEP.items() if oaep is algorithm)
    blob = wrap_material(rsa_keys[0].public_key, WrappingAlgorithm[name.name], b"")
    assert len(blob) == public.key_size // 8
    with pytest.raises(KmsError):
        await token.rewrap_from_rsa(
            CALL, RewrapFromRsa(rsa_keys[0], algorithm, blob, backing_key, os.urandom(16), NO_CONTEXT)
        )
    with pytest.raises(KmsError):
        await token.rewrap_rsa(CALL, RewrapRsa(rsa_keys[0], algorithm, blob, rsa_keys[1], algorithm))


async def test_what_is_too_long_for_the_destination_is_a_validation_error(token, rsa_keys):
    if len(algorithms(token)) < 2:
        return  # one algorithm has one length: 214 bytes fit into both keys
    wide, narrow = algorithms(token)
    blob = await token.encrypt_rsa(CALL, EncryptRsa(rsa_keys[0], wide, os.urandom(214)))
    with pytest.raises(ValidationException):
        await token.rewrap_rsa(CALL, RewrapRsa(rsa_keys[0], wide, blob, rsa_keys[1], narrow))


# Keys that are not there, or not what they were


async def test_a_pair_that_is_unknown_or_another_is_unavailable(token, rsa_keys):
    algorithm = algorithms(token)[0]
    unknown = replace(rsa_keys[0], cka_id=cka_id(os.urandom(16), 1))
    another = replace(rsa_keys[0], public_key=rsa_keys[1].public_key)
    for key in (unknown, another):
        with pytest.raises(KeyUnavailableException):
            await token.encrypt_rsa(CALL, EncryptRsa(key, algorithm, b"x"))
        with pytest.raises(KeyUnavailableException):
            await token.decrypt_rsa(CALL, DecryptRsa(key, algorithm, bytes(256)))


async def test_a_destroyed_pair_is_gone(token):
    key = await pair_of(token, PairSpec.ECC_NIST_P256, PairUse.SIGN)
    assert await token.destroy_backing_keys(key.cka_id) >= 1
    assert await token.destroy_backing_keys(key.cka_id) == 0
    with pytest.raises(KeyUnavailableException):
        await token.sign(CALL, Sign(key, Signing.ECDSA_SHA_256, bytes(32)))


# Signatures, MACs, agreement


def signing_cases():
    curves = {"P256": "256", "P384": "384", "P521": "512"}
    for curve, size in curves.items():
        yield PairSpec[f"ECC_NIST_{curve}"], Signing[f"ECDSA_SHA_{size}"]
    yield PairSpec.ECC_SECG_P256K1, Signing.ECDSA_SHA_256
    yield PairSpec.ECC_NIST_EDWARDS25519, Signing.ED25519_SHA_512
    for algorithm in Signing:
        if algorithm.name.startswith("RSASSA"):
            yield PairSpec.RSA_2048, algorithm


@pytest.mark.parametrize(("spec", "algorithm"), list(signing_cases()), ids=lambda one: one.name)
async def test_a_signature_is_valid_for_what_was_signed_alone(token, spec, algorithm):
    if spec.name not in token.features.key_specs or algorithm.name not in token.features.signing_algorithms:
        assert spec.name in token.features.needs or algorithm.name in token.features.needs
        return
    key = await pair_of(token, spec, PairUse.SIGN)
    message = os.urandom(100 if algorithm is Signing.ED25519_SHA_512 else HASH_BYTES[algorithm.name[-3:]])
    signature = await token.sign(CALL, Sign(key, algorithm, message))
    good = VerifySignature(key, algorithm, message, signature)
    assert await token.verify_signature(CALL, good) is True
    for wrong in (
        replace(good, message=flipped(message)),
        replace(good, signature=flipped(signature)),
        replace(good, signature=signature[:-1]),
        replace(good, signature=b"x"),
        replace(good, signature=bytes(6144)),
    ):
        assert await token.verify_signature(CALL, wrong) is False


@pytest.mark.parametrize("algorithm", MacHash, ids=lambda one: one.name)
async def test_a_mac_is_valid_for_its_message_alone(token, algorithm):
    length = HASH_BYTES[algorithm.name[-3:]]
    identifier = cka_id(os.urandom(16), 1)
    key = MacKeyRef(identifier, await token.generate_mac_key(identifier, length))
    assert len(key.canary) == MAC_CANARY_BYTES
    for message in (b"m", os.urandom(4096)):
        mac = await token.mac(CALL, Mac(key, algorithm, message))
        assert len(mac) == length
        assert await token.verify_mac(CALL, VerifyMac(key, algorithm, message, mac)) is True
        for wrong in (flipped(mac), mac[:-1], mac + b"x", b"x"):
            assert await token.verify_mac(CALL, VerifyMac(key, algorithm, message, wrong)) is False
        assert await token.verify_mac(CALL, VerifyMac(key, algorithm, flipped(message), mac)) is False
    with pytest.raises(KeyUnavailableException):
        await token.mac(CALL, Mac(replace(key, canary=flipped(key.canary)), algorithm, b"m"))


@pytest.mark.parametrize(("curve", "length"), [("P256", 32), ("P384", 48), ("P521", 66)])
async def test_both_ends_derive_one_secret(token, curve, length):
    ours, theirs = [await pair_of(token, PairSpec[f"ECC_NIST_{curve}"], PairUse.AGREE) for _ in range(2)]
    secret = await token.agree(CALL, Agree(ours, theirs.public_key))
    assert secret == await token.agree(CALL, Agree(theirs, ours.public_key))
    assert len(secret) == length
    other = await pair_of(token, PairSpec.ECC_NIST_P384 if curve == "P256" else PairSpec.ECC_NIST_P256, PairUse.AGREE)
    for wrong in (other.public_key, theirs.public_key[:-1], theirs.public_key + b"x", b"x"):
        with pytest.raises(ValidationException):
            await token.agree(CALL, Agree(ours, wrong))


# Data key pairs


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        (PairSpec.RSA_2048, KeyType.RSA),
        (PairSpec.ECC_NIST_P256, KeyType.EC),
        (PairSpec.ECC_NIST_P521, KeyType.EC),
        (PairSpec.ECC_NIST_EDWARDS25519, KeyType.EDWARDS),
    ],
    ids=lambda one: one.name,
)
async def test_a_data_key_pair_opens_to_its_private_key(token, backing_key, spec, kind):
    if spec.name not in token.features.key_pair_specs:
        assert spec.name in token.features.needs
        return
    uuid, version = backing_key.cka_id[:16], int.from_bytes(backing_key.cka_id[16:], "big")
    head = Header(backing_key.suite, Mode.PRIVATE_KEY, uuid, version, 0, os.urandom(16), kind).to_bytes()
    for with_plaintext in (1, 0):
        command = GenerateDataKeyPair(backing_key, head, NO_CONTEXT, spec, with_plaintext)
        public_key, body, private_key = await token.generate_data_key_pair(CALL, command)
        plaintext = await opened(token, backing_key, head + body)
        assert private_key == (plaintext if with_plaintext else b"")
        loaded = serialization.load_der_private_key(plaintext, None).public_key()
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        assert loaded.public_bytes(encoding, form) == public_key


# Import


async def import_of(token, value, wrapping=None, kind=None, **more):
    """Return what imports a value under a new import pair."""
    algorithm = wrapping or next(one for one in WRAPPINGS if one in token.features.wrapping_algorithms)
    digest = os.urandom(32)
    public_key, wrapped = await token.generate_import_pair(CALL, digest, PairSpec.RSA_2048)
    made = ImportedMaterial(
        digest=digest,
        wrapped=wrapped,
        wrapping=WRAPPINGS[algorithm],
        material=wrap_material(public_key, algorithm, value),
        cka_id=cka_id(os.urandom(16), 1),
        kind=kind,
        suite=Suite.NONE if kind else token.suite,
        use=PairUse.SIGN if kind else None,
        expected=b"",
    )
    return replace(made, **more)


@pytest.mark.parametrize("wrapping", WRAPPINGS, ids=str)
async def test_imported_material_seals_like_any_other_and_comes_back(token, wrapping):
    if wrapping not in token.features.wrapping_algorithms:
        assert wrapping in token.features.needs
        return
    value = os.urandom(32)
    material = await import_of(token, value, wrapping)
    key = KeyRef(material.cka_id, token.suite, await token.import_key(material))
    made = encrypt(key, os.urandom(32))
    blob = sealed(made, await token.encrypt(CALL, made))
    again = await import_of(token, value, wrapping, cka_id=material.cka_id, expected=key.canary)
    assert await token.import_key(again) == key.canary
    assert await token.decrypt(CALL, blob.decrypt()) == made.plaintext
    assert await token.destroy_backing_keys(key.cka_id) == 1


@pytest.mark.parametrize("length", [16, 24, 31, 33, 64])
async def test_material_that_has_not_32_bytes_leaves_nothing(token, length):
    material = await import_of(token, os.urandom(length))
    with pytest.raises(ValidationException):
        await token.import_key(material)
    assert await token.destroy_backing_keys(material.cka_id) == 0


async def test_each_refusal_of_an_import_has_its_name_and_leaves_what_was_there(token):
    value = os.urandom(32)
    good = await import_of(token, value)
    canary = await token.import_key(good)
    expected = {"cka_id": good.cka_id, "expected": canary}
    with pytest.raises(IncorrectKeyMaterialException):
        await token.import_key(await import_of(token, os.urandom(32), **expected))
    for spoilt in ({"digest": bytes(32)}, {"wrapped": flipped(good.wrapped)}):
        with pytest.raises(InvalidImportTokenException):
            await token.import_key(replace(good, **spoilt))
    for material in (flipped(good.material), good.material + b"x", b"x"):
        with pytest.raises(InvalidCiphertextException):
            await token.import_key(replace(good, material=material))
    made = encrypt(KeyRef(good.cka_id, token.suite, canary), b"x" * 32)
    assert await token.encrypt(CALL, made)


async def test_an_imported_private_key_signs(token):
    if "RSA_2048" not in token.features.imported_specs:
        assert "RSA_2048" in token.features.needs
        return
    wrapping = next(
        one
        for one, kind in WRAPPINGS.items()
        if one in token.features.wrapping_algorithms
        and kind in (ImportWrapping.RSA_AES_SHA_1, ImportWrapping.RSA_AES_SHA_256)
    )
    private = rsa.generate_private_key(65537, 2048)
    material = await import_of(token, pkcs8(private), wrapping, PairSpec.RSA_2048)
    key = KeyPairRef(material.cka_id, PairSpec.RSA_2048, PairUse.SIGN, await token.import_key(material))
    assert serialization.load_der_public_key(key.public_key).public_numbers() == private.public_key().public_numbers()
    message = os.urandom(32)
    signature = await token.sign(CALL, Sign(key, Signing.RSASSA_PSS_SHA_256, message))
    check = VerifySignature(key, Signing.RSASSA_PSS_SHA_256, message, signature)
    assert await token.verify_signature(CALL, check) is True
    with pytest.raises(ValidationException):
        await token.import_key(await import_of(token, os.urandom(32), wrapping, PairSpec.RSA_2048))
