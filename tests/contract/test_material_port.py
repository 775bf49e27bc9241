"""Key pairs, data key pairs and import by way of the pool of workers, on each token: what `core.ports.Token` says of them.

The pool's admin worker makes what takes long; the crypto workers use it.
"""

import os
from dataclasses import replace

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization

from hsmkms.core.ciphertext import Suite, cka_id, parse
from hsmkms.core.commands import KeyRef
from hsmkms.core.errors import (
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KeyUnavailableException,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import (
    DecryptRsa,
    EncryptRsa,
    ImportWrapping,
    KeyPairRef,
    Oaep,
    PairSpec,
    PairUse,
    RewrapRsa,
    VerifyRsa,
)
from hsmkms.core.ports import ImportedMaterial
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.settings import suite_of
from support.material import data_key_pair, encrypted, from_rsa, oaep, to_rsa
from support.nss import make_nss_token
from support.sealing import Sealed, encrypt, sealed
from support.simulator import call_of
from support.softhsm import make_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = call_of()
DIGEST = bytes(range(32))
TOKENS = {"workers on SoftHSM": make_token, "workers on NSS": make_nss_token}


class Silent:
    """An observer of the pool that keeps nothing."""

    def worker_started(self, name, milliseconds):
        pass

    def worker_ended(self, name, reason):
        pass

    def statistics(self, worker, statistics):
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(TOKENS))
async def token(request, tmp_path_factory):
    made = TOKENS[request.param](tmp_path_factory.mktemp("material-port") / "token")
    pool = TokenPool(PoolSettings(made.settings(), made.variables, workers=1, spare=False), Silent())
    try:
        description = await pool.start()
        features = TokenFeatures.from_capabilities(description.capabilities)
        working = WorkerToken(pool, suite_of(description), b"hsm-kms/contract", features)
        with pytest.raises(UnsupportedOperationException):
            await working.generate_import_pair(CALL, DIGEST, PairSpec.RSA_2048)
        working.use_import_key(await backing_key(working))
        yield working
    finally:
        await pool.close()


async def backing_key(token):
    identifier = cka_id(os.urandom(16), 1)
    return KeyRef(identifier, token.suite, await token.generate_backing_key(identifier, token.suite))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rsa_key(token):
    identifier, spec, use = cka_id(os.urandom(16), 1), PairSpec.RSA_2048, PairUse.ENCRYPT
    return KeyPairRef(identifier, spec, use, await token.generate_key_pair(identifier, spec, use))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def key(token):
    return await backing_key(token)


async def test_a_secret_goes_from_a_symmetric_key_to_an_rsa_key_and_back(token, key, rsa_key):
    plaintext = os.urandom(32)
    command = encrypt(key, plaintext)
    old = sealed(command, await token.encrypt(CALL, command))
    ciphertext = await token.rewrap_to_rsa(CALL, to_rsa(old, rsa_key, Oaep.SHA_1))
    await token.verify_rsa(CALL, VerifyRsa(rsa_key, Oaep.SHA_1, ciphertext))
    again = await token.rewrap_rsa(CALL, RewrapRsa(rsa_key, Oaep.SHA_1, ciphertext, rsa_key, Oaep.SHA_1))
    assert await token.decrypt_rsa(CALL, DecryptRsa(rsa_key, Oaep.SHA_1, again)) == plaintext
    blob = await token.rewrap_from_rsa(CALL, from_rsa(rsa_key, Oaep.SHA_1, again, key))
    assert await token.decrypt(CALL, Sealed(key, parse(blob)).decrypt()) == plaintext


async def test_refusals_have_their_errors(token, key, rsa_key):
    with pytest.raises(ValidationException):
        await token.encrypt_rsa(CALL, EncryptRsa(rsa_key, Oaep.SHA_1, bytes(215)))
    for command in (VerifyRsa(rsa_key, Oaep.SHA_1, bytes(256)), DecryptRsa(rsa_key, Oaep.SHA_1, os.urandom(256))):
        with pytest.raises(InvalidCiphertextException):
            await (token.verify_rsa if isinstance(command, VerifyRsa) else token.decrypt_rsa)(CALL, command)
    short = from_rsa(rsa_key, Oaep.SHA_1, encrypted(rsa_key, Oaep.SHA_1, b"8 bytes."), key)
    with pytest.raises(UnsupportedOperationException, match="16, 24 or 32 bytes"):
        await token.rewrap_from_rsa(CALL, short)
    unknown = replace(rsa_key, cka_id=cka_id(os.urandom(16), 1))
    with pytest.raises(KeyUnavailableException):
        await token.encrypt_rsa(CALL, EncryptRsa(unknown, Oaep.SHA_1, b"x"))


async def test_a_data_key_pair_is_made_beside_the_crypto_workers(token, key):
    for with_plaintext in (True, False):
        command = data_key_pair(key, PairSpec.RSA_2048, with_plaintext=with_plaintext)
        public, body, plaintext = await token.generate_data_key_pair(CALL, command)
        assert bool(plaintext) is with_plaintext
        opened = await token.decrypt(CALL, Sealed(key, parse(command.header + body)).decrypt())
        loaded = serialization.load_der_private_key(opened, None).public_key()
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        assert loaded.public_bytes(encoding, form) == public
        assert plaintext in (b"", opened)


async def test_imported_material_is_used_at_once_and_comes_back_only_as_itself(token):
    public, wrapped = await token.generate_import_pair(CALL, DIGEST, PairSpec.RSA_2048)
    importer = serialization.load_der_public_key(public)
    value = os.urandom(32)

    def material_of(value, **changes):
        material = ImportedMaterial(
            digest=DIGEST,
            wrapped=wrapped,
            wrapping=ImportWrapping.OAEP_SHA_1,
            material=importer.encrypt(value, oaep(Oaep.SHA_1)),
            cka_id=identifier,
            kind=None,
            suite=token.suite,
            use=None,
            expected=b"",
        )
        return replace(material, **changes)

    identifier = cka_id(os.urandom(16), 1)
    canary = await token.import_key(material_of(value))
    imported = KeyRef(identifier, token.suite, canary)
    command = encrypt(imported, b"x")
    good = sealed(command, await token.encrypt(CALL, command))
    with pytest.raises(IncorrectKeyMaterialException):
        await token.import_key(material_of(os.urandom(32), expected=canary))
    with pytest.raises(ValidationException):
        await token.import_key(material_of(bytes(31)))
    with pytest.raises(InvalidCiphertextException):
        await token.import_key(material_of(value, material=os.urandom(256)))
    with pytest.raises(InvalidImportTokenException):
        await token.import_key(material_of(value, digest=bytes(32)))
    assert await token.decrypt(CALL, good.decrypt()) == b"x"
    assert await token.destroy_backing_keys(identifier) == 1
    assert await token.import_key(material_of(value, expected=canary)) == canary
    assert await token.decrypt(CALL, good.decrypt()) == b"x"


async def test_a_mac_key_and_a_pair_are_listed_and_destroyed(token):
    pair, mac = cka_id(os.urandom(16), 1), cka_id(os.urandom(16), 1)
    await token.generate_key_pair(pair, PairSpec.ECC_NIST_P256, PairUse.SIGN)
    assert len(await token.generate_mac_key(mac, 32)) == 32
    listed = await token.list_backing_keys()
    assert {(pair, b"hsm-kms/contract"), (mac, b"hsm-kms/contract")} <= set(listed)
    assert await token.destroy_backing_keys(pair) == 2
    assert await token.destroy_backing_keys(mac) == 1
    assert Suite.NONE not in token.features.suites
