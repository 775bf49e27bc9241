"""core's messages against AWS's own model of KMS, as botocore has it: whatever differs is in `DIFFERENCES`, with its reason.

The table is exact: a difference that is not in it fails, and so does an entry that is no difference any more. The document has its rows.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from hsmkms.core.errors import BY_CODE
from hsmkms.core.members import Constraint, aws_name, constraint_of
from hsmkms.core.messages import OPERATIONS, Empty
from hsmkms.core.operations import HANDLERS
from hsmkms.core.operations.inapplicable import refuse
from hsmkms.server.aws import status
from hsmkms.server.aws.documents import INAPPLICABLE

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "aws-kms-divergences.md"
DESCRIPTION = Loader().load_service_model("kms", "service-2")
MODEL = ServiceModel(DESCRIPTION)
OURS = {name: operation for name, operation in OPERATIONS.items() if HANDLERS[name] is not refuse}
"""Operations that can succeed: of the others, AWS's members are not there at all."""


@dataclass(frozen=True)
class Difference:
    """Members that differ for one reason.

    Args:
        members: `Shape.Member`, in AWS's names.
        what: How they differ.
        why: The reason.
    """

    members: tuple[str, ...]
    what: str
    why: str


DIFFERENCES = (
    Difference(
        (
            "CreateGrantRequest.GranteeServicePrincipal", "CreateGrantRequest.RetiringServicePrincipal",
            "ListGrantsRequest.GranteeServicePrincipal", "ListRetirableGrantsRequest.RetiringServicePrincipal",
            "GrantListEntry.GranteeServicePrincipal", "GrantListEntry.RetiringServicePrincipal",
            "GrantConstraints.SourceArn",
        ),
        "absent",
        "no AWS service calls on anybody's behalf",
    ),
    Difference(
        ("KeyMetadata.CustomerMasterKeySpec", "GetPublicKeyResponse.CustomerMasterKeySpec"), "absent", "KeySpec has replaced it"
    ),
    Difference(
        ("KeyMetadata.XksKeyConfiguration", "KeyMetadata.CloudHsmClusterId", "KeyMetadata.CustomKeyStoreId"),
        "absent",
        "custom key stores do not apply",
    ),
    Difference(("KeyMetadata.MultiRegionConfiguration",), "absent", "multi-Region keys do not apply"),
    Difference(
        ("KeyMetadata.EncapsulationAlgorithms", "GetPublicKeyResponse.EncapsulationAlgorithms"),
        "absent",
        "there are no ML-KEM keys",
    ),
    Difference(
        (
            "DecryptRequest.Recipient", "DecryptResponse.CiphertextForRecipient", "GenerateDataKeyRequest.Recipient",
            "GenerateDataKeyResponse.CiphertextForRecipient", "GenerateRandomRequest.Recipient",
            "GenerateRandomResponse.CiphertextForRecipient", "GenerateDataKeyPairRequest.Recipient",
            "GenerateDataKeyPairResponse.CiphertextForRecipient", "DeriveSharedSecretRequest.Recipient",
            "DeriveSharedSecretResponse.CiphertextForRecipient",
        ),
        "absent",
        "no attested enclaves are behind this service",
    ),
    Difference(("KeyLastUsageData.CloudTrailEventId",), "absent", "there is no CloudTrail; KmsRequestId finds the audit record"),
    Difference(("ListKeysRequest.ResourceOwners",), "absent", "keys are an account's own"),
    Difference(
        ("CreateGrantRequest.GranteePrincipal", "ListRetirableGrantsRequest.RetiringPrincipal"),
        "required",
        "AWS needs it or the service principal, which does not apply",
    ),
    Difference(("CreateGrantRequest.Operations",), "min 1, AWS none", "a grant of nothing is a mistake"),
    Difference(("CreateGrantRequest.Operations[]",), "without Decapsulate, Encapsulate", "there are no ML-KEM keys"),
    Difference(
        ("CreateKeyRequest.Policy", "PutKeyPolicyRequest.Policy"),
        "max 32768, AWS 131072",
        "32 KiB is the limit that AWS documents",
    ),
    Difference(
        ("CreateKeyRequest.Tags",),
        "max 50, AWS none",
        "the limit that AWS documents",
    ),
    Difference(
        ("TagResourceRequest.Tags", "UntagResourceRequest.TagKeys"),
        "min 1, AWS none; max 50, AWS none",
        "the limit that AWS documents, and a change of nothing is a mistake",
    ),
    Difference(
        ("ScheduleKeyDeletionRequest.PendingWindowInDays",),
        "min 7, AWS 1; max 30, AWS 365",
        "7 to 30 days is what AWS documents",
    ),
)  # fmt: skip

