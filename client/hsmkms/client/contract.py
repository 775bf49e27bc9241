"""The operations and their messages, as a user of the client library needs them: names of core, in one place.

Also what a program derives from the declarations: the constraint on each member, AWS's spelling of names, and a message as AWS JSON.
"""

from __future__ import annotations

from hsmkms.core.aws_json import encode as to_aws_json
from hsmkms.core.members import Constraint, aws_name, constraint_of
from hsmkms.core.messages import (
    NO_CONTEXT,
    OPERATIONS,
    AliasListEntry,
    CreateKeyResponse,
    DecryptResponse,
    DescribeKeyResponse,
    Effect,
    EncryptResponse,
    GenerateDataKeyResponse,
    GenerateDataKeyWithoutPlaintextResponse,
    GenerateRandomResponse,
    KeyListEntry,
    KeyMetadata,
    ListAliasesResponse,
    ListKeyRotationsResponse,
    ListKeysResponse,
    Operation,
    ReEncryptResponse,
    RotateKeyOnDemandResponse,
    RotationsListEntry,
)
from hsmkms.core.messages import TagMember as Tag
from hsmkms.core.model import (
    DataKeySpec,
    DryRunModifier,
    EncryptionAlgorithm,
    IncludeKeyMaterial,
    KeyManager,
    KeyMaterialState,
    KeySpec,
    KeyState,
    KeyUsage,
    Origin,
    RotationType,
)

__all__ = [
    "NO_CONTEXT",
    "OPERATIONS",
    "AliasListEntry",
    "Constraint",
    "CreateKeyResponse",
    "DataKeySpec",
    "DecryptResponse",
    "DescribeKeyResponse",
    "DryRunModifier",
    "Effect",
    "EncryptResponse",
    "EncryptionAlgorithm",
    "GenerateDataKeyResponse",
    "GenerateDataKeyWithoutPlaintextResponse",
    "GenerateRandomResponse",
    "IncludeKeyMaterial",
    "KeyListEntry",
    "KeyManager",
    "KeyMaterialState",
    "KeyMetadata",
    "KeySpec",
    "KeyState",
    "KeyUsage",
    "ListAliasesResponse",
    "ListKeyRotationsResponse",
    "ListKeysResponse",
    "Operation",
    "Origin",
    "ReEncryptResponse",
    "RotateKeyOnDemandResponse",
    "RotationType",
    "RotationsListEntry",
    "Tag",
    "aws_name",
    "constraint_of",
    "to_aws_json",
]
