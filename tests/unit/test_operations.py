"""The cryptographic operations: key states, algorithms, dry runs, ciphertexts, data keys."""

import uuid
from dataclasses import replace

import pytest

from hsmkms.core.ciphertext import Mode, Suite, parse
from hsmkms.core.commands import Verify
from hsmkms.core.model import BackingKeyState, KeyState
from support.deployment import (
    BAD_CIPHERTEXT,
    CONTEXT,
    DRY_RUN,
    INCORRECT_KEY,
    UNKNOWN_TO_YOU,
    Deployment,
    arn_of,
    not_authorised,
    null,
)
from support.simulator import SimulatedToken

# Key states, told with the key's ARN even when an alias was sent

STATES = [
    (KeyState.DISABLED, "DisabledException", "is disabled."),
    (KeyState.PENDING_DELETION, "KMSInvalidStateException", "is pending deletion."),
    (KeyState.PENDING_IMPORT, "KMSInvalidStateException", "is pending import."),
    (KeyState.CREATING, "KMSInvalidStateException", "is creating."),
    (KeyState.UNAVAILABLE, "KMSInvalidStateException", "is unavailable."),
]
USES = {
    "ReEncrypt from": ("ReEncrypt", {"source_key_id": "alias/a", "destination_key_id": "alias/b"}),
    "ReEncrypt from, by ciphertext": ("ReEncrypt", {"destination_key_id": "alias/b"}),
    "ReEncrypt to": ("ReEncrypt", {"source_key_id": "alias/b", "destination_key_id": "alias/a"}),
    "Decrypt": ("Decrypt", {"key_id": "alias/a"}),
    "Encrypt": ("Encrypt", {"key_id": "alias/a", "plaintext": b"x"}),
    "GenerateDataKey": ("GenerateDataKey", {"key_id": "alias/a", "key_spec": "AES_256"}),
    "GenerateDataKeyWithoutPlaintext": (
        "GenerateDataKeyWithoutPlaintext",
        {"key_id": "alias/a", "key_spec": "AES_256"},
    ),
    "GenerateDataKeyPair": ("GenerateDataKeyPair", {"key_id": "alias/a", "key_pair_spec": "ECC_NIST_P256"}),
    "GenerateDataKeyPairWithoutPlaintext": (
        "GenerateDataKeyPairWithoutPlaintext",
        {"key_id": "alias/a", "key_pair_spec": "ECC_NIST_P256"},
    ),
}


async def use(world, name):
    operation, request = USES[name]
    if name == "ReEncrypt to":
        request = request | {"ciphertext_blob": await world.sealed(b"payload", "alias/b")}
    elif operation in ("ReEncrypt", "Decrypt"):
        request = request | {"ciphertext_blob": world.blob}
    return operation, request


@pytest.mark.parametrize(("state", "code", "text"), STATES, ids=[state for state, *_ in STATES])
@pytest.mark.parametrize("name", USES)
async def test_only_an_enabled_key_does_cryptography(world, name, state, code, text):
    operation, request = await use(world, name)
    world.change(world.a, state=state)
    world.forget()
    assert await world.refusal(operation, **request) == (code, f"{arn_of(world.a)} {text}")
    assert not world.token.asked


@pytest.mark.parametrize("name", USES)
async def test_a_key_that_is_updating_passes(world, name):
    operation, request = await use(world, name)
    world.change(world.a, state=KeyState.UPDATING)
    assert await world.do(operation, **request)


@pytest.mark.parametrize("name", USES)
async def test_nothing_about_the_state_is_told_to_who_may_not(world, name):
    operation, request = await use(world, name)
    world.change(world.a, state=KeyState.PENDING_DELETION)
    action = {"ReEncrypt to": "kms:ReEncryptTo"}.get(name, f"kms:{operation}{'From' * (operation == 'ReEncrypt')}")
    world.authorizer.denied.add(action)
    by_ciphertext = name == "ReEncrypt from, by ciphertext"
    expected = UNKNOWN_TO_YOU if by_ciphertext else not_authorised(action, arn_of(world.a))
    assert await world.refusal(operation, **request) == expected


# Algorithms


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
async def test_an_asymmetric_algorithm_does_not_go_with_a_symmetric_key(world, algorithm):
    expected = (
        "InvalidKeyUsageException",
        f"Algorithm {algorithm} and key spec SYMMETRIC_DEFAULT are incompatible: use SYMMETRIC_DEFAULT.",
    )
    source = {"source_key_id": "alias/a", "source_encryption_algorithm": algorithm}
    assert await world.no_re_encrypt(**source) == expected
    assert await world.no_re_encrypt(**source, ciphertext_blob=b"plain OAEP has no header") == expected
    assert await world.no_re_encrypt(destination_encryption_algorithm=algorithm) == expected
    request = {"key_id": "alias/a", "encryption_algorithm": algorithm}
    assert await world.refusal("Encrypt", **request, plaintext=b"x") == expected
    assert await world.refusal("Decrypt", **request, ciphertext_blob=b"x") == expected
    without_key = {"source_encryption_algorithm": algorithm}
    assert await world.no_re_encrypt(**without_key) == null("sourceKeyId")
    assert await world.refusal("Decrypt", encryption_algorithm=algorithm, ciphertext_blob=b"x") == null("keyId")