ABSENT_ERRORS = {
    "CustomKeyStoreInvalidStateException": "custom key stores do not apply",
    "CustomKeyStoreNotFoundException": "custom key stores do not apply",
    "XksKeyAlreadyInUseException": "custom key stores do not apply",
    "XksKeyInvalidConfigurationException": "custom key stores do not apply",
    "XksKeyNotFoundException": "custom key stores do not apply",
    "CloudHsmClusterInvalidConfigurationException": "custom key stores do not apply",
}
"""Errors that AWS documents for an operation of ours, and that cannot come about here."""


def without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return next(option for option in typing.get_args(annotation) if option is not type(None))
    return annotation


def type_name(annotation: Any) -> str:
    """The model's name of a type of ours."""
    plain = without_none(annotation)
    if typing.get_origin(plain) is not None:
        return {tuple: "list", Mapping: "map"}[typing.get_origin(plain)]
    if dataclasses.is_dataclass(plain):
        return "structure"
    if issubclass(plain, StrEnum):
        return "string"
    return {str: "string", bytes: "blob", int: "integer", bool: "boolean", datetime: "timestamp"}[plain]


def compared(kind: type, shape: Shape, *, is_request: bool) -> Iterator[tuple[str, str]]:
    """Yield every difference of a message, as member and text."""
    hints = typing.get_type_hints(kind)
    ours = {aws_name(field.name): field for field in dataclasses.fields(kind)}
    theirs = shape.members
    for name in ours.keys() | theirs.keys():
        where = f"{shape.name}.{name}"
        if name not in ours:
            yield where, "absent"
        elif name not in theirs:
            yield where, "AWS has no such member"
        else:
            annotation = hints[ours[name].name]
            yield from compared_member(where, ours[name], annotation, shape, theirs[name], is_request=is_request)


def compared_member(
    where: str, field: dataclasses.Field[Any], annotation: Any, parent: Shape, shape: Shape, *, is_request: bool
) -> Iterator[tuple[str, str]]:
    wanted = {"long": "integer"}.get(shape.type_name, shape.type_name)
    assert type_name(annotation) == wanted, where
    assert (not field.repr) == bool(shape.metadata.get("sensitive")), f"{where} is sensitive in one of the two"
    if is_request:
        rule = constraint_of(field)
        told = [*requirement(rule, field.name, parent), *limits(rule, shape)]
        if told:
            yield where, "; ".join(told)
    elif (field.default is dataclasses.MISSING) < (shape.name in parent.required_members):
        yield where, "optional"
    if wanted == "list":
        inner = typing.get_args(without_none(annotation))[0]
        if shape.member.type_name == "structure":
            yield from compared(inner, shape.member, is_request=is_request)
        elif is_request:
            told = limits(constraint_of(field).each or Constraint(), shape.member)
            if told:
                yield f"{where}[]", "; ".join(told)
    elif wanted == "structure":
        yield from compared(without_none(annotation), shape, is_request=is_request)


def requirement(rule: Constraint, name: str, parent: Shape) -> list[str]:
    is_required = aws_name(name) in parent.required_members
    return [] if rule.required == is_required else ["required" if rule.required else "not required"]


