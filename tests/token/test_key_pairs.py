"""Key pairs and HMAC keys on the token: proven before use, loaded by what they are, destroyed whole."""

import os
from ctypes import c_ulong
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hsmkms.core.ciphertext import cka_id
from hsmkms.core.commands import DestroyBackingKeys, ListBackingKeys, Load, Outcome, Start
from hsmkms.core.material_commands import (
    EncryptRsa,
    GenerateKeyPair,
    GenerateMacKey,
    KeyPairRef,
    MacKeyRef,
    Oaep,
    PairSpec,
    PairUse,
    VerifyRsa,
)
from hsmkms.hsm.constants import CKA, CKO
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.key_pairs import BASE_POINTS
from hsmkms.hsm.templates import PAIR, Template
from support.material import DEPLOYMENT, encrypted, public_key
from support.softhsm import make_token
from support.worker import SpawnedWorker

RSA_USES = [(PairSpec.RSA_2048, use) for use in (PairUse.ENCRYPT, PairUse.SIGN)]
EC_USES = [(spec, use) for spec, kind in PAIR_KINDS.items() if kind.curve for use in kind.allowed]


def objects_with(session, identifier, kind=None):
    kinds = (CKO.SECRET_KEY, CKO.PRIVATE_KEY, CKO.PUBLIC_KEY) if kind is None else (kind,)
    searches = (((CKA.CLASS, one), (CKA.TOKEN, True), (CKA.ID, identifier)) for one in kinds)
    return [handle for search in searches for handle in session.cryptoki.find(Template(search))]


@pytest.mark.parametrize(("spec", "use"), RSA_USES + EC_USES, ids=str)
def test_a_pair_is_generated_found_again_proven_and_destroyed_whole(session, material, spec, use):
    if not session.found.makes(spec):
        with pytest.raises(ItemError) as refused:
            material.generate(spec, use)
        assert refused.value.outcome is Outcome.UNSUPPORTED
        return
    key = material.generate(spec, use)
    info = public_key(key).public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert info == key.public_key, "what software writes for the same key"
    material.pairs.use(key, use)
    assert session.keys.load([key.cka_id]) == [key.cka_id]
    material.pairs.use(key, use)
    assert key.cka_id in session.keys.load()
    (listed,) = session.keys.list_objects(key.cka_id)
    assert (listed.label, listed.use, listed.fault) == (DEPLOYMENT, use, "")
    assert session.keys.destroy(key.cka_id, b"another label") == 0
    assert session.keys.destroy(key.cka_id, DEPLOYMENT) == 2
    assert not objects_with(session, key.cka_id)
    with pytest.raises(ItemError) as refused:
        material.pairs.use(key, use)
    assert refused.value.outcome is Outcome.KEY_NOT_LOADED


def test_base_points_are_those_of_the_standard():
    for spec, curve in (
        (PairSpec.ECC_NIST_P256, ec.SECP256R1()),
        (PairSpec.ECC_NIST_P384, ec.SECP384R1()),
        (PairSpec.ECC_NIST_P521, ec.SECP521R1()),
        (PairSpec.ECC_SECG_P256K1, ec.SECP256K1()),
    ):
        point = ec.derive_private_key(1, curve).public_key()
        encoded = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        assert BASE_POINTS[PAIR_KINDS[spec].curve] == encoded


@pytest.mark.parametrize(
    ("spec", "use"),
    [
        (PairSpec.RSA_2048, PairUse.AGREE),
        (PairSpec.ECC_NIST_P256, PairUse.ENCRYPT),
        (PairSpec.ECC_SECG_P256K1, PairUse.AGREE),
        (PairSpec.ECC_NIST_EDWARDS25519, PairUse.AGREE),
    ],
)
def test_a_use_that_a_kind_does_not_have_is_refused(session, material, spec, use):
    with pytest.raises(ItemError) as refused:
        material.pairs.generate(cka_id(os.urandom(16), 1), spec, use, DEPLOYMENT)
    assert refused.value.outcome is Outcome.UNSUPPORTED


@pytest.mark.parametrize("use", [PairUse.SIGN, PairUse.AGREE])
def test_another_public_key_is_a_damaged_pair(session, material, use):
    key, other = (material.generate(PairSpec.ECC_NIST_P256, use) for _ in range(2))
    with pytest.raises(ItemError) as refused:
        material.pairs.use(replace(key, public_key=other.public_key), use)
    assert refused.value.outcome is Outcome.KEY_DAMAGED
    assert session.keys.load([key.cka_id]) == [key.cka_id]
    material.pairs.use(key, use)


def test_a_pair_is_for_one_use(session, material):
    key = material.generate(PairSpec.ECC_NIST_P256, PairUse.SIGN)
    with pytest.raises(ItemError) as refused:
        material.pairs.use(key, PairUse.AGREE)
    assert refused.value.outcome is Outcome.FAILED
    with pytest.raises(ItemError) as refused:
        material.pairs.use(replace(key, use=PairUse.AGREE), PairUse.AGREE)
    assert refused.value.outcome is Outcome.KEY_DAMAGED, "the object says what it is for"