# Dry runs


DRY_RUNS = {
    "ReEncrypt": lambda world: {"ciphertext_blob": world.blob, "destination_key_id": "alias/b"},
    "Decrypt": lambda world: {"ciphertext_blob": world.blob},
    "Encrypt": lambda world: {"key_id": "alias/a", "plaintext": b"x"},
    "GenerateDataKey": lambda world: {"key_id": "alias/a", "key_spec": "AES_256"},
    "GenerateDataKeyWithoutPlaintext": lambda world: {"key_id": "alias/a", "number_of_bytes": 7},
    "GenerateDataKeyPair": lambda world: {"key_id": "alias/a", "key_pair_spec": "ECC_NIST_P256"},
    "GenerateDataKeyPairWithoutPlaintext": lambda world: {"key_id": "alias/a", "key_pair_spec": "RSA_2048"},
}


@pytest.mark.parametrize("operation", DRY_RUNS)
async def test_a_dry_run_never_succeeds_and_makes_nothing(world, operation):
    assert await world.refusal(operation, **DRY_RUNS[operation](world), dry_run=True) == DRY_RUN
    assert {type(command) for command in world.token.asked} <= {Verify}


@pytest.mark.parametrize("operation", ["ReEncrypt", "Decrypt"])
async def test_a_dry_run_judges_the_ciphertext_on_the_token(world, operation):
    request = DRY_RUNS[operation](world) | {"dry_run": True}
    damaged = world.blob[:-1] + bytes([world.blob[-1] ^ 1])
    assert await world.refusal(operation, **request | {"ciphertext_blob": damaged}) == BAD_CIPHERTEXT
    assert [type(command) for command in world.token.asked] == [Verify]


async def test_a_dry_run_that_was_switched_off_is_none(world):
    assert await world.re_encrypt(dry_run=False)


IGNORE = {"dry_run": True, "dry_run_modifiers": ("IGNORE_CIPHERTEXT",)}


async def test_ignore_ciphertext_checks_the_permissions_alone(world):
    request = {"destination_key_id": "alias/b", **IGNORE}
    assert await world.refusal("ReEncrypt", source_key_id="alias/a", **request) == DRY_RUN
    assert await world.refusal("Decrypt", key_id="alias/a", **IGNORE) == DRY_RUN
    assert not world.token.asked
    assert await world.refusal("ReEncrypt", **request) == null("sourceKeyId")
    assert await world.refusal("Decrypt", **IGNORE) == null("keyId")
    world.authorizer.denied.add("kms:ReEncryptTo")
    expected = not_authorised("kms:ReEncryptTo", arn_of(world.b))
    assert await world.refusal("ReEncrypt", source_key_id="alias/a", **request) == expected


async def test_ignore_ciphertext_takes_no_ciphertext_and_needs_a_dry_run(world):
    assert await world.no_re_encrypt(source_key_id="alias/a", **IGNORE) == (
        "ValidationException",
        "With IGNORE_CIPHERTEXT, leave CiphertextBlob out.",
    )
    for dry_run in (None, False):
        assert await world.no_re_encrypt(source_key_id="alias/a", **IGNORE | {"dry_run": dry_run}) == (
            "ValidationException",
            "DryRunModifiers is only for a dry run: set DryRun, or leave IGNORE_CIPHERTEXT out.",
        )
    code, text = await world.no_re_encrypt(dry_run=True, dry_run_modifiers=("MORE",))
    assert (
        code,
        text.endswith("Member must satisfy constraint: [Member must satisfy enum value set: [IGNORE_CIPHERTEXT]]"),
    ) == (
        "ValidationException",
        True,
    )


@pytest.mark.parametrize("operation", ["ReEncrypt", "Decrypt"])
async def test_without_a_modifier_a_ciphertext_is_needed(world, operation):
    request = DRY_RUNS[operation](world) | {"ciphertext_blob": None}
    for dry_run in (None, True):
        assert await world.refusal(operation, **request, dry_run=dry_run) == null("ciphertextBlob")


# Ciphertexts


async def test_only_material_that_is_there_opens(world):
    ours = parse(world.blob)
    for version in (2, 2**32 - 1):
        foreign = replace(ours, header=replace(ours.header, version=version)).to_bytes()
        assert await world.no_re_encrypt(ciphertext_blob=foreign) == BAD_CIPHERTEXT
        assert await world.refusal("Decrypt", ciphertext_blob=foreign) == BAD_CIPHERTEXT
    assert not world.token.asked


@pytest.mark.parametrize(
    "change",
    [
        {"suite": Suite.SP800_108_CMAC_COUNTER},
        {"state": BackingKeyState.CREATING},
        {"state": BackingKeyState.DESTROYED},
    ],
    ids=str,
)
async def test_material_of_another_suite_or_not_in_use_opens_nothing(world, change):
    first = world.catalog.keys[world.a].backing_keys[1]
    world.change(world.a, backing_keys={1: replace(first, **change)})
    assert await world.no_re_encrypt() == BAD_CIPHERTEXT
    assert await world.refusal("Decrypt", ciphertext_blob=world.blob) == BAD_CIPHERTEXT
    assert not world.token.asked


