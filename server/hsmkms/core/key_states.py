"""Which operation is possible in which key state: the one table, used before a change and inside its transaction.

The rules are those of the AWS KMS model and of "Key states of AWS KMS keys" in AWS's developer guide. Operations that name no existing
KMS key are not in it. Two states can be stored in a catalog and are never made by this version: Unavailable (custom key stores) and
Updating (multi-Region keys); their cells are AWS's all the same. That an operation needs a key of another kind or origin is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hsmkms.core.errors import (
    DisabledException,
    KmsError,
    KMSInvalidStateException,
    UnsupportedOperationException,
)
from hsmkms.core.model import KeyState

_ANY: Final = frozenset(KeyState)
_USE: Final = frozenset({KeyState.ENABLED, KeyState.UPDATING})
_KEPT: Final = _ANY - {KeyState.CREATING, KeyState.PENDING_DELETION}
_SWITCH: Final = frozenset({KeyState.ENABLED, KeyState.DISABLED})
_GRANT: Final = frozenset({KeyState.ENABLED, KeyState.UNAVAILABLE, KeyState.UPDATING})
_ROTATE: Final = frozenset({KeyState.ENABLED})
_ROTATIONS: Final = _ANY - {KeyState.PENDING_IMPORT, KeyState.UNAVAILABLE}

POSSIBLE: Final[Mapping[str, frozenset[KeyState]]] = MappingProxyType(
    {
        "CancelKeyDeletion": frozenset({KeyState.PENDING_DELETION}),
        "CreateAlias": _KEPT,
        "CreateGrant": _GRANT,
        "Decrypt": _USE,
        "DeleteAlias": _ANY,
        "DeleteImportedKeyMaterial": _ANY - {KeyState.CREATING, KeyState.UNAVAILABLE},
        "DeriveSharedSecret": _USE,
        "DescribeKey": _ANY,
        "DisableKey": _SWITCH,
        "DisableKeyRotation": _ROTATE,
        "EnableKey": _SWITCH,
        "EnableKeyRotation": _ROTATE,
        "Encrypt": _USE,
        "GenerateDataKey": _USE,
        "GenerateDataKeyPair": _USE,
        "GenerateDataKeyPairWithoutPlaintext": _USE,
        "GenerateDataKeyWithoutPlaintext": _USE,
        "GenerateMac": _USE,
        "GetKeyLastUsage": _ANY,
        "GetKeyPolicy": _ANY,
        "GetKeyRotationStatus": _ROTATIONS,
        "GetParametersForImport": frozenset({KeyState.PENDING_IMPORT, KeyState.ENABLED, KeyState.DISABLED}),
        "GetPublicKey": _USE,
        "ImportKeyMaterial": frozenset({KeyState.PENDING_IMPORT, KeyState.ENABLED}),
        "ListAliases": _ANY,
        "ListGrants": _ANY,
        "ListKeyPolicies": _ANY,
        "ListKeyRotations": _ANY - {KeyState.UNAVAILABLE},
        "ListResourceTags": _ANY,
        "PutKeyPolicy": _ANY,
        "ReEncrypt": _USE,
        "RetireGrant": _ANY,
        "RevokeGrant": _ANY,
        "RotateKeyOnDemand": _ROTATE,
        "ScheduleKeyDeletion": _KEPT - {KeyState.UPDATING},
        "Sign": _USE,
        "TagResource": _KEPT,
        "UntagResource": _KEPT,
        "UpdateAlias": _KEPT,
        "UpdateKeyDescription": _KEPT,
        "Verify": _USE,
        "VerifyMac": _USE,
    }
)
"""The states in which each operation is possible. UpdateAlias: of the key that the alias is to point to."""

_ONLY_OWN_MATERIAL: Final = frozenset(
    {"DisableKeyRotation", "EnableKeyRotation", "GetKeyRotationStatus", "ListKeyRotations", "RotateKeyOnDemand"}
)
_TEXTS: Final[Mapping[KeyState, str]] = {
    KeyState.CREATING: "is creating.",
    KeyState.ENABLED: "is enabled.",
    KeyState.PENDING_DELETION: "is pending deletion.",
    KeyState.PENDING_IMPORT: "is pending import.",
    KeyState.UNAVAILABLE: "is unavailable.",
    KeyState.UPDATING: "is updating.",
}
_NOT_OWN: Final[Mapping[KeyState, str]] = {
    KeyState.PENDING_IMPORT: "origin is EXTERNAL which is not valid for this operation.",
    KeyState.UNAVAILABLE: "is in a custom key store which is not valid for this operation.",
}


def require(operation: str, state: KeyState, arn: str) -> None:
    """Do nothing if the operation is possible with a key in that state.

    Args:
        operation: AWS's name of the operation, one of `POSSIBLE`.
        state: The key's state.
        arn: The key's ARN, for the text.

    Raises:
        DisabledException: the key is disabled, and must not be.
        KMSInvalidStateException: the key is in another state that does not allow it.
        UnsupportedOperationException: keys in that state have material that cannot be rotated.
    """
    if state not in POSSIBLE[operation]:
        raise _refusal(operation, state, arn)


def _refusal(operation: str, state: KeyState, arn: str) -> KmsError:
    if operation == "CancelKeyDeletion":
        return KMSInvalidStateException(f"{arn} is not pending deletion.")
    if operation in _ONLY_OWN_MATERIAL and state in _NOT_OWN:
        return UnsupportedOperationException(f"{arn} {_NOT_OWN[state]}")
    if state is KeyState.DISABLED:
        return DisabledException(f"{arn} is disabled.")
    return KMSInvalidStateException(f"{arn} {_TEXTS[state]}")