def mixed(session, material, public_of, use):
    """Give one CKA_ID the private key of a new pair and the public key of another; return how the front would name it."""
    identifier, kind = cka_id(os.urandom(16), 1), PAIR_KINDS[PairSpec.ECC_NIST_P256]
    named = ((CKA.ID, identifier), (CKA.LABEL, DEPLOYMENT))
    public, private = PAIR[use]
    handles = material.pairs.generate_pair(kind, public, private, named, allowed=kind.allowed[use])
    session.cryptoki.destroy_object(handles[1])
    point = public_key(public_of).public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    key = ((CKA.EC_PARAMS, kind.curve), (CKA.EC_POINT, b"\4" + bytes([len(point)]) + point))
    material.pairs.create_public(kind, public, key, named, kind.allowed[use])
    return replace(public_of, cka_id=identifier)


@pytest.mark.parametrize("use", [PairUse.SIGN, PairUse.AGREE])
def test_a_private_key_that_is_not_the_public_keys_is_a_damaged_pair(session, material, use):
    """The public object is right, to the byte; only trying the private key shows it."""
    key = mixed(session, material, material.generate(PairSpec.ECC_NIST_P256, use), use)
    assert session.keys.load([key.cka_id]) == [key.cka_id]
    with pytest.raises(ItemError) as refused:
        material.pairs.use(key, use)
    assert refused.value.outcome is Outcome.KEY_DAMAGED


def test_a_private_key_without_its_public_key_is_not_loaded(session, material):
    key = material.generate(PairSpec.ECC_NIST_P256, PairUse.SIGN)
    (public,) = objects_with(session, key.cka_id, CKO.PUBLIC_KEY)
    session.cryptoki.destroy_object(c_ulong(public))
    assert session.keys.load([key.cka_id]) == []
    assert session.logged == [("backing_key_unfit", {"cka_id": key.cka_id.hex(), "why": "0 public keys"})]
    assert session.keys.destroy(key.cka_id, DEPLOYMENT) == 1, "what is left is destroyed all the same"


def test_two_private_keys_of_one_cka_id_are_ambiguous(session, material):
    key = material.generate(PairSpec.ECC_NIST_P256, PairUse.SIGN)
    kind = PAIR_KINDS[key.spec]
    named = ((CKA.ID, key.cka_id), (CKA.LABEL, b"another deployment"))
    material.pairs.generate_pair(kind, *PAIR[PairUse.SIGN], named, allowed=kind.allowed[PairUse.SIGN])
    loaded = session.keys.load([key.cka_id])
    if len(objects_with(session, key.cka_id, CKO.PRIVATE_KEY)) == 2:  # NSS may put the new one in the old one's place
        assert loaded == []
        assert session.logged[0][0] == "backing_key_ambiguous"
    with pytest.raises(ItemError) as refused:
        material.pairs.use(key, PairUse.SIGN)
    assert refused.value.outcome in (Outcome.KEY_NOT_LOADED, Outcome.KEY_DAMAGED)


def test_generation_never_adopts_what_an_interrupted_one_left_and_spares_what_is_foreign(session, material):
    key = material.generate(PairSpec.ECC_NIST_P256, PairUse.SIGN)
    again = material.pairs.generate(key.cka_id, key.spec, key.use, DEPLOYMENT)
    assert again != key.public_key
    assert len(objects_with(session, key.cka_id)) == 2
    with pytest.raises(ItemError) as refused:
        material.pairs.generate(key.cka_id, key.spec, key.use, b"hsm-kms/deployment-2")
    assert refused.value.outcome is Outcome.FAILED
    assert len(objects_with(session, key.cka_id)) == 2


@pytest.mark.parametrize("change", [{"SENSITIVE": False}, {"EXTRACTABLE": True}, {"UNWRAP": True}, {"DERIVE": True}])
def test_a_private_key_that_is_not_what_its_template_says_is_not_loaded(session, material, change):
    kind, identifier = PAIR_KINDS[PairSpec.ECC_NIST_P256], cka_id(os.urandom(16), 1)
    public, private = PAIR[PairUse.SIGN]
    changed = tuple((one, change.get(one.name, value)) for one, value in private)
    named = ((CKA.ID, identifier), (CKA.LABEL, DEPLOYMENT))
    material.pairs.generate_pair(kind, public, changed, named, allowed=kind.allowed[PairUse.SIGN])
    assert session.keys.load([identifier]) == []
    assert session.logged[0][0] == "backing_key_unfit"
    assert session.keys.destroy(identifier, DEPLOYMENT) == 2


# HMAC keys.