@pytest.mark.parametrize("operation", ["ReEncrypt", "Decrypt"])
async def test_the_named_key_must_be_the_ciphertexts(world, operation):
    member = "source_key_id" if operation == "ReEncrypt" else "key_id"
    request = DRY_RUNS[operation](world) | {member: "alias/b"}
    assert await world.refusal(operation, **request) == INCORRECT_KEY


async def test_material_lost_by_the_token_is_unavailable_not_invalid(world):
    world.token.lose(world.catalog.keys[world.a].cka_id(1))
    code, text = await world.no_re_encrypt()
    assert code == "KeyUnavailableException"
    assert text


# Encrypt, Decrypt and data keys


@pytest.mark.parametrize(
    ("length", "mode"),
    [(1, Mode.ENVELOPE), (16, Mode.DIRECT), (32, Mode.DIRECT), (33, Mode.ENVELOPE), (4096, Mode.ENVELOPE)],
)
async def test_encrypt_and_decrypt_are_inverse_and_name_key_and_material(world, length, mode):
    plaintext = b"p" * length
    sealed = await world.do("Encrypt", key_id="alias/b", plaintext=plaintext, encryption_context=CONTEXT)
    assert (sealed.key_id, sealed.encryption_algorithm) == (arn_of(world.b), "SYMMETRIC_DEFAULT")
    header = parse(sealed.ciphertext_blob).header
    assert (header.mode, header.length, header.key_uuid) == (mode, length, uuid.UUID(world.b).bytes)
    opened = await world.do("Decrypt", ciphertext_blob=sealed.ciphertext_blob, encryption_context=CONTEXT)
    assert (opened.plaintext, opened.key_id) == (plaintext, arn_of(world.b))
    assert opened.key_material_id == world.material(world.b)
    assert (await world.sealed(plaintext, "alias/b")) != sealed.ciphertext_blob


async def test_where_the_token_makes_no_objects_of_plaintexts_everything_is_an_envelope():
    world = await Deployment(token=SimulatedToken(seals_directly=False)).prepare()
    assert parse(world.direct).header.mode is Mode.ENVELOPE
    assert await world.opened(world.direct) == b"0123456789abcdef"


@pytest.mark.parametrize(
    ("plaintext", "text"),
    [
        (b"", "Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"),
        (
            b"x" * 4097,
            "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096",
        ),
        (None, "Value null at 'plaintext' failed to satisfy constraint: Member must not be null"),
    ],
    ids=["empty", "too long", "absent"],
)
async def test_plaintexts_have_1_to_4096_bytes(world, plaintext, text):
    refused = await world.refusal("Encrypt", key_id="alias/a", plaintext=plaintext)
    assert refused == ("ValidationException", f"1 validation error detected: {text}")


@pytest.mark.parametrize(
    "size",
    [{"key_spec": "AES_128"}, {"key_spec": "AES_256"}, {"number_of_bytes": 1}, {"number_of_bytes": 1024}],
    ids=str,
)
async def test_a_data_key_has_the_length_asked_for(world, size):
    length = {"AES_128": 16, "AES_256": 32}.get(size.get("key_spec"), size.get("number_of_bytes"))
    request = {"key_id": "alias/a", "encryption_context": CONTEXT, **size}
    made = await world.do("GenerateDataKey", **request)
    assert len(made.plaintext) == length
    assert await world.opened(made.ciphertext_blob, CONTEXT) == made.plaintext
    hidden = await world.do("GenerateDataKeyWithoutPlaintext", **request)
    assert len(await world.opened(hidden.ciphertext_blob, CONTEXT)) == length
    assert made.key_id == hidden.key_id == arn_of(world.a)
    assert made.key_material_id == hidden.key_material_id == world.material(world.a)


@pytest.mark.parametrize("size", [{}, {"key_spec": "AES_128", "number_of_bytes": 16}], ids=["neither", "both"])
@pytest.mark.parametrize("operation", ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"])
async def test_a_data_key_needs_one_length(world, operation, size):
    expected = ("ValidationException", "Please specify either number of bytes or key spec.")
    assert await world.refusal(operation, key_id="alias/a", **size) == expected


async def test_random_bytes(world):
    assert len((await world.do("GenerateRandom", number_of_bytes=1024)).plaintext) == 1024
    assert await world.refusal("GenerateRandom") == null("numberOfBytes")
    assert await world.refusal("GenerateRandom", number_of_bytes=0) == (
        "ValidationException",
        (
            "1 validation error detected: Value '0' at 'numberOfBytes' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1"
        ),
    )
    code, text = await world.refusal("GenerateRandom", number_of_bytes=1, custom_key_store_id="cks-1")
    assert code == "UnsupportedOperationException"
    assert "leave CustomKeyStoreId out" in text
