"""Every operation in every key state, as AWS's developer guide and model have it ("Key states of AWS KMS keys"): every cell.

The table is the guide's, not the service's (`core.key_states`): `✓` the operation succeeds, a number is the guide's footnote.

[1] DisabledException: ARN is disabled. [3] KMSInvalidStateException: ARN is pending deletion. [4] … is not pending deletion.
[5] … is pending import. [6] UnsupportedOperationException: ARN origin is EXTERNAL which is not valid for this operation.
[7] UnsupportedOperationException for keys in custom key stores. [11] KMSInvalidStateException: ARN is unavailable.
[14] … is creating. [15] … is updating.

`-`: a key whose material is imported is never in that state. The guide has [9] for keys whose material is not imported, which get an
UnsupportedOperationException whatever their state, and lets ImportKeyMaterial pass for a disabled key; the model, which decides, names
PendingImport and Enabled. GetPublicKey has no cells for PendingImport and Unavailable there; here it has those of Sign.

The guide's [2] or [3] is [3] here, and its [12] (a change that takes effect once the key is available) is [11]: see
docs/aws-kms-divergences.md. The guide has no column for Creating of single-Region keys; only what reads or takes away is possible then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from catalog.helpers import Clocks
from hsmkms.core import errors, key_states
from hsmkms.core.messages import TagMember
from hsmkms.core.model import KeyState, KmsKey, WrappingAlgorithm
from hsmkms.core.operations import HANDLERS
from life.helpers import Front, front
from support.simulated_token import wrap_material

STATES = ("Enabled", "Disabled", "PendingDeletion", "PendingImport", "Unavailable", "Creating", "Updating")
TABLE = """
CancelKeyDeletion                   [4]  [4]  ✓    [4]  [4]  [4]  [4]
CreateAlias                         ✓    ✓    [3]  ✓    ✓    [14] ✓
CreateGrant                         ✓    [1]  [3]  [5]  ✓    [14] ✓
Decrypt                             ✓    [1]  [3]  [5]  [11] [14] ✓
DeleteAlias                         ✓    ✓    ✓    ✓    ✓    ✓    ✓
DeleteImportedKeyMaterial           ✓    ✓    ✓    ✓    -    [14] -
DeriveSharedSecret                  ✓    [1]  [3]  [5]  [11] [14] ✓
DescribeKey                         ✓    ✓    ✓    ✓    ✓    ✓    ✓
DisableKey                          ✓    ✓    [3]  [5]  [11] [14] [15]
DisableKeyRotation                  ✓    [1]  [3]  [6]  [7]  [14] [15]
EnableKey                           ✓    ✓    [3]  [5]  [11] [14] [15]
EnableKeyRotation                   ✓    [1]  [3]  [6]  [7]  [14] [15]
Encrypt                             ✓    [1]  [3]  [5]  [11] [14] ✓
GenerateDataKey                     ✓    [1]  [3]  [5]  [11] [14] ✓
GenerateDataKeyPair                 ✓    [1]  [3]  [5]  [11] [14] ✓
GenerateDataKeyPairWithoutPlaintext ✓    [1]  [3]  [5]  [11] [14] ✓
GenerateDataKeyWithoutPlaintext     ✓    [1]  [3]  [5]  [11] [14] ✓
GenerateMac                         ✓    [1]  [3]  [5]  [11] [14] ✓
GetKeyLastUsage                     ✓    ✓    ✓    ✓    ✓    ✓    ✓
GetKeyPolicy                        ✓    ✓    ✓    ✓    ✓    ✓    ✓
GetKeyRotationStatus                ✓    ✓    ✓    [6]  [7]  ✓    ✓
GetParametersForImport              ✓    ✓    [3]  ✓    -    [14] -
GetPublicKey                        ✓    [1]  [3]  [5]  [11] [14] ✓
ImportKeyMaterial                   ✓    [1]  [3]  ✓    -    [14] -
ListAliases                         ✓    ✓    ✓    ✓    ✓    ✓    ✓
ListGrants                          ✓    ✓    ✓    ✓    ✓    ✓    ✓
ListKeyPolicies                     ✓    ✓    ✓    ✓    ✓    ✓    ✓
ListKeyRotations                    ✓    ✓    ✓    ✓    [7]  ✓    ✓
ListResourceTags                    ✓    ✓    ✓    ✓    ✓    ✓    ✓
PutKeyPolicy                        ✓    ✓    ✓    ✓    ✓    ✓    ✓
ReEncrypt-from                      ✓    [1]  [3]  [5]  [11] [14] ✓
ReEncrypt-to                        ✓    [1]  [3]  [5]  [11] [14] ✓
RetireGrant                         ✓    ✓    ✓    ✓    ✓    ✓    ✓
RevokeGrant                         ✓    ✓    ✓    ✓    ✓    ✓    ✓
RotateKeyOnDemand                   ✓    [1]  [3]  [6]  [7]  [14] [15]
ScheduleKeyDeletion                 ✓    ✓    [3]  ✓    ✓    [14] [15]
Sign                                ✓    [1]  [3]  [5]  [11] [14] ✓
TagResource                         ✓    ✓    [3]  ✓    ✓    [14] ✓
UntagResource                       ✓    ✓    [3]  ✓    ✓    [14] ✓
UpdateAlias-from                    ✓    ✓    ✓    ✓    ✓    ✓    ✓
UpdateAlias-to                      ✓    ✓    [3]  ✓    ✓    [14] ✓
UpdateKeyDescription                ✓    ✓    [3]  ✓    ✓    [14] ✓
Verify                              ✓    [1]  [3]  [5]  [11] [14] ✓
VerifyMac                           ✓    [1]  [3]  [5]  [11] [14] ✓
"""
NAME_NO_KEY = {
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "CreateKey",
    "Decapsulate",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "Encapsulate",
    "GenerateRandom",
    "ListKeys",
    "ListRetirableGrants",
    "ReplicateKey",
    "UpdateCustomKeyStore",
    "UpdatePrimaryRegion",
}
REFUSALS: dict[str, tuple[type[errors.KmsError], str]] = {
    "[1]": (errors.DisabledException, "is disabled."),
    "[3]": (errors.KMSInvalidStateException, "is pending deletion."),
    "[4]": (errors.KMSInvalidStateException, "is not pending deletion."),
    "[5]": (errors.KMSInvalidStateException, "is pending import."),
    "[6]": (errors.UnsupportedOperationException, "origin is EXTERNAL which is not valid for this operation."),
    "[7]": (errors.UnsupportedOperationException, "is in a custom key store which is not valid for this operation."),
    "[11]": (errors.KMSInvalidStateException, "is unavailable."),
    "[14]": (errors.KMSInvalidStateException, "is creating."),
    "[15]": (errors.KMSInvalidStateException, "is updating."),
}
ROWS = {line.split()[0]: line.split()[1:] for line in TABLE.strip().splitlines()}
CELLS = [
    pytest.param(row, state, verdict, id=f"{row}-{state}")
    for row, verdicts in ROWS.items()
    for state, verdict in zip(STATES, verdicts, strict=True)
    if verdict != "-"
]


def test_the_table_has_every_operation_and_every_state() -> None:
    operations = {row.partition("-")[0] for row in ROWS}
    assert operations | NAME_NO_KEY == set(HANDLERS)
    assert not operations & NAME_NO_KEY
    assert set(STATES) == set(KeyState)
    assert operations == set(key_states.POSSIBLE)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def world(loop: asyncio.AbstractEventLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    async def opened() -> AsyncIterator[Front]:
        async with front(tmp_path_factory.mktemp("states") / "catalog.db", Clocks()) as made:
            yield made

    generator = opened()
    yield loop.run_until_complete(anext(generator))
    loop.run_until_complete(generator.aclose())


SIGNS = {"key_spec": "ECC_NIST_P256", "key_usage": "SIGN_VERIFY"}
MACS = {"key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC"}
AGREES = {"key_spec": "ECC_NIST_P256", "key_usage": "KEY_AGREEMENT"}
IMPORTED = {"origin": "EXTERNAL"}
KINDS = {
    "DeleteImportedKeyMaterial": IMPORTED,
    "DeriveSharedSecret": AGREES,
    "GenerateMac": MACS,
    "GetParametersForImport": IMPORTED,
    "GetPublicKey": SIGNS,
    "ImportKeyMaterial": IMPORTED,
    "Sign": SIGNS,
    "Verify": SIGNS,
    "VerifyMac": MACS,
}
"""The kind of key that an operation needs, where it is not a symmetric one of the token's making."""
SIGNATURE = {"message": b"m", "signing_algorithm": "ECDSA_SHA_256"}
MAC = {"message": b"m", "mac_algorithm": "HMAC_SHA_256"}


