"""A request's audit record as docs/audit.md says it, made anew each time and encoded whole: what `core.audit_requests` must come to."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hsmkms.core.audit import Event
from hsmkms.core.members import constraint_of, wire_name
from hsmkms.core.messages import OPERATIONS, Effect

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES = {"user": "IAMUser", "role": "Role", "assumed-role": "AssumedRole", "root": "Root"}
_IDS = {"key_id": "keyId", "source_key_id": "sourceKeyId", "key_arn": "keyArn", "arn": "arn", "grant_id": "grantId"}


def body(event: Event) -> str:
    """Return the JSON of an event's record without its opening brace."""
    record = request_record(event)
    text = _encode(record)
    if len(text) > 256 * 1024:
        size = len(_encode(record["requestParameters"]))
        reason = {"omitted": True, "originalSize": size, "reason": "requestParameters too large"}
        text = _encode({**record, "requestParameters": reason})
    return text[1:]


def request_record(event: Event) -> dict[str, Any]:
    """Return an event's record."""
    operation = OPERATIONS.get(event.operation)
    elements, materials = _answered(event.response)
    arns = list(event.touched)
    arns += [arn for arn in _key_arns(elements) if arn not in arns]
    more = materials | ({"batchRequestID": event.batch_id} if event.batch_id else {})
    return {
        "recordType": "request",
        "eventVersion": "1.11",
        "userIdentity": _identity(event),
        "eventTime": f"{(_EPOCH + timedelta(microseconds=event.time_us)).isoformat(timespec='microseconds')[:-6]}Z",
        "eventSource": "kms.hsm-kms",
        "eventName": event.operation,
        "awsRegion": event.scope.region,
        "sourceIPAddress": _cut(event.source_address, 256),
        "userAgent": _cut(event.user_agent, 256),
        "requestParameters": _parameters(event.request) or None if event.request is not None else None,
        "responseElements": elements or None,
        **({"additionalEventData": more} if more else {}),
        **({"errorCode": event.error_code, "errorMessage": event.error_message} if event.error_code else {}),
        "requestID": event.request_id,
        "eventID": event.event_id,
        "readOnly": operation is not None and operation.effect is Effect.READS,
        "resources": [{"ARN": arn, "accountId": arn.split(":")[4], "type": "AWS::KMS::Key"} for arn in arns],
        "eventType": "AwsServiceEvent" if operation is None else "AwsApiCall",
        "managementEvent": True,
        "eventCategory": "Management",
        "recipientAccountId": event.principal.account if event.principal is not None else event.scope.account,
    }


def _identity(event: Event) -> dict[str, str]:
    if event.operation not in OPERATIONS:
        return {"type": "AWSService", "invokedBy": "kms.hsm-kms"}
    principal = event.principal
    if principal is None:
        return {"type": "Unknown"}
    kind = _TYPES.get(principal.arn.split(":", 5)[-1].partition("/")[0], "Unknown")
    who = {"accountId": principal.account, "userName": principal.name}
    return {"type": kind, "principalId": principal.arn, "arn": principal.arn, **who}


def _parameters(message: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(type(message))
    found = {}
    for field in dataclasses.fields(message):
        rule = constraint_of(field)
        value = getattr(message, field.name)
        secret = rule.sensitive or field.name in ("grant_token", "grant_tokens", "marker")
        if secret or hints[field.name] == (bytes | None) or value is None or value in ((), {}):
            continue
        bounded = hints[field.name] == (str | None) and rule.maximum is not None
        found[wire_name(field.name)] = _plain(value, rule.maximum if bounded and rule.maximum else 8192)
    return found


def _plain(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return _cut(value, longest)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_cut(name, longest): _plain(element, longest) for name, element in list(value.items())[:1000]}
    if isinstance(value, tuple):
        return [_plain(element, longest) for element in value[:1000]]
    return _parameters(value) if dataclasses.is_dataclass(value) else None


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest] + "…"


def _answered(response: Any) -> tuple[dict[str, Any], dict[str, str]]:
    elements: dict[str, Any] = {}
    materials: dict[str, str] = {}
    for field in dataclasses.fields(response) if response is not None else ():
        value = getattr(response, field.name)
        if isinstance(value, str) and field.name in _IDS:
            elements[_IDS[field.name]] = value
        elif isinstance(value, str) and field.name.endswith("key_material_id"):
            materials[wire_name(field.name)] = value
        elif field.name == "key_metadata":
            elements["keyMetadata"], inner = _answered(value)
            materials |= inner
    return elements, materials


def _key_arns(elements: Mapping[str, Any]) -> list[str]:
    found = []
    for value in elements.values():
        if isinstance(value, Mapping):
            found += _key_arns(value)
        elif value.startswith("arn:") and ":key/" in value:
            found.append(value)
    return found
