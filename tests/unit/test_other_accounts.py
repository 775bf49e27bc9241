"""Keys of other accounts: named by ARN only, usable where both accounts agree, and never told apart from keys that there are not."""

from dataclasses import replace

import pytest

from hsmkms.core.arns import alias_arn
from hsmkms.core.messages import OPERATIONS, TagMember
from hsmkms.core.model import KeyState
from support.deployment import BOB, NOBODY, OPEN_POLICY, arn_of, not_authorised
from support.simulated_catalog import PARTITION
from support.simulator import ALICE, OTHER_SCOPE, call_of

ON_OTHERS = {
    "DescribeKey": {},
    "Encrypt": {"plaintext": b"x"},
    "Decrypt": {},
    "GenerateDataKey": {"key_spec": "AES_256"},
    "GenerateDataKeyWithoutPlaintext": {"key_spec": "AES_256"},
    "GenerateDataKeyPair": {"key_pair_spec": "ECC_NIST_P256"},
    "GenerateDataKeyPairWithoutPlaintext": {"key_pair_spec": "ECC_NIST_P256"},
    "GetKeyRotationStatus": {},
    "GetPublicKey": {},
    "Sign": {"message": b"m", "signing_algorithm": "ECDSA_SHA_256"},
    "Verify": {"message": b"m", "signing_algorithm": "ECDSA_SHA_256", "signature": b"s"},
    "GenerateMac": {"message": b"m", "mac_algorithm": "HMAC_SHA_256"},
    "VerifyMac": {"message": b"m", "mac_algorithm": "HMAC_SHA_256", "mac": b"m"},
    "DeriveSharedSecret": {"key_agreement_algorithm": "ECDH", "public_key": b"p"},
    "CreateGrant": {"grantee_principal": BOB.arn, "operations": ("Decrypt",)},
    "ListGrants": {},
    "RevokeGrant": {},
    "RetireGrant": {},
}
"""Operations that the AWS model allows on another account's key ("Cross-account use: Yes"), and what they need beside it."""
ON_OWN_ONLY = {
    "CancelKeyDeletion": {},
    "DeleteImportedKeyMaterial": {},
    "DisableKey": {},
    "DisableKeyRotation": {},
    "EnableKey": {},
    "EnableKeyRotation": {},
    "GetKeyLastUsage": {},
    "GetKeyPolicy": {},
    "GetParametersForImport": {"wrapping_algorithm": "RSAES_OAEP_SHA_256", "wrapping_key_spec": "RSA_2048"},
    "ImportKeyMaterial": {
        "import_token": b"t",
        "encrypted_key_material": b"m",
        "expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    },
    "ListAliases": {},
    "ListKeyPolicies": {},
    "ListKeyRotations": {},
    "ListResourceTags": {},
    "PutKeyPolicy": {"policy": OPEN_POLICY},
    "RotateKeyOnDemand": {},
    "ScheduleKeyDeletion": {},
    "TagResource": {"tags": (TagMember("x", "y"),)},
    "UntagResource": {"tag_keys": ("x",)},
    "UpdateKeyDescription": {"description": "new"},
}
"""Those that it does not ("Cross-account use: No")."""
KINDS = {
    "GetPublicKey": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "Sign": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "Verify": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "GenerateMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "VerifyMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "DeriveSharedSecret": ("ECC_NIST_P256", "KEY_AGREEMENT"),
}
"""The kind of key that an operation needs, where it is not a symmetric one."""
BY_ALIAS = ["DescribeKey", "Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"]


@pytest.fixture
async def foreign(world):
    """The world, in which the key a, with its alias and a grant, is another account's."""
    world.grant_id = (await world.granted(world.a, retiring_principal=ALICE.arn)).grant_id
    world.abroad(world.a)
    world.arn = arn_of(world.a, OTHER_SCOPE)
    world.unknown = arn_of(NOBODY, OTHER_SCOPE)
    world.forget()
    return world


def request_of(world, operation):
    more = (ON_OTHERS | ON_OWN_ONLY)[operation]
    if operation == "Decrypt":
        return more | {"ciphertext_blob": world.blob}
    return more | {"grant_id": world.grant_id} if operation in ("RevokeGrant", "RetireGrant") else more


def test_the_tables_have_every_operation_on_one_key():
    on_one_key = {name for name, known in OPERATIONS.items() if "key_id" in known.request.__dataclass_fields__}
    inapplicable = {"ReplicateKey", "UpdatePrimaryRegion"}
    assert on_one_key - inapplicable == ON_OTHERS.keys() | ON_OWN_ONLY.keys()


@pytest.mark.parametrize("operation", ON_OTHERS.keys() - KINDS.keys())
async def test_a_key_that_both_accounts_agree_on_is_used_by_its_arn(foreign, operation):
    foreign.authorizer.shared.add(foreign.a)
    assert await foreign.do(operation, key_id=foreign.arn, **request_of(foreign, operation))


@pytest.mark.parametrize("operation", KINDS)
async def test_and_so_is_a_key_of_another_kind(world, operation):
    spec, usage = KINDS[operation]
    key_id = await world.new_key(key_spec=spec, key_usage=usage)
    request = dict(ON_OTHERS[operation])
    if operation == "Verify":
        request["signature"] = (await world.do("Sign", key_id=key_id, **ON_OTHERS["Sign"])).signature
    elif operation == "VerifyMac":
        request["mac"] = (await world.do("GenerateMac", key_id=key_id, **ON_OTHERS["GenerateMac"])).mac
    elif operation == "DeriveSharedSecret":
        request["public_key"] = (await world.do("GetPublicKey", key_id=key_id)).public_key
    world.abroad(key_id)
    arn = arn_of(key_id, OTHER_SCOPE)
    assert await world.refusal(operation, key_id=arn, **request) == not_authorised(f"kms:{operation}", arn)
    world.authorizer.shared.add(key_id)
    assert (await world.do(operation, key_id=arn, **request)).key_id == arn


@pytest.mark.parametrize("operation", BY_ALIAS)
async def test_and_by_its_alias_arn(foreign, operation):
    foreign.authorizer.shared.add(foreign.a)
    alias = alias_arn(PARTITION, OTHER_SCOPE, "alias/a")
    assert await foreign.do(operation, key_id=alias, **request_of(foreign, operation))
    (asked,) = foreign.authorizer.asked
    assert (asked.resource, asked.alias, asked.key.key_id) == (foreign.arn, "alias/a", foreign.a)


@pytest.mark.parametrize("operation", ON_OTHERS)
async def test_bare_names_are_those_of_the_callers_account(foreign, operation):
    foreign.authorizer.shared.add(foreign.a)
    refused = await foreign.refusal(operation, key_id=foreign.a, **request_of(foreign, operation))
    assert refused == ("NotFoundException", f"Key '{arn_of(foreign.a)}' does not exist")


@pytest.mark.parametrize("state", [KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_DELETION])
@pytest.mark.parametrize("operation", [name for name in ON_OTHERS if name != "RetireGrant"])
async def test_an_unknown_and_a_forbidden_key_get_one_answer(foreign, operation, state):
    foreign.change(foreign.a, state=state)
    request = request_of(foreign, operation)
    for arn in (foreign.arn, foreign.unknown):
        assert await foreign.refusal(operation, key_id=arn, **request) == not_authorised(f"kms:{operation}", arn)
    assert not foreign.catalog.changed
    assert not foreign.token.asked


@pytest.mark.parametrize("operation", BY_ALIAS)
async def test_an_unknown_and_a_forbidden_alias_get_one_answer(foreign, operation):
    for name in ("alias/a", "alias/none"):
        arn = alias_arn(PARTITION, OTHER_SCOPE, name)
        refused = await foreign.refusal(operation, key_id=arn, **request_of(foreign, operation))
        assert refused == not_authorised(f"kms:{operation}", arn), "the key behind the alias is not named"


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("by", ["key", "alias"])
async def test_each_side_of_re_encrypt_may_be_another_accounts(foreign, side, by):
    mine = await foreign.sealed(b"payload", "alias/b")
    action, request = "kms:ReEncryptFrom", {"ciphertext_blob": foreign.blob, "destination_key_id": "alias/b"}
    if side == "destination":
        action, request = "kms:ReEncryptTo", {"ciphertext_blob": mine, "source_key_id": "alias/b"}
    known, unknown = foreign.arn, foreign.unknown
    if by == "alias":
        known, unknown = (alias_arn(PARTITION, OTHER_SCOPE, f"alias/{name}") for name in ("a", "none"))
    for arn in (known, unknown):
        refused = await foreign.refusal("ReEncrypt", **request, **{f"{side}_key_id": arn})
        assert refused == not_authorised(action, arn)
    foreign.authorizer.shared.add(foreign.a)
    moved = await foreign.do("ReEncrypt", **request, **{f"{side}_key_id": known})
    assert {moved.source_key_id, moved.key_id} == {foreign.arn, arn_of(foreign.b)}


async def test_a_ciphertext_of_a_shared_key_opens_without_naming_it(foreign):
    foreign.authorizer.shared.add(foreign.a)
    assert await foreign.opened(foreign.blob) == b"an envelope"


@pytest.mark.parametrize("operation", ON_OWN_ONLY)
async def test_what_is_for_ones_own_keys_is_refused_for_others_even_where_they_allow_it(foreign, operation):
    foreign.authorizer.shared.add(foreign.a)
    before = foreign.catalog.keys[foreign.a]
    for arn in (foreign.arn, foreign.unknown):
        refused = await foreign.refusal(operation, key_id=arn, **request_of(foreign, operation))
        assert refused == not_authorised(f"kms:{operation}", arn)
    assert foreign.catalog.keys[foreign.a] == before


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias"])
async def test_an_alias_points_to_a_key_of_its_own_account(foreign, operation):
    foreign.authorizer.shared.add(foreign.a)
    for arn in (foreign.arn, foreign.unknown):
        refused = await foreign.refusal(operation, alias_name="alias/b", target_key_id=arn)
        assert refused == not_authorised(f"kms:{operation}", arn)


@pytest.mark.parametrize("what", ["key", "grant", "permission"])
async def test_retiring_does_not_tell_which_keys_and_grants_there_are(foreign, what):
    grant_id, key_id, call = foreign.grant_id, foreign.arn, call_of()
    if what == "key":
        key_id = foreign.unknown
    elif what == "grant":
        grant_id = "0" * 64
    else:
        call = call_of(replace(ALICE, name="carol", arn=ALICE.arn + "-carol"))  # whom the grant does not name
        foreign.change(foreign.a, state=KeyState.PENDING_DELETION)
    code, text = await foreign.refusal("RetireGrant", call, key_id=key_id, grant_id=grant_id)
    user = call.principal.arn
    assert (code, text) == (
        "AccessDeniedException",
        f"User: {user} is not authorized to perform: kms:RetireGrant on resource: {key_id}",
    )
    assert foreign.catalog.grants


async def test_the_trail_has_every_key_that_was_found_source_first_whatever_came_of_it(foreign):
    call = call_of()
    await foreign.refusal("ReEncrypt", call, ciphertext_blob=foreign.blob, destination_key_id="alias/b")
    assert call.trail.keys == [foreign.arn, arn_of(foreign.b)]
    call = call_of()
    await foreign.refusal("DescribeKey", call, key_id=foreign.unknown)
    assert call.trail.keys == [], "of a key that is not there, there is nothing to list"