def limits(rule: Constraint, shape: Shape) -> list[str]:
    """How the constraint on a value differs; a list's or text's least length of 0 is none."""
    told = []
    for ours, name in ((rule.minimum, "min"), (rule.maximum, "max")):
        theirs = shape.metadata.get(name)
        if (ours or None) != (theirs or None):
            told.append(f"{name} {ours}, AWS {'none' if theirs is None else theirs}")
    if rule.pattern != shape.metadata.get("pattern"):
        told.append(f"pattern {rule.pattern}, AWS {shape.metadata.get('pattern')}")
    theirs = set(shape.metadata.get("enum", ()))
    missing = sorted(theirs - set(rule.choices))
    assert set(rule.choices) <= theirs, f"AWS has no such values: {set(rule.choices) - theirs}"
    if theirs and not rule.choices:
        told.append("any text")
    elif missing:
        told.append(f"without {', '.join(missing)}")
    return told


def found() -> dict[str, str]:
    differences: dict[str, str] = {}
    for name, operation in OURS.items():
        model = MODEL.operation_model(name)
        differences.update(compared(operation.request, model.input_shape, is_request=True))
        if operation.response is Empty:
            assert model.output_shape is None or not model.output_shape.members, name
        else:
            differences.update(compared(operation.response, model.output_shape, is_request=False))
    return differences


def test_every_difference_is_in_the_table_and_every_entry_is_a_difference() -> None:
    assert found() == {member: row.what for row in DIFFERENCES for member in row.members}


def test_a_member_that_is_absent_from_a_request_is_refused_and_not_ignored() -> None:
    """Ignored, it would make another request: a Recipient is there so that nobody on the way sees the plaintext."""
    names = {"GrantConstraintsMember": "GrantConstraints"}
    refused = {
        f"{names.get(kind.__name__, kind.__name__)}.{member}"
        for kind, members in INAPPLICABLE.items()
        for member in members
    }
    absent = {member for member, what in found().items() if what == "absent"}
    requests = {MODEL.operation_model(name).input_shape.name for name in OURS} | {"GrantConstraints"}
    assert refused == {member for member in absent if member.partition(".")[0] in requests}


def test_the_document_has_the_table() -> None:
    document = DOCUMENT.read_text()
    for row in DIFFERENCES:
        line = f"| {', '.join(f'`{member}`' for member in row.members)} | {row.what} | {row.why} |"
        assert line in document, f"{DOCUMENT.name} needs the line\n{line}"


def test_the_document_lists_awss_operations() -> None:
    listed = re.findall(r"^\| ([A-Z]\w+) \| (?:yes|refused|not yet) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert listed == sorted(MODEL.operation_names)


def test_operations_that_are_refused_are_awss() -> None:
    assert OPERATIONS.keys() <= set(MODEL.operation_names)


@pytest.mark.parametrize("operation", OURS)
def test_the_errors_that_aws_documents_exist(operation: str) -> None:
    for shape in MODEL.operation_model(operation).error_shapes:
        assert (shape.name in BY_CODE) != (shape.name in ABSENT_ERRORS), shape.name


def test_statuses_are_awss() -> None:
    """500 for what the model calls a fault; the model's own numbers, should it ever have some; 400 for everything else."""
    assert status.STATUSES.keys() == set(BY_CODE.values())
    for code, kind in BY_CODE.items():
        shape = DESCRIPTION["shapes"].get(code, {})
        assert status.STATUSES[kind] == shape.get("error", {}).get(
            "httpStatusCode", 500 if shape.get("fault") else 400
        ), code


def test_aws_speaks_json_to_kms_and_nothing_else() -> None:
    """When the newest model has another protocol, such as smithy-rpc-v2-cbor, SDKs will choose it: docs/adr/0011."""
    assert MODEL.metadata["protocols"] == ["json"]
    assert MODEL.metadata["jsonVersion"] == "1.1"
    assert MODEL.metadata["targetPrefix"] == "TrentService"
