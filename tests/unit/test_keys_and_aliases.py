"""Keys, aliases, pages and rotations: what is made, what is refused, and that a repeated change is made once."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hsmkms.core.arns import alias_arn
from hsmkms.core.ciphertext import key_material_id
from hsmkms.core.errors import KeyUnavailableException, UnsupportedOperationException
from hsmkms.core.messages import OPERATIONS, Empty, TagMember
from hsmkms.core.model import KeyState, RotationType
from hsmkms.core.operations import HANDLERS, perform
from support.deployment import (
    BOB,
    NOBODY,
    OPEN_POLICY,
    arn_of,
    not_authorised,
)
from support.simulated_catalog import PARTITION, START_US
from support.simulator import ALICE, SCOPE, call_of

# Keys


async def test_a_new_key_is_enabled_and_described_as_it_was_made(world):
    tags = (TagMember("b", ""), TagMember("a", "Größe: 1/2 @home"))
    made = (await world.do("CreateKey", description="for payments", tags=tags)).key_metadata
    assert made == (await world.do("DescribeKey", key_id=made.key_id)).key_metadata
    assert (made.key_state, made.enabled, made.description) == ("Enabled", True, "for payments")
    assert (made.arn, made.aws_account_id) == (arn_of(made.key_id), SCOPE.account)
    assert made.creation_date == datetime.fromtimestamp(START_US / 1e6, UTC)
    assert (made.key_usage, made.key_spec, made.origin) == ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "AWS_KMS")
    assert (made.key_manager, made.multi_region) == ("CUSTOMER", False)
    assert made.encryption_algorithms == ("SYMMETRIC_DEFAULT",)
    key = world.catalog.keys[made.key_id]
    assert made.current_key_material_id == key_material_id(key.current.canary)
    assert [tag.tag_key for tag in key.tags] == ["a", "b"]


REFUSED_KEYS = [
    (
        {"key_spec": "SM2", "key_usage": "SIGN_VERIFY"},
        "UnsupportedOperationException",
        "KeySpec SM2 is not possible with this token. Missing: SM2 mechanisms (a vendor's: PKCS#11 has no standard one",
    ),
    (
        {"key_spec": "ML_DSA_44", "key_usage": "SIGN_VERIFY"},
        "UnsupportedOperationException",
        "KeySpec ML_DSA_44 is not possible with this token. Missing: CKM_ML_DSA (PKCS#11 3.2)",
    ),
    (
        {"key_spec": "ML_KEM_768", "key_usage": "ENCAPSULATE_DECAPSULATE"},
        "UnsupportedOperationException",
        "KeySpec ML_KEM_768 is not possible with this token. Missing: CKM_ML_KEM (PKCS#11 3.2)",
    ),
    (
        {"key_spec": "RSA_2048"},
        "ValidationException",
        (
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys. "
            "For KeySpec RSA_2048 use ENCRYPT_DECRYPT or SIGN_VERIFY."
        ),
    ),
    (
        {"key_spec": "ECC_SECG_P256K1", "key_usage": "KEY_AGREEMENT"},
        "ValidationException",
        "KeyUsage KEY_AGREEMENT does not go with KeySpec ECC_SECG_P256K1: use SIGN_VERIFY.",
    ),
    (
        {"key_spec": "HMAC_256", "customer_master_key_spec": "HMAC_384", "key_usage": "GENERATE_VERIFY_MAC"},
        "ValidationException",
        "You cannot specify KeySpec and CustomerMasterKeySpec, its older name, with different values: use KeySpec.",
    ),
    (
        {"key_spec": "DES"},
        "ValidationException",
        "1 validation error detected: Value 'DES' at 'keySpec' failed to satisfy constraint: Member must satisfy enum value",
    ),
    (
        {"key_usage": "SIGN_VERIFY"},
        "ValidationException",
        "KeyUsage SIGN_VERIFY does not go with KeySpec SYMMETRIC_DEFAULT: use ENCRYPT_DECRYPT.",
    ),
    (
        {"origin": "EXTERNAL", "key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"},
        "UnsupportedOperationException",
        "Origin EXTERNAL does not go with KeySpec ECC_NIST_P256: this service imports symmetric keys and RSA keys only.",
    ),
    ({"xks_key_id": "x"}, "UnsupportedOperationException", "Custom key stores do not apply to this service"),
    ({"origin": "AWS_CLOUDHSM"}, "UnsupportedOperationException", "Custom key stores do not apply to this service"),
    (
        {"custom_key_store_id": "cks-1"},
        "UnsupportedOperationException",
        "Custom key stores do not apply to this service",
    ),
    (
        {"multi_region": True},
        "UnsupportedOperationException",
        "Multi-Region keys do not apply to this service: leave MultiRegion out.",
    ),
    ({"tags": (TagMember("aws:x", "y"),)}, "TagException", "Tag keys that begin with aws: are reserved: 'aws:x'"),
    ({"tags": (TagMember("AWS:x", "y"),)}, "TagException", "Tag keys that begin with aws: are reserved: 'AWS:x'"),
    ({"tags": (TagMember("x", "y"), TagMember("x", "z"))}, "TagException", "The tag key 'x' is given twice."),
    (
        {"tags": (TagMember("x", "<y>"),)},
        "TagException",
        "Tag keys and values hold letters, digits, spaces and _ . : / = + - @ only.",
    ),
    (
        {"tags": (TagMember("", None),)},
        "ValidationException",
        "2 validation errors detected: Value '' at 'tags.1.member.tagKey' failed",
    ),
    (
        {"tags": (TagMember("x", "y"),) * 51},
        "ValidationException",
        "1 validation error detected: Value at 'tags' failed",
    ),
    ({"description": "d" * 8193}, "ValidationException", "1 validation error detected: Value 'ddd"),
]


@pytest.mark.parametrize(("request_", "code", "text"), REFUSED_KEYS, ids=[str(row[0])[:40] for row in REFUSED_KEYS])
async def test_keys_that_are_not_made(world, request_, code, text):
    keys = len(world.catalog.keys)
    refused = await world.refusal("CreateKey", **request_)
    assert refused[0] == code
    assert refused[1].startswith(text)
    assert len(world.catalog.keys) == keys


async def test_multi_region_false_is_no_request_for_one(world):
    assert await world.new_key(multi_region=False)


async def test_a_key_is_disabled_and_enabled_again(world):
    assert await world.do("DisableKey", key_id=world.a) == Empty()
    described = (await world.do("DescribeKey", key_id="alias/a")).key_metadata
    assert (described.key_state, described.enabled) == ("Disabled", False)
    await world.do("EnableKey", key_id=arn_of(world.a))
    assert await world.opened(world.blob) == b"an envelope"


NO_ALIAS = {
    "EnableKey": {}, "DisableKey": {}, "RotateKeyOnDemand": {}, "ListKeyRotations": {}, "ScheduleKeyDeletion": {},
    "CancelKeyDeletion": {}, "EnableKeyRotation": {}, "DisableKeyRotation": {}, "GetKeyRotationStatus": {},
    "UpdateKeyDescription": {"description": ""}, "GetKeyLastUsage": {}, "GetKeyPolicy": {}, "ListKeyPolicies": {},
    "PutKeyPolicy": {"policy": OPEN_POLICY}, "TagResource": {"tags": (TagMember("x", "y"),)}, "ListResourceTags": {},
    "UntagResource": {"tag_keys": ("x",)}, "ListGrants": {}, "RevokeGrant": {"grant_id": "x"},
    "CreateGrant": {"grantee_principal": BOB.arn, "operations": ("Decrypt",)}, "RetireGrant": {"grant_id": "x"},
    "ListAliases": {}, "DeleteImportedKeyMaterial": {},
    "GetParametersForImport": {"wrapping_algorithm": "RSAES_OAEP_SHA_1", "wrapping_key_spec": "RSA_2048"},
    "ImportKeyMaterial": {
        "import_token": b"t", "encrypted_key_material": b"m", "expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE"
    },
}  # fmt: skip
"""Operations on one key, and what they need beside it."""


@pytest.mark.parametrize("operation", NO_ALIAS)
async def test_operations_that_take_no_alias_say_so(world, operation):
    for alias in ("alias/a", alias_arn(PARTITION, SCOPE, "alias/a")):
        assert await world.refusal(operation, key_id=alias, **NO_ALIAS[operation]) == (
            "NotFoundException",
            f"Invalid keyId '{alias}': name the key by its key ID or key ARN, not by an alias",
        )


@pytest.mark.parametrize("operation", ["EnableKey", "DisableKey"])
async def test_a_key_pending_deletion_is_neither_enabled_nor_disabled(world, operation):
    world.change(world.a, state=KeyState.PENDING_DELETION)
    expected = ("KMSInvalidStateException", f"{arn_of(world.a)} is pending deletion.")
    assert await world.refusal(operation, key_id=world.a) == expected


DENIED = [
    ("CreateKey", {}, "*"),
    ("ListKeys", {}, "*"),
    ("ListAliases", {}, "*"),
    ("GenerateRandom", {"number_of_bytes": 1}, "*"),
    ("DescribeKey", {"key_id": "alias/a"}, "{a}"),
    ("EnableKey", {"key_id": "{id}"}, "{a}"),
    ("DisableKey", {"key_id": "{id}"}, "{a}"),
    ("RotateKeyOnDemand", {"key_id": "{id}"}, "{a}"),
    ("ListKeyRotations", {"key_id": "{id}"}, "{a}"),
    ("Encrypt", {"key_id": "alias/a", "plaintext": b"x"}, "{a}"),
    ("GenerateDataKey", {"key_id": "alias/a", "key_spec": "AES_256"}, "{a}"),
    ("GenerateDataKeyWithoutPlaintext", {"key_id": "alias/a", "key_spec": "AES_256"}, "{a}"),
    (
        "CreateAlias",
        {"alias_name": "alias/new", "target_key_id": "{id}"},
        "arn:aws:kms:eu-central-1:111122223333:alias/new",
    ),
    (
        "UpdateAlias",
        {"alias_name": "alias/b", "target_key_id": "{id}"},
        "arn:aws:kms:eu-central-1:111122223333:alias/b",
    ),
    ("DeleteAlias", {"alias_name": "alias/none"}, "arn:aws:kms:eu-central-1:111122223333:alias/none"),
    ("ScheduleKeyDeletion", {"key_id": "{id}"}, "{a}"),
    ("CancelKeyDeletion", {"key_id": "{id}"}, "{a}"),
    ("EnableKeyRotation", {"key_id": "{id}"}, "{a}"),
    ("DisableKeyRotation", {"key_id": "{id}"}, "{a}"),
    ("GetKeyRotationStatus", {"key_id": "{id}"}, "{a}"),
    ("UpdateKeyDescription", {"key_id": "{id}", "description": "new"}, "{a}"),
    ("GetKeyLastUsage", {"key_id": "{id}"}, "{a}"),
    ("GetKeyPolicy", {"key_id": "{id}", "policy_name": "none"}, "{a}"),
    ("PutKeyPolicy", {"key_id": "{id}", "policy": "no policy"}, "{a}"),
    ("ListKeyPolicies", {"key_id": "{id}"}, "{a}"),
    ("TagResource", {"key_id": "{id}", "tags": (TagMember("x", "y"),)}, "{a}"),
    ("UntagResource", {"key_id": "{id}", "tag_keys": ("x",)}, "{a}"),
    ("ListResourceTags", {"key_id": "{id}"}, "{a}"),
    ("CreateGrant", {"key_id": "{id}", "grantee_principal": BOB.arn, "operations": ("Sign",)}, "{a}"),
    ("ListGrants", {"key_id": "{id}", "grant_id": "none"}, "{a}"),
    ("GetPublicKey", {"key_id": "alias/a"}, "{a}"),
    ("GenerateDataKeyPair", {"key_id": "alias/a", "key_pair_spec": "SM2"}, "{a}"),
    ("GenerateDataKeyPairWithoutPlaintext", {"key_id": "alias/a", "key_pair_spec": "RSA_2048"}, "{a}"),
    ("Sign", {"key_id": "alias/a", "message": b"m", "signing_algorithm": "SM2DSA"}, "{a}"),
    ("Verify", {"key_id": "alias/a", "message": b"m", "signing_algorithm": "SM2DSA", "signature": b"s"}, "{a}"),
    ("GenerateMac", {"key_id": "alias/a", "message": b"m", "mac_algorithm": "HMAC_SHA_224"}, "{a}"),
    ("VerifyMac", {"key_id": "alias/a", "message": b"m", "mac_algorithm": "HMAC_SHA_224", "mac": b"m"}, "{a}"),
    ("DeriveSharedSecret", {"key_id": "alias/a", "key_agreement_algorithm": "ECDH", "public_key": b"p"}, "{a}"),
    (
        "GetParametersForImport",
        {"key_id": "{id}", "wrapping_algorithm": "SM2PKE", "wrapping_key_spec": "SM2"},
        "{a}",
    ),
    (
        "ImportKeyMaterial",
        {
            "key_id": "{id}",
            "import_token": b"t",
            "encrypted_key_material": b"m",
            "expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        },
        "{a}",
    ),
    ("DeleteImportedKeyMaterial", {"key_id": "{id}", "key_material_id": "0" * 64}, "{a}"),
    ("RevokeGrant", {"key_id": "{id}", "grant_id": "none"}, "{a}"),
    ("ListRetirableGrants", {"retiring_principal": ALICE.arn}, ALICE.arn),
]
INAPPLICABLE = {
    "ConnectCustomKeyStore", "CreateCustomKeyStore", "Decapsulate", "DeleteCustomKeyStore", "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore", "Encapsulate", "ReplicateKey", "UpdateCustomKeyStore", "UpdatePrimaryRegion",
}  # fmt: skip


@pytest.mark.parametrize(("operation", "request_", "resource"), DENIED, ids=[row[0] for row in DENIED])
async def test_every_operation_needs_its_permission_and_names_the_resource(world, operation, request_, resource):
    request = {k: v.format(id=world.a) if isinstance(v, str) else v for k, v in request_.items()}
    world.change(world.a, state=KeyState.UNAVAILABLE)
    world.authorizer.denied.add(f"kms:{operation}")
    expected = not_authorised(f"kms:{operation}", resource.format(a=arn_of(world.a)))
    assert await world.refusal(operation, **request) == expected
    assert not world.catalog.changed


def test_the_table_above_leaves_out_only_what_stands_elsewhere():
    assert OPERATIONS.keys() - {row[0] for row in DENIED} == {"ReEncrypt", "Decrypt", "RetireGrant"} | INAPPLICABLE


@pytest.mark.parametrize("named_by", ["key and id", "token"])
async def test_retiring_a_grant_can_be_denied_to_whom_the_grant_allows_it(world, named_by):
    made = await world.granted(world.a, grantee_principal=ALICE.arn, operations=("Decrypt", "RetireGrant"))
    request = {"grant_token": made.grant_token}
    if named_by == "key and id":
        request = {"key_id": world.a, "grant_id": made.grant_id}
    world.change(world.a, state=KeyState.UNAVAILABLE)
    world.authorizer.denied.add("kms:RetireGrant")
    expected = not_authorised("kms:RetireGrant", arn_of(world.a))
    assert await world.refusal("RetireGrant", **request) == expected
    assert world.catalog.grants
    world.authorizer.denied.clear()
    assert await world.do("RetireGrant", **request) == Empty()
    assert not world.catalog.grants


@pytest.mark.parametrize("operation", sorted(INAPPLICABLE))
async def test_what_cannot_apply_is_refused_to_everybody_with_the_reason(world, operation):
    with pytest.raises(UnsupportedOperationException) as refused:
        await HANDLERS[operation](world.environment, call_of(), OPERATIONS[operation].request())
    assert "do not apply to this service: " in refused.value.message
    assert not world.catalog.changed


# Aliases

RESERVED = ("InvalidAliasNameException", "Aliases that begin with alias/aws/ are reserved.")
NO_PREFIX = ("ValidationException", 'Alias must start with the prefix "alias/", and a name must follow it.')


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias", "DeleteAlias"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [("alias/aws/s3", RESERVED), ("payments", NO_PREFIX), ("alias/", NO_PREFIX), ("Alias/x", NO_PREFIX)],
    ids=str,
)
async def test_alias_names_are_judged_first(world, operation, name, expected):
    request = {} if operation == "DeleteAlias" else {"target_key_id": NOBODY}
    assert await world.refusal(operation, alias_name=name, **request) == expected


@pytest.mark.parametrize(
    "name", ["alias/a b", "alias/ä", "alias/x\n", "alias/" + "x" * 251], ids=["space", "umlaut", "newline", "long"]
)
async def test_alias_names_have_a_form_and_a_length(world, name):
    code, text = await world.refusal("CreateAlias", alias_name=name, target_key_id=world.a)
    assert code == "ValidationException"
    assert "at 'aliasName' failed to satisfy constraint: Member must " in text


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias"])
@pytest.mark.parametrize("target", ["alias/b", alias_arn(PARTITION, SCOPE, "alias/b")])
async def test_an_alias_points_to_a_key_and_not_to_an_alias(world, operation, target):
    expected = ("ValidationException", "Aliases must refer to keys. Not aliases")
    assert await world.refusal(operation, alias_name="alias/a", target_key_id=target) == expected


async def test_a_new_alias_has_no_colon(world):
    refused = await world.refusal("CreateAlias", alias_name="alias/x:y", target_key_id=world.a)
    assert refused == ("ValidationException", "alias/x:y contains invalid characters for an alias")


async def test_aliases_come_and_go(world):
    await world.do("CreateAlias", alias_name="alias/x/y_z", target_key_id=arn_of(world.a))
    taken = await world.refusal("CreateAlias", alias_name="alias/x/y_z", target_key_id=world.b)
    assert taken == (
        "AlreadyExistsException",
        "An alias with the name arn:aws:kms:eu-central-1:111122223333:alias/x/y_z already exists",
    )
    await world.do("DeleteAlias", alias_name="alias/x/y_z")
    gone = ("NotFoundException", "Alias arn:aws:kms:eu-central-1:111122223333:alias/x/y_z is not found.")
    assert await world.refusal("DeleteAlias", alias_name="alias/x/y_z") == gone
    assert await world.refusal("UpdateAlias", alias_name="alias/x/y_z", target_key_id=world.b) == gone
    assert (await world.do("DescribeKey", key_id=world.a)).key_metadata.enabled


async def test_a_key_has_50_aliases_at_most(world):
    for number in range(49):
        await world.do("CreateAlias", alias_name=f"alias/n{number}", target_key_id=world.a)
    refused = await world.refusal("CreateAlias", alias_name="alias/n50", target_key_id=world.a)
    assert refused == ("LimitExceededException", f"{arn_of(world.a)} has reached its limit of 50 aliases.")


async def test_an_alias_may_point_to_a_disabled_key_but_not_to_one_that_goes(world):
    world.change(world.a, state=KeyState.DISABLED)
    await world.do("CreateAlias", alias_name="alias/x", target_key_id=world.a)
    world.change(world.a, state=KeyState.PENDING_DELETION)
    expected = ("KMSInvalidStateException", f"{arn_of(world.a)} is pending deletion.")
    assert await world.refusal("CreateAlias", alias_name="alias/y", target_key_id=world.a) == expected
    assert await world.refusal("UpdateAlias", alias_name="alias/b", target_key_id=world.a) == expected


async def test_changing_an_alias_needs_the_permission_on_alias_and_keys(world):
    await world.do("UpdateAlias", alias_name="alias/b", target_key_id=world.a)
    asked = [request.resource for request in world.authorizer.asked]
    assert asked == [alias_arn(PARTITION, SCOPE, "alias/b"), arn_of(world.b), arn_of(world.a)]


# Pages


async def all_pages(world, operation, member, **request):
    pages, marker = [], None
    while True:
        answer = await world.do(operation, marker=marker, **request)
        pages.append(getattr(answer, member))
        marker = answer.next_marker
        assert answer.truncated == (marker is not None)
        if marker is None:
            return pages


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1, 1, 1]), (2, [2, 1]), (3, [3]), (1000, [3])])
async def test_pages_together_are_the_list(world, limit, sizes):
    pages = await all_pages(world, "ListKeys", "keys", limit=limit)
    assert [len(page) for page in pages] == sizes
    assert [entry.key_id for page in pages for entry in page] == sorted([world.a, world.b, world.c])
    assert all(entry.key_arn == arn_of(entry.key_id) for page in pages for entry in page)
    pages = await all_pages(world, "ListAliases", "aliases", limit=limit)
    assert [entry.alias_name for page in pages for entry in page] == ["alias/a", "alias/b", "alias/c"]
    pages = await all_pages(world, "ListAliases", "aliases", limit=limit, key_id=world.b)
    assert [(entry.alias_name, entry.target_key_id) for page in pages for entry in page] == [("alias/b", world.b)]


async def test_a_marker_is_good_for_its_own_list_only(world):
    marker = (await world.do("ListKeys", limit=1)).next_marker
    for operation, request in (
        ("ListAliases", {}),
        ("ListAliases", {"key_id": world.a}),
        ("ListKeyRotations", {"key_id": world.a}),
        ("ListKeys", {"marker": marker[:-1]}),
        ("ListKeys", {"marker": "made up"}),
    ):
        code, text = await world.refusal(operation, **{"marker": marker} | request)
        assert (code, bool(text)) == ("InvalidMarkerException", True)
    world.clock.us += 25 * 3600 * 1_000_000
    expired = await world.refusal("ListKeys", marker=marker)
    assert expired == ("InvalidMarkerException", "The marker has expired: start the list again.")


# Rotations


async def test_rotations_are_listed_oldest_first(world):
    for _ in range(2):
        world.clock.us += 1_000_000
        assert (await world.do("RotateKeyOnDemand", key_id=world.a)).key_id == world.a
    rotations = (await world.do("ListKeyRotations", key_id=world.a)).rotations
    assert [entry.key_material_state for entry in rotations] == ["NON_CURRENT", "CURRENT"]
    assert [entry.rotation_type for entry in rotations] == [RotationType.ON_DEMAND] * 2
    assert [entry.key_material_id for entry in rotations] == [world.material(world.a, 2), world.material(world.a, 3)]
    assert rotations[0].rotation_date < rotations[1].rotation_date
    everything = await all_pages(
        world, "ListKeyRotations", "rotations", key_id=world.a, include_key_material="ALL_KEY_MATERIAL", limit=2
    )
    assert [len(page) for page in everything] == [2, 1]
    first = everything[0][0]
    assert (first.rotation_date, first.rotation_type, first.key_material_id) == (None, None, world.material(world.a))
    assert await world.opened(world.blob) == b"an envelope"


async def test_a_key_can_be_rotated_25_times(world):
    for _ in range(25):
        await world.do("RotateKeyOnDemand", key_id=world.a)
    refused = await world.refusal("RotateKeyOnDemand", key_id=world.a)
    assert refused == ("LimitExceededException", f"{arn_of(world.a)} has reached its limit of 25 on-demand rotations.")
    assert await world.opened(world.blob) == b"an envelope"


async def test_new_ciphertexts_name_the_new_material(world):
    await world.do("RotateKeyOnDemand", key_id=world.a)
    made = await world.do("GenerateDataKey", key_id=world.a, key_spec="AES_256")
    assert made.key_material_id == world.material(world.a, 2)
    assert (await world.do("Decrypt", ciphertext_blob=world.blob)).key_material_id == world.material(world.a, 1)


# The same change again


async def test_a_repeated_creation_answers_as_it_did(world):
    call = call_of(idempotency_key="once")
    first = await world.do("CreateKey", call, description="one")
    world.clock.us += 5_000_000
    await world.do("DisableKey", key_id=first.key_metadata.key_id)
    assert await world.do("CreateKey", call, description="one") == first
    assert len(world.catalog.keys) == 4
    code, _ = await world.refusal("CreateKey", call, description="another")
    assert code == "ValidationException"
    bob = replace(ALICE, name="bob", arn=ALICE.arn + "-bob")
    other = await world.do("CreateKey", call_of(bob, idempotency_key="once"), description="one")
    assert other.key_metadata.key_id != first.key_metadata.key_id


async def test_without_an_idempotency_key_every_creation_is_a_new_one(world):
    assert await world.new_key() != await world.new_key()


async def test_a_repeated_rotation_rotates_once(world):
    call = call_of(idempotency_key="once")
    for _ in range(3):
        await world.do("RotateKeyOnDemand", call, key_id=world.a)
    assert sorted(world.catalog.keys[world.a].backing_keys) == [1, 2]


async def test_a_creation_that_the_token_cut_short_goes_on_under_the_same_idempotency_key(world):
    call = call_of(idempotency_key="once")
    world.token.gone = True
    code, _ = await world.refusal("CreateKey", call)
    assert code == "KeyUnavailableException"
    (begun,) = (key for key in world.catalog.keys.values() if key.state is KeyState.CREATING)
    world.token.gone = False
    assert (await world.do("CreateKey", call)).key_metadata.key_id == begun.key_id
    assert world.catalog.keys[begun.key_id].state is KeyState.ENABLED


async def test_two_tasks_never_make_one_backing_key_at_once(world):
    call = call_of(idempotency_key="once")
    world.token.gone = True
    await world.refusal("CreateKey", call)
    (begun,) = (key for key in world.catalog.keys.values() if key.state is KeyState.CREATING)
    world.token.gone = False
    generate = world.token.generate_backing_key
    codes = []

    async def meanwhile(cka_id, suite):
        with pytest.raises(KeyUnavailableException) as refused:
            await perform(world.environment, call, "CreateKey", OPERATIONS["CreateKey"].request())
        codes.append(refused.value.code)
        return await generate(cka_id, suite)

    world.token.generate_backing_key = meanwhile
    assert (await world.do("CreateKey", call)).key_metadata.key_id == begun.key_id
    assert codes == ["KeyUnavailableException"]


async def test_a_repeated_alias_is_no_conflict(world):
    call = call_of(idempotency_key="once")
    for _ in range(2):
        await world.do("CreateAlias", call, alias_name="alias/x", target_key_id=world.a)
    for _ in range(2):
        await world.do("DeleteAlias", call, alias_name="alias/x")


# The catalog


async def test_a_stale_catalog_is_a_reason_to_wait_and_never_says_not_found(world):
    world.catalog.stale = True
    code, _ = await world.no_re_encrypt(destination_key_id=NOBODY)
    assert code == "KeyUnavailableException"