async def prepared(world: Front, row: str) -> tuple[KmsKey, KmsKey, dict[str, Any]]:
    """Return a key that has been through something, another one, and what requests need of the first."""
    kind = KINDS.get(row)
    if kind is not None:
        return await prepared_of(world, row, kind)
    key, other = await world.create(), await world.create()
    made: dict[str, Any] = {"alias": f"alias/{key.key_id}"}
    await world.ask("CreateAlias", alias_name=made["alias"], target_key_id=key.key_id)
    made["blob"] = (await world.ask("Encrypt", key_id=key.key_id, plaintext=bytes(16))).ciphertext_blob
    made["other blob"] = (await world.ask("Encrypt", key_id=other.key_id, plaintext=bytes(16))).ciphertext_blob
    return key, other, made


async def prepared_of(world: Front, row: str, kind: dict[str, str]) -> tuple[KmsKey, KmsKey, dict[str, Any]]:
    """Return a key of another kind, twice, and what the request needs of it."""
    key_id = (await world.ask("CreateKey", **kind)).key_metadata.key_id
    made: dict[str, Any] = {}
    if kind is IMPORTED:
        parameters = await world.ask(
            "GetParametersForImport",
            key_id=key_id,
            wrapping_algorithm="RSAES_OAEP_SHA_256",
            wrapping_key_spec="RSA_2048",
        )
        material = wrap_material(parameters.public_key, WrappingAlgorithm.RSAES_OAEP_SHA_256, bytes(32))
        made["import"] = {
            "import_token": parameters.import_token,
            "encrypted_key_material": material,
            "expiration_model": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        }
        await world.ask("ImportKeyMaterial", key_id=key_id, **made["import"])
    elif row == "Verify":
        made["signature"] = (await world.ask("Sign", key_id=key_id, **SIGNATURE)).signature
    elif row == "VerifyMac":
        made["mac"] = (await world.ask("GenerateMac", key_id=key_id, **MAC)).mac
    elif row == "DeriveSharedSecret":
        made["public key"] = (await world.ask("GetPublicKey", key_id=key_id)).public_key
    return world.key(key_id), world.key(key_id), made


