"""Imported key material: parameters, import tokens, the material itself, its expiry, its deletion, its return."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hsmkms.core import import_tokens
from hsmkms.core.errors import KeyUnavailableException, KMSInternalException
from hsmkms.core.model import BackingKeyState, KeyState
from support.deployment import BAD_CIPHERTEXT, Deployment, arn_of
from support.simulated_catalog import DAY_US, START_US
from support.simulated_token import LIKE_SOFTHSM, SimulatedToken, pkcs8, wrap_material
from support.simulator import call_of

MATERIAL = bytes(range(32))
FOR_EVER = {"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
NOT_OURS = ("InvalidImportTokenException", "The import token is not one that this service issued.")
WRAPPINGS = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"]


def at(microseconds):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


@pytest.fixture
async def world():
    """A deployment with an EXTERNAL key x without material."""
    world = await Deployment().prepare()
    world.x = await world.new_key(origin="EXTERNAL")
    world.forget()
    return world


async def parameters(world, key_id=None, wrapping="RSAES_OAEP_SHA_256", spec="RSA_2048"):
    request = {"wrapping_algorithm": wrapping, "wrapping_key_spec": spec}
    return await world.do("GetParametersForImport", key_id=key_id or world.x, **request)


async def request_for(world, material=MATERIAL, key_id=None, wrapping="RSAES_OAEP_SHA_256", **more):
    given = await parameters(world, key_id, wrapping)
    encrypted = wrap_material(given.public_key, wrapping, material)
    expiry = {} if "valid_to" in more or "expiration_model" in more else FOR_EVER
    named = {"key_id": key_id or world.x, "import_token": given.import_token, "encrypted_key_material": encrypted}
    return named | expiry | more


async def imported(world, material=MATERIAL, call=None, **more):
    return await world.do("ImportKeyMaterial", call, **await request_for(world, material, **more))


async def no_import(world, material=MATERIAL, **more):
    return await world.refusal("ImportKeyMaterial", **await request_for(world, material, **more))


def now(world, key_id=None):
    return world.catalog.keys[key_id or world.x]


async def described(world, key_id=None):
    return (await world.do("DescribeKey", key_id=key_id or world.x)).key_metadata


async def listed(world, **more):
    request = {"key_id": world.x, "include_key_material": "ALL_KEY_MATERIAL"} | more
    return (await world.do("ListKeyRotations", **request)).rotations


# A key without material


async def test_an_external_key_waits_for_its_material(world):
    metadata = await described(world)
    assert (metadata.key_state, metadata.origin, metadata.enabled) == ("PendingImport", "EXTERNAL", False)
    assert metadata.current_key_material_id is metadata.expiration_model is metadata.valid_to is None
    expected = ("KMSInvalidStateException", f"{arn_of(world.x)} is pending import.")
    assert await world.refusal("Encrypt", key_id=world.x, plaintext=b"x") == expected
    assert await listed(world) == ()
    assert not world.token.has(now(world).cka_id(1))


async def test_the_same_idempotency_key_makes_one_external_key(world):
    again = call_of(idempotency_key="once")
    made = [await world.do("CreateKey", again, origin="EXTERNAL") for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].key_metadata.key_state == "PendingImport"


async def test_what_a_token_cannot_import_is_no_external_key():
    world = await Deployment(token=SimulatedToken(features=LIKE_SOFTHSM)).prepare()
    refused = await world.refusal("CreateKey", origin="EXTERNAL", key_spec="RSA_2048", key_usage="SIGN_VERIFY")
    assert refused == (
        "UnsupportedOperationException",
        (
            "Origin EXTERNAL with KeySpec RSA_2048 is not possible with this token. "
            "Missing: C_UnwrapKey of an RSA private key by RFC 5649. Use KeySpec SYMMETRIC_DEFAULT."
        ),
    )


# Parameters


async def test_the_parameters_are_good_for_24_hours_and_new_each_time(world):
    one, other = await parameters(world), await parameters(world)
    assert one.key_id == arn_of(world.x)
    assert one.parameters_valid_to == at(START_US + DAY_US)
    assert serialization.load_der_public_key(one.public_key).key_size == 2048
    assert one.import_token != other.import_token
    assert one.public_key != other.public_key
    assert len(one.import_token) <= 6144
    assert not world.catalog.changed, "nothing of them is kept"


async def test_the_longest_wrapping_key_fits_into_an_import_token(world):
    given = await parameters(world, spec="RSA_4096")
    assert len(given.import_token) <= 6144
    encrypted = wrap_material(given.public_key, "RSAES_OAEP_SHA_256", MATERIAL)
    request = {"key_id": world.x, "import_token": given.import_token, "encrypted_key_material": encrypted}
    assert await world.do("ImportKeyMaterial", **request, **FOR_EVER)


async def test_what_is_refused_of_parameters(world):
    request = {"key_id": world.x, "wrapping_algorithm": "RSAES_OAEP_SHA_1", "wrapping_key_spec": "RSA_2048"}
    assert await world.refusal("GetParametersForImport", **request | {"key_id": world.a}) == (
        "UnsupportedOperationException",
        f"{arn_of(world.a)} origin is AWS_KMS which is not valid for this operation.",
    )
    for change, text in (
        ({"wrapping_key_spec": "SM2"}, "WrappingKeySpec SM2 is not possible with this token. Missing: SM2 mechanisms"),
        ({"wrapping_algorithm": "SM2PKE"}, "WrappingAlgorithm SM2PKE is not possible with this token. Missing: an SM2"),
        (
            {"wrapping_algorithm": "RSAES_PKCS1_V1_5"},
            "WrappingAlgorithm RSAES_PKCS1_V1_5 is not possible with this token. Missing: CKM_RSA_PKCS",
        ),
    ):
        refused = await world.refusal("GetParametersForImport", **request | change)
        assert (refused[0], refused[1][: len(text)]) == ("UnsupportedOperationException", text)
    pair = await world.new_key(origin="EXTERNAL", key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT")
    assert await world.refusal("GetParametersForImport", **request | {"key_id": pair}) == (
        "ValidationException",
        (
            "WrappingAlgorithm RSAES_OAEP_SHA_1 cannot wrap an RSA private key: "
            "use RSA_AES_KEY_WRAP_SHA_1 or RSA_AES_KEY_WRAP_SHA_256."
        ),
    )
    world.change(world.x, state=KeyState.PENDING_DELETION)
    expected = ("KMSInvalidStateException", f"{arn_of(world.x)} is pending deletion.")
    assert await world.refusal("GetParametersForImport", **request) == expected


# Import


@pytest.mark.parametrize("wrapping", WRAPPINGS)
async def test_imported_material_makes_a_key_like_any_other(world, wrapping):
    answer = await imported(world, wrapping=wrapping)
    assert answer.key_id == arn_of(world.x)
    assert answer.key_material_id == world.material(world.x)
    metadata = await described(world)
    assert (metadata.key_state, metadata.enabled) == ("Enabled", True)
    assert metadata.current_key_material_id == answer.key_material_id
    assert (metadata.expiration_model, metadata.valid_to) == ("KEY_MATERIAL_DOES_NOT_EXPIRE", None)
    sealed = await world.sealed(b"payload", world.x)
    assert await world.opened(sealed) == b"payload"
    moved = await world.re_encrypt(destination_key_id=world.x)
    assert await world.opened(moved.ciphertext_blob) == b"an envelope"


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33, 64])
async def test_material_has_exactly_32_bytes(world, length):
    code, _ = await no_import(world, os.urandom(length))
    assert code == "ValidationException"
    assert now(world).backing_keys == {}
    assert not world.token.has(now(world).cka_id(1))
    assert await imported(world), "and the key still waits for the right one"


async def test_material_of_another_public_key_does_not_decrypt(world):
    other = await parameters(world)
    encrypted = wrap_material(other.public_key, "RSAES_OAEP_SHA_256", MATERIAL)
    assert await no_import(world, encrypted_key_material=encrypted) == BAD_CIPHERTEXT
    assert await no_import(world, encrypted_key_material=b"x") == BAD_CIPHERTEXT
    assert now(world).backing_keys == {}


async def test_an_import_token_is_good_for_its_key_alone(world):
    other = await world.new_key(origin="EXTERNAL")
    request = await request_for(world) | {"key_id": other}
    refused = await world.refusal("ImportKeyMaterial", **request)
    assert refused == ("InvalidImportTokenException", "The import token is for another KMS key.")


async def test_any_change_of_an_import_token_is_found(world):
    request = await request_for(world)
    token = request["import_token"]
    expired = "ExpiredImportTokenException"
    for position in [*range(60), 100, len(token) - 1]:
        for bit in (1, 128):
            changed = bytearray(token)
            changed[position] ^= bit
            refused = await world.refusal("ImportKeyMaterial", **request | {"import_token": bytes(changed)})
            assert refused[0] in ("InvalidImportTokenException", expired), position
            assert refused[0] != expired or 22 <= position < 30, "only what says its expiry makes it expired"
    for changed in (token[:-8], token + bytes(8), token[:-1], token[:46], b"x"):
        assert await world.refusal("ImportKeyMaterial", **request | {"import_token": changed}) == NOT_OURS
    assert now(world).backing_keys == {}
    assert await world.do("ImportKeyMaterial", **request)


async def test_an_import_token_expires_after_24_hours(world):
    request = await request_for(world)
    world.clock.us += DAY_US - 1
    assert await world.do("ImportKeyMaterial", **request)
    world.clock.us += 1
    code, text = await world.refusal("ImportKeyMaterial", **request)
    assert code == "ExpiredImportTokenException"
    assert "call GetParametersForImport again" in text


def test_the_clear_part_of_an_import_token_is_bound():
    parameters = import_tokens.Parameters(
        bytes(16), import_tokens.ImportWrapping.OAEP_SHA_1, import_tokens.PairSpec.RSA_2048, START_US, bytes(16)
    )
    changes = (
        {"key_uuid": bytes(15) + b"x"},
        {"wrapping": import_tokens.ImportWrapping.OAEP_SHA_256},
        {"pair": import_tokens.PairSpec.RSA_3072},
        {"expiry": START_US + 1},
        {"salt": bytes(15) + b"x"},
    )
    digests = {parameters.digest, *(replace(parameters, **change).digest for change in changes)}
    assert len(digests) == len(changes) + 1
    token = import_tokens.issue(parameters, bytes(1200))
    assert import_tokens.read(token, bytes(16), START_US - 1) == (parameters, bytes(1200))


async def test_import_is_for_external_keys(world):
    request = await request_for(world) | {"key_id": world.a}
    expected = (
        "UnsupportedOperationException",
        f"{arn_of(world.a)} origin is AWS_KMS which is not valid for this operation.",
    )
    assert await world.refusal("ImportKeyMaterial", **request) == expected
    assert await world.refusal("DeleteImportedKeyMaterial", key_id=world.a) == expected


VALIDITY = [
    ({}, "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES."),
    (
        {"expiration_model": "KEY_MATERIAL_EXPIRES"},
        "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES.",
    ),
    (
        {"expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE", "valid_to": at(START_US + DAY_US)},
        "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE.",
    ),
    ({"valid_to": at(START_US)}, "The validTo date must be in the future, and at most 365 days from now."),
    (
        {"valid_to": at(START_US + 365 * DAY_US + 1)},
        "The validTo date must be in the future, and at most 365 days from now.",
    ),
]


@pytest.mark.parametrize(("members", "text"), VALIDITY, ids=["none", "no date", "a date", "past", "too far"])
async def test_expiration_model_and_date_go_together(world, members, text):
    request = {name: value for name, value in (await request_for(world)).items() if name != "expiration_model"}
    assert await world.refusal("ImportKeyMaterial", **request | members) == ("ValidationException", text)
    assert not world.catalog.changed


async def test_import_is_authorised_with_its_expiry(world):
    await imported(world, valid_to=at(START_US + DAY_US))
    asked = world.authorizer.asked[-1]
    assert asked.conditions == {"kms:ExpirationModel": "KEY_MATERIAL_EXPIRES", "kms:ValidTo": "2023-11-15T22:13:20Z"}
    parameters_asked = world.authorizer.asked[-2].conditions
    assert parameters_asked == {"kms:WrappingAlgorithm": "RSAES_OAEP_SHA_256", "kms:WrappingKeySpec": "RSA_2048"}


# Expiry


async def test_from_the_moment_it_expires_material_is_out_of_use_and_can_come_back(world):
    await imported(world, valid_to=at(START_US + DAY_US), key_material_description="first")
    sealed = await world.sealed(b"payload", world.x)
    metadata = await described(world)
    assert (metadata.expiration_model, metadata.valid_to) == ("KEY_MATERIAL_EXPIRES", at(START_US + DAY_US))
    (entry,) = await listed(world)
    assert (entry.import_state, entry.key_material_state) == ("IMPORTED", "CURRENT")
    assert (entry.expiration_model, entry.valid_to) == ("KEY_MATERIAL_EXPIRES", at(START_US + DAY_US))
    assert entry.key_material_description == "first"
    world.clock.us = START_US + DAY_US
    expected = ("KMSInvalidStateException", f"{arn_of(world.x)} is pending import.")
    assert await world.refusal("Decrypt", ciphertext_blob=sealed) == expected
    assert await world.refusal("Encrypt", key_id=world.x, plaintext=b"x") == expected
    assert await world.no_re_encrypt(ciphertext_blob=sealed) == expected
    assert (await described(world)).key_state == "PendingImport"
    (entry,) = await listed(world)
    assert (entry.import_state, entry.valid_to, entry.key_material_description) == ("PENDING_IMPORT", None, "first")
    await imported(world)
    assert await world.opened(sealed) == b"payload"
    assert (await listed(world))[0].key_material_description == "first", "it stays what it was"


async def test_the_same_material_again_replaces_the_expiry(world):
    first = await imported(world, valid_to=at(START_US + DAY_US))
    sealed = await world.sealed(b"payload", world.x)
    for members in ({"valid_to": at(START_US + 2 * DAY_US)}, FOR_EVER | {"import_type": "EXISTING_KEY_MATERIAL"}):
        again = await imported(world, **members)
        assert again.key_material_id == first.key_material_id
        assert (await described(world)).valid_to == members.get("valid_to")
    assert await world.opened(sealed) == b"payload"


# The same material, and no other


async def test_other_material_is_refused_while_the_first_is_there_and_when_it_is_gone(world):
    await imported(world)
    sealed = await world.sealed(b"payload", world.x)
    expected = (
        "IncorrectKeyMaterialException",
        "The key material is not what was imported into this key before.",
    )
    assert await no_import(world, os.urandom(32)) == expected
    assert await world.opened(sealed) == b"payload"
    await world.do("DeleteImportedKeyMaterial", key_id=world.x)
    assert await no_import(world, os.urandom(32)) == expected
    assert now(world).state is KeyState.PENDING_IMPORT
    await imported(world)
    assert await world.opened(sealed) == b"payload"


async def test_what_import_type_and_material_id_say_must_be_true(world):
    never = (
        "IncorrectKeyMaterialException",
        (
            f"No key material was ever imported into {arn_of(world.x)}: use ImportType NEW_KEY_MATERIAL, "
            "and leave KeyMaterialId out."
        ),
    )
    assert await no_import(world, import_type="EXISTING_KEY_MATERIAL") == never
    assert await no_import(world, key_material_id="0" * 64) == never
    both = await no_import(world, import_type="NEW_KEY_MATERIAL", key_material_id="0" * 64)
    assert both == ("ValidationException", "With ImportType NEW_KEY_MATERIAL, leave KeyMaterialId out.")
    material_id = (await imported(world, import_type="NEW_KEY_MATERIAL")).key_material_id
    assert (await imported(world, key_material_id=material_id)).key_material_id == material_id
    wrong = await no_import(world, key_material_id="0" * 64)
    assert wrong == ("IncorrectKeyMaterialException", f"{arn_of(world.x)} has no key material of that KeyMaterialId.")
    code, text = await no_import(world, os.urandom(32), import_type="NEW_KEY_MATERIAL")
    assert code == "UnsupportedOperationException"
    assert "only the same can be imported again" in text


async def test_two_keys_of_one_material_have_two_material_ids(world):
    other = await world.new_key(origin="EXTERNAL")
    one = await imported(world)
    two = await imported(world, key_id=other)
    assert one.key_material_id != two.key_material_id


# RSA keys


@pytest.mark.parametrize("wrapping", WRAPPINGS[2:])
async def test_an_imported_rsa_key_signs_with_its_owners_private_key(world, wrapping):
    private = rsa.generate_private_key(65537, 2048)
    key_id = await world.new_key(origin="EXTERNAL", key_spec="RSA_2048", key_usage="SIGN_VERIFY")
    answer = await imported(world, pkcs8(private), key_id=key_id, wrapping=wrapping)
    assert answer.key_material_id is None
    public = serialization.load_der_public_key((await world.do("GetPublicKey", key_id=key_id)).public_key)
    assert public.public_numbers() == private.public_key().public_numbers()
    request = {"key_id": key_id, "message": b"m", "signing_algorithm": "RSASSA_PSS_SHA_256"}
    signed = await world.do("Sign", **request)
    assert (await world.do("Verify", **request, signature=signed.signature)).signature_valid
    assert await no_import(world, pkcs8(rsa.generate_private_key(65537, 2048)), key_id=key_id, wrapping=wrapping) == (
        "IncorrectKeyMaterialException",
        "The key material is not what was imported into this key before.",
    )
    await world.do("DeleteImportedKeyMaterial", key_id=key_id)
    assert await world.refusal("Sign", **request) == (
        "KMSInvalidStateException",
        f"{arn_of(key_id)} is pending import.",
    )


async def test_what_is_no_private_key_of_that_kind_is_refused(world):
    key_id = await world.new_key(origin="EXTERNAL", key_spec="RSA_2048", key_usage="SIGN_VERIFY")
    named = {"key_id": key_id, "wrapping": "RSA_AES_KEY_WRAP_SHA_256"}
    for material in (MATERIAL, pkcs8(rsa.generate_private_key(65537, 3072))):
        assert (await no_import(world, material, **named))[0] == "ValidationException"
    for member in (
        {"import_type": "NEW_KEY_MATERIAL"},
        {"key_material_id": "0" * 64},
        {"key_material_description": "d"},
    ):
        code, text = await no_import(world, MATERIAL, **named, **member)
        assert (code, "is for symmetric encryption keys alone" in text) == ("ValidationException", True)


# Deletion


async def test_deleted_material_is_gone_from_the_token(world):
    material_id = (await imported(world)).key_material_id
    sealed = await world.sealed(b"payload", world.x)
    answer = await world.do("DeleteImportedKeyMaterial", key_id=world.x)
    assert (answer.key_id, answer.key_material_id) == (arn_of(world.x), material_id)
    assert not world.token.has(now(world).cka_id(1))
    assert now(world).backing_keys[1].state is BackingKeyState.PENDING_IMPORT
    expected = ("KMSInvalidStateException", f"{arn_of(world.x)} is pending import.")
    assert await world.refusal("Decrypt", ciphertext_blob=sealed) == expected
    (entry,) = await listed(world)
    assert (entry.import_state, entry.key_material_id) == ("PENDING_IMPORT", material_id)
    destroyed = len(world.token.destroyed)
    assert (await world.do("DeleteImportedKeyMaterial", key_id=world.x)) == answer, "a second time has no effect"
    assert len(world.token.destroyed) == destroyed


async def test_deletion_of_what_was_never_there_has_no_effect(world):
    answer = await world.do("DeleteImportedKeyMaterial", key_id=world.x)
    assert (answer.key_id, answer.key_material_id) == (arn_of(world.x), None)
    unknown = await world.refusal("DeleteImportedKeyMaterial", key_id=world.x, key_material_id="0" * 64)
    assert unknown == ("NotFoundException", f"{arn_of(world.x)} has no key material of that KeyMaterialId.")


async def test_a_key_pending_deletion_stays_so_when_its_material_goes(world):
    await imported(world)
    await world.do("ScheduleKeyDeletion", key_id=world.x)
    await world.do("DeleteImportedKeyMaterial", key_id=world.x)
    assert (await described(world)).key_state == "PendingDeletion"


async def test_while_the_token_is_away_deleted_material_is_out_of_use_all_the_same(world):
    await imported(world)
    world.token.gone = True
    await world.do("DeleteImportedKeyMaterial", key_id=world.x)
    assert now(world).backing_keys[1].state is BackingKeyState.DESTROYING, "the deleter destroys it later"
    world.token.gone = False
    code, text = await no_import(world)
    assert (code, text) == (
        "KeyUnavailableException",
        f"The key material of {arn_of(world.x)} is being deleted. Try again.",
    )


# Repetition, interruption, rotation


async def test_the_same_idempotency_key_imports_once(world):
    call = call_of(idempotency_key="once")
    request = await request_for(world)
    first = await world.do("ImportKeyMaterial", call, **request)
    await world.do("DeleteImportedKeyMaterial", key_id=world.x)
    assert await world.do("ImportKeyMaterial", call, **request) == first
    assert (await described(world)).key_state == "PendingImport", "it was told what happened, and nothing more happened"


async def test_an_import_that_the_token_did_not_finish_leaves_the_key_unusable_and_can_be_repeated(world):
    request = await request_for(world)
    world.token.gone = True
    with pytest.raises(KeyUnavailableException):
        await world.do("ImportKeyMaterial", **request)
    assert now(world).state is KeyState.PENDING_IMPORT
    assert now(world).backing_keys[1].state is BackingKeyState.CREATING
    world.token.gone = False
    assert (await world.refusal("Encrypt", key_id=world.x, plaintext=b"x"))[0] == "KMSInvalidStateException"
    assert await world.do("ImportKeyMaterial", **request)


async def test_an_import_that_was_not_finished_in_the_catalog_can_be_repeated(world, monkeypatch):
    request = await request_for(world)

    async def killed(*_arguments):
        raise KMSInternalException

    with monkeypatch.context() as patch:
        patch.setattr(world.catalog, "finish_import", killed)
        with pytest.raises(KMSInternalException):
            await world.do("ImportKeyMaterial", **request)
    assert world.token.has(now(world).cka_id(1))
    assert now(world).state is KeyState.PENDING_IMPORT
    assert await world.do("ImportKeyMaterial", **request)
    assert now(world).state is KeyState.ENABLED


async def test_one_import_at_a_time(world):
    request = await request_for(world)
    with world.environment.creations.importing(now(world), 1):
        assert await world.refusal("ImportKeyMaterial", **request) == (
            "ConflictException",
            "Another import into this key is under way.",
        )
        assert now(world).backing_keys == {}
    assert await world.do("ImportKeyMaterial", **request)


async def test_imported_keys_do_not_rotate(world):
    await imported(world)
    origin = f"{arn_of(world.x)} origin is EXTERNAL which is not valid for this operation"
    for operation in ("EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus"):
        assert await world.refusal(operation, key_id=world.x) == ("UnsupportedOperationException", f"{origin}.")
    code, text = await world.refusal("RotateKeyOnDemand", key_id=world.x)
    assert code == "UnsupportedOperationException"
    assert text.startswith(f"{origin}: an imported key has one key material.")
