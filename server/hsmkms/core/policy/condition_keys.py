"""The condition keys of a request: what policies may ask about it.

A key that does not apply to a request is absent, never empty. Never present here, because no AWS service calls on anyone's behalf:
`kms:ViaService`, `aws:SourceArn`, `aws:SourceAccount`, `aws:CalledVia` and their kin. Source: "AWS KMS condition keys" in AWS's KMS
developer guide and "AWS global condition context keys" in the IAM user guide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from hsmkms.core.policy.patterns import Context, Value
from hsmkms.core.policy.principals import session_role

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ConditionInputs:
    """What condition keys are made of. None, or an empty text, tuple or mapping, stands for what does not apply.

    Args:
        principal: The caller's ARN.
        account: The caller's account.
        now_us: The time of the request, in microseconds since 1970, UTC.
        principal_tags: The caller's tags.
        source_ip: The caller's address.
        secure_transport: Whether the request came over TLS.
        encryption_context: The encryption context of this side.
        encryption_algorithm: The encryption algorithm of this side.
        request_alias: The alias that the request named the key by, with its `alias/`.
        resource_aliases: All aliases of the key, with their `alias/`.
        re_encrypt_on_same_key: For ReEncrypt: whether both sides are one key.
        key_spec: The key's spec, or the one to be created.
        key_usage: The key's usage, or the one to be created.
        key_origin: The key's origin, or the one to be created.
        resource_tags: The key's tags.
        request_tags: The tags that the request sets.
        tag_keys: The keys of tags that the request sets or removes.
        grant_operations: For CreateGrant: the grant's operations.
        grant_is_for_aws_resource: For grant operations: whether an AWS service asks; always False here.
        grantee_principal: For CreateGrant: the grantee.
        retiring_principal: For CreateGrant: who may retire it.
        grant_constraint_types: For CreateGrant: `EncryptionContextEquals`, `EncryptionContextSubset`, or both.
        pending_window_in_days: For ScheduleKeyDeletion: the window.
        rotation_period_in_days: For EnableKeyRotation: the period.
        bypass_policy_lockout_safety_check: For CreateKey and PutKeyPolicy: whether the check is bypassed.
    """

    principal: str
    account: str
    now_us: int
    principal_tags: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    source_ip: str = ""
    secure_transport: bool = True
    encryption_context: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    encryption_algorithm: str = ""
    request_alias: str = ""
    resource_aliases: tuple[str, ...] = ()
    re_encrypt_on_same_key: bool | None = None
    key_spec: str = ""
    key_usage: str = ""
    key_origin: str = ""
    resource_tags: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    request_tags: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    tag_keys: tuple[str, ...] = ()
    grant_operations: tuple[str, ...] = ()
    grant_is_for_aws_resource: bool | None = None
    grantee_principal: str = ""
    retiring_principal: str = ""
    grant_constraint_types: tuple[str, ...] = ()
    pending_window_in_days: int | None = None
    rotation_period_in_days: int | None = None
    bypass_policy_lockout_safety_check: bool | None = None


class LazyContext(Mapping[str, Value]):
    """Condition keys that are made when the first policy asks for one: most policies ask for none.

    Args:
        make: Makes them.
    """

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Context]) -> None:
        self._make = make
        self._made: Context | None = None

    @property
    def was_asked(self) -> bool:
        """Whether a policy asked for anything."""
        return self._made is not None

    def _known(self) -> Context:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: str) -> Value:
        return self._known()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())


def condition_context(inputs: ConditionInputs) -> Context:
    """Return the condition keys of a request, in lower case.

    Names have no case, also the part that a caller chooses: pairs of an encryption context, or tags, whose names differ only in case
    become one key with several values, of which no Allow without ForAnyValue or ForAllValues approves.
    """
    context: dict[str, Value] = {
        "kms:calleraccount": inputs.account,
        "aws:principalaccount": inputs.account,
        "aws:principalarn": session_role(inputs.principal) or inputs.principal,
        "aws:principaltype": principal_type(inputs.principal),
        "aws:securetransport": _boolean(inputs.secure_transport),
        "aws:currenttime": _iso(inputs.now_us),
        "aws:epochtime": str(inputs.now_us // 1_000_000),
    }
    if context["aws:principaltype"] == "User":
        context["aws:username"] = inputs.principal.rpartition("/")[2]
    for prefix, pairs in (
        ("aws:principaltag/", inputs.principal_tags),
        ("aws:resourcetag/", inputs.resource_tags),
        ("aws:requesttag/", inputs.request_tags),
        ("kms:encryptioncontext:", inputs.encryption_context),
    ):
        _add_pairs(context, prefix, pairs)
    values: dict[str, Value] = {**_single_valued(inputs), **_multi_valued(inputs)}
    context.update((key, value) for key, value in values.items() if value)
    if inputs.grant_constraint_types:
        types = inputs.grant_constraint_types
        context["kms:grantconstrainttype"] = types[0] if len(types) == 1 else types
    return context


def _single_valued(inputs: ConditionInputs) -> dict[str, str]:
    return {
        "aws:sourceip": inputs.source_ip,
        "kms:encryptionalgorithm": inputs.encryption_algorithm,
        "kms:requestalias": inputs.request_alias,
        "kms:reencryptonsamekey": _boolean(inputs.re_encrypt_on_same_key),
        "kms:keyspec": inputs.key_spec,
        "kms:keyusage": inputs.key_usage,
        "kms:keyorigin": inputs.key_origin,
        "kms:grantisforawsresource": _boolean(inputs.grant_is_for_aws_resource),
        "kms:granteeprincipal": inputs.grantee_principal,
        "kms:retiringprincipal": inputs.retiring_principal,
        "kms:schedulekeydeletionpendingwindowindays": _number(inputs.pending_window_in_days),
        "kms:rotationperiodindays": _number(inputs.rotation_period_in_days),
        "kms:bypasspolicylockoutsafetycheck": _boolean(inputs.bypass_policy_lockout_safety_check),
    }


def _multi_valued(inputs: ConditionInputs) -> dict[str, tuple[str, ...]]:
    return {
        "kms:encryptioncontextkeys": tuple(inputs.encryption_context),
        "kms:resourcealiases": inputs.resource_aliases,
        "kms:grantoperations": inputs.grant_operations,
        "aws:tagkeys": inputs.tag_keys,
    }


def principal_type(arn: str) -> str:
    """Return aws:PrincipalType: Account (a root), User, AssumedRole or FederatedUser."""
    resource = arn.split(":", 5)[-1]
    if resource == "root":
        return "Account"
    if resource.startswith("user/"):
        return "User"
    return "FederatedUser" if resource.startswith("federated-user/") else "AssumedRole"


def _add_pairs(context: dict[str, Value], prefix: str, pairs: Mapping[str, str]) -> None:
    for name, value in pairs.items():
        key = prefix + name.lower()
        before = context.get(key)
        if before is None:
            context[key] = value
        else:
            context[key] = (*((before,) if isinstance(before, str) else before), value)


def _boolean(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _iso(now_us: int) -> str:
    return (_START + timedelta(microseconds=now_us)).strftime("%Y-%m-%dT%H:%M:%SZ")