async def request(world: Front, row: str, key: KmsKey, other: KmsKey, made: dict[str, Any]) -> None:
    """Ask for an operation with the key."""
    operation, _, side = row.partition("-")
    key_id = {"key_id": key.key_id}
    members: dict[str, dict[str, Any]] = {
        "CreateAlias": {"alias_name": f"alias/new/{key.key_id}", "target_key_id": key.key_id},
        "CreateGrant": key_id | {"grantee_principal": "arn:aws:iam::111122223333:user/a", "operations": ("Decrypt",)},
        "Decrypt": {"ciphertext_blob": made.get("blob")},
        "DeleteAlias": {"alias_name": made.get("alias")},
        "DeriveSharedSecret": key_id | {"key_agreement_algorithm": "ECDH", "public_key": made.get("public key")},
        "Encrypt": key_id | {"plaintext": bytes(16)},
        "GenerateDataKey": key_id | {"key_spec": "AES_256"},
        "GenerateDataKeyPair": key_id | {"key_pair_spec": "ECC_NIST_P256"},
        "GenerateDataKeyPairWithoutPlaintext": key_id | {"key_pair_spec": "ECC_NIST_P256"},
        "GenerateDataKeyWithoutPlaintext": key_id | {"key_spec": "AES_256"},
        "GenerateMac": key_id | MAC,
        "GetParametersForImport": key_id | {"wrapping_algorithm": "RSAES_OAEP_SHA_1", "wrapping_key_spec": "RSA_2048"},
        "ImportKeyMaterial": key_id | made.get("import", {}),
        "Sign": key_id | SIGNATURE,
        "Verify": key_id | SIGNATURE | {"signature": made.get("signature")},
        "VerifyMac": key_id | MAC | {"mac": made.get("mac")},
        "PutKeyPolicy": key_id | {"policy": made.get("policy")},
        "RetireGrant": {"key_id": made.get("arn"), "grant_id": made.get("grant")},
        "RevokeGrant": key_id | {"grant_id": made.get("grant")},
        "TagResource": key_id | {"tags": (TagMember("team", "payments"),)},
        "UntagResource": key_id | {"tag_keys": ("team",)},
        "UpdateKeyDescription": key_id | {"description": "new"},
    }
    if operation == "ReEncrypt":
        source, destination = (made["blob"], other) if side == "from" else (made["other blob"], key)
        await world.ask("ReEncrypt", ciphertext_blob=source, destination_key_id=destination.key_id)
    elif operation == "UpdateAlias" and side == "from":
        await world.ask("UpdateAlias", alias_name=made["alias"], target_key_id=other.key_id)
    elif operation == "UpdateAlias":
        await world.ask("CreateAlias", alias_name=f"alias/x/{key.key_id}", target_key_id=other.key_id)
        await world.ask("UpdateAlias", alias_name=f"alias/x/{key.key_id}", target_key_id=key.key_id)
    else:
        await world.ask(operation, **members.get(operation, key_id))


@pytest.mark.parametrize(("row", "state", "verdict"), CELLS)
def test_cell(loop: asyncio.AbstractEventLoop, world: Front, row: str, state: str, verdict: str) -> None:
    async def judged() -> errors.KmsError | None:
        key, other, made = await prepared(world, row)
        made["arn"] = f"arn:aws:kms:{key.scope.region}:{key.scope.account}:key/{key.key_id}"
        if row in ("RetireGrant", "RevokeGrant"):
            me = "arn:aws:iam::111122223333:user/operator"
            grant = await world.ask(
                "CreateGrant", key_id=key.key_id, grantee_principal=me, retiring_principal=me, operations=("Decrypt",)
            )
            made["grant"] = grant.grant_id
        if row == "PutKeyPolicy":
            made["policy"] = (await world.ask("GetKeyPolicy", key_id=key.key_id)).policy
        await world.execute(
            "UPDATE keys SET state = :state, sequence = :sequence WHERE key_id = :key_id",
            state=state,
            key_id=key.key_id,
        )
        try:
            await request(world, row, key, other, made)
        except errors.KmsError as error:
            return error
        return None

    refusal = loop.run_until_complete(judged())
    if verdict == "✓":
        assert refusal is None, repr(refusal)
    else:
        kind, text = REFUSALS[verdict]
        assert refusal is not None
        named, _, said = refusal.message.partition(" ")
        assert (type(refusal), said) == (kind, text)
        assert named.startswith("arn:aws:kms:eu-central-1:111122223333:key/")