@pytest.mark.parametrize("length", [28, 32, 48, 64])
def test_a_mac_key_is_generated_found_again_proven_and_destroyed(session, material, length):
    identifier = cka_id(os.urandom(16), 1)
    key = MacKeyRef(identifier, material.macs.generate(identifier, length, DEPLOYMENT))
    assert len(key.canary) == 32
    assert session.keys.load([identifier]) == [identifier]
    material.macs.use(key)
    with pytest.raises(ItemError) as refused:
        material.macs.use(replace(key, canary=bytes(32)))
    assert refused.value.outcome is Outcome.KEY_DAMAGED
    assert session.keys.load([identifier]) == [identifier]
    assert material.macs.use(key)[1].name == {28: "SHA_224", 32: "SHA_256", 48: "SHA_384", 64: "SHA_512"}[length]
    (listed,) = session.keys.list_objects(identifier)
    assert (listed.label, listed.fault) == (DEPLOYMENT, "")
    assert session.keys.destroy(identifier, DEPLOYMENT) == 1


def test_a_mac_key_of_another_length_is_refused(session, material):
    with pytest.raises(ItemError) as refused:
        material.macs.generate(cka_id(os.urandom(16), 1), 20, DEPLOYMENT)
    assert refused.value.outcome is Outcome.UNSUPPORTED


# The worker.


def test_a_worker_generates_lists_loads_uses_and_destroys(worker):
    pair_id, mac_id = cka_id(os.urandom(16), 1), cka_id(os.urandom(16), 1)
    info = worker.value(GenerateKeyPair(pair_id, PairSpec.RSA_2048, PairUse.ENCRYPT, DEPLOYMENT))
    canary = worker.value(GenerateMacKey(mac_id, 32, DEPLOYMENT))
    assert len(canary) == 32
    listing = worker.value(ListBackingKeys())
    for identifier in (pair_id, mac_id):
        assert bytes([20]) + identifier + bytes([len(DEPLOYMENT)]) + DEPLOYMENT in listing
        assert worker.value(Load(identifier)) == identifier
    key = KeyPairRef(pair_id, PairSpec.RSA_2048, PairUse.ENCRYPT, info)
    ciphertext = worker.value(EncryptRsa(key, Oaep.SHA_1, b"x"))
    assert worker.value(VerifyRsa(key, Oaep.SHA_1, ciphertext)) == b""
    assert worker.value(DestroyBackingKeys(pair_id, DEPLOYMENT)) == (2).to_bytes(4, "big")
    assert worker.value(DestroyBackingKeys(mac_id, DEPLOYMENT)) == (1).to_bytes(4, "big")
    assert worker.ask_one(VerifyRsa(key, Oaep.SHA_1, ciphertext)).outcome is Outcome.KEY_NOT_LOADED


PRIVATE_PARTS = (0x123, 0x124, 0x125, 0x126, 0x128)
"""Private exponent, both primes, an exponent and the coefficient of the Chinese remainder theorem (PKCS#11 2.40, section 2.1.2)."""


def value_in(data: bytes, attribute: int) -> int:
    """Return where the encrypted value of an attribute begins in a SoftHSM object file."""
    return data.index(attribute.to_bytes(8, "big") + (3).to_bytes(8, "big")) + 24


def test_a_damaged_private_key_file_never_gives_a_wrong_result(tmp_path, softhsm_settings):
    """SoftHSM answers some damages with silence; what the private key then does shows it, before anything is made with it."""
    token = make_token(tmp_path / "token")
    known = token.settings(capabilities=softhsm_settings.capabilities)
    identifier, spec, use = cka_id(os.urandom(16), 1), PairSpec.RSA_2048, PairUse.ENCRYPT
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)
        key = KeyPairRef(identifier, spec, use, worker.value(GenerateKeyPair(identifier, spec, use, DEPLOYMENT)))
    question = VerifyRsa(key, Oaep.SHA_1, encrypted(key, Oaep.SHA_1, b"x"))
    files = [path for path in token.tokens.glob("*/*.object") if path.name != "token.object"]
    private = max(files, key=lambda path: path.stat().st_size)
    whole, seen = private.read_bytes(), set()
    values = [value_in(whole, part) for part in PRIVATE_PARTS]
    flips = [value_in(whole, CKA.MODULUS) + 40, *values, *(value + 60 for value in values)]
    for at in flips:
        private.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with SpawnedWorker(token.environment()) as worker:
            try:
                started = worker.ask_one(Start(known.to_json()))
                result = worker.ask_one(question) if started.outcome is Outcome.OK else started
                sealing = worker.ask_one(EncryptRsa(key, Oaep.SHA_1, b"x")) if not worker.retired else result
            except (EOFError, ConnectionError):
                seen.add("the module ended the process")
                continue
        assert (sealing.outcome is Outcome.OK) == (result.outcome is Outcome.OK), "nothing is sealed that does not open"
        assert result.outcome is not Outcome.INVALID_CIPHERTEXT, "a damaged key is not the ciphertext's fault"
        seen.add(result.outcome)
    assert Outcome.KEY_DAMAGED in seen
    private.write_bytes(whole)
    with SpawnedWorker(token.environment()) as worker:
        worker.start(known)
        assert worker.value(question) == b""
