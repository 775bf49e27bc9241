"""The condition operators: what each one's policy values may be, and when a value of the request matches them.

An operator compares one value of the request with all values of the policy; several policy values are alternatives. Negation, missing
keys, `IfExists`, `ForAnyValue` and `ForAllValues` are not known here: see `conditions`. A value of the request that is not of the
operator's type matches nothing.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias

from hsmkms.core.policy.arn_patterns import ArnPattern, arn_fields
from hsmkms.core.policy.patterns import (
    Context,
    Glob,
    PatternError,
    Token,
    Variable,
    literal_of,
    resolve,
    tokens,
)

Matcher: TypeAlias = Callable[[str, Context], bool]
"""Says whether a value of the request matches one of the policy's values."""

Build: TypeAlias = Callable[[Sequence[str], bool], Matcher]
"""Makes a matcher of policy values; the flag says whether the document knows variables, which only strings and ARNs may hold.

Raises PatternError for a bad value."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A condition operator without its prefix and suffix.

    Args:
        build: Makes its matcher.
        negated: Whether the condition holds when the matcher says no.
    """

    build: Build
    negated: bool = False


# Strings.


def _string(fold: Callable[[str], str], *, wildcards: bool) -> Build:
    def build(values: Sequence[str], variables: bool) -> Matcher:
        exact: set[str] = set()
        globs: list[Glob] = []
        dynamic: list[tuple[Token, ...]] = []
        for value in values:
            pattern = tokens(value, variables=variables, wildcards=wildcards)
            literal = literal_of(pattern)
            if literal is not None:
                exact.add(fold(literal))
            elif not any(isinstance(token, Variable) for token in pattern):
                globs.append(Glob.of(pattern))
            else:
                dynamic.append(pattern)

        def matches(value: str, context: Context) -> bool:
            if fold(value) in exact or any(glob.matches(value) for glob in globs):
                return True
            return any(_dynamic_matches(pattern, value, context, fold) for pattern in dynamic)

        return matches

    return build


def _dynamic_matches(pattern: Sequence[Token], value: str, context: Context, fold: Callable[[str], str]) -> bool:
    resolved = resolve(pattern, context)
    if resolved is None:
        return False
    literal = literal_of(resolved)
    return Glob.of(resolved).matches(value) if literal is None else fold(literal) == fold(value)


# ARNs.


def _arn(values: Sequence[str], variables: bool) -> Matcher:
    patterns = [ArnPattern.of(value, variables=variables, resource=False) for value in values]

    def matches(value: str, context: Context) -> bool:
        fields = arn_fields(value)
        return any(pattern.matches(value, fields, context) for pattern in patterns)

    return matches


# Numbers and dates: both become a Decimal.

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)
_EPOCH: Final = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_DATE: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.ASCII,
)
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def number(text: str) -> Decimal | None:
    """Return the number that a text is: decimal digits with a sign and a fraction, 30 digits each at the most."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


@lru_cache(maxsize=1024)
def date(text: str) -> Decimal | None:
    """Return seconds since 1970: of an ISO 8601 date or time (UTC where it names no zone), or of a number of seconds."""
    if _EPOCH.fullmatch(text):
        return Decimal(text)
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, zone = match[7], match[8]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=_zone(zone))
    except ValueError:
        return None
    elapsed = moment - _START
    return Decimal(elapsed.days * 86400 + elapsed.seconds) + Decimal(f"0.{fraction or 0}")


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))


def _ordered(parse: Callable[[str], Decimal | None], compare: Callable[[Decimal, Decimal], bool], kind: str) -> Build:
    def build(values: Sequence[str], variables: bool) -> Matcher:
        limits = []
        for value in values:
            parsed = parse(value)
            if parsed is None:
                raise PatternError(f"must be {kind}")
            limits.append(parsed)

        def matches(value: str, context: Context) -> bool:
            parsed = parse(value)
            return parsed is not None and any(compare(parsed, limit) for limit in limits)

        return matches

    return build


def _ordered_operators(name: str, parse: Callable[[str], Decimal | None], kind: str) -> dict[str, Operator]:
    equals = _ordered(parse, lambda value, limit: value == limit, kind)
    return {
        f"{name}Equals": Operator(equals),
        f"{name}NotEquals": Operator(equals, negated=True),
        f"{name}LessThan": Operator(_ordered(parse, lambda value, limit: value < limit, kind)),
        f"{name}LessThanEquals": Operator(_ordered(parse, lambda value, limit: value <= limit, kind)),
        f"{name}GreaterThan": Operator(_ordered(parse, lambda value, limit: value > limit, kind)),
        f"{name}GreaterThanEquals": Operator(_ordered(parse, lambda value, limit: value >= limit, kind)),
    }


# Booleans and bytes.


def truth(text: str) -> bool | None:
    """Return the boolean that a text is, in any case, or None."""
    return {"true": True, "false": False}.get(text.lower())


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _typed(parse: Callable[[str], bool | bytes | None], kind: str) -> Build:
    def build(values: Sequence[str], variables: bool) -> Matcher:
        wanted = {parse(value) for value in values}
        if None in wanted:
            raise PatternError(f"must be {kind}")

        def matches(value: str, context: Context) -> bool:
            parsed = parse(value)
            return parsed is not None and parsed in wanted

        return matches

    return build


# Addresses.

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_CIDR: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?", re.ASCII)


@lru_cache(maxsize=1024)
def address(text: str) -> _Address | None:
    """Return the address that a text is, or None; an IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        parsed = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, ipaddress.IPv6Address) else parsed


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if _CIDR.fullmatch(text) is None:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _networks(values: Sequence[str], variables: bool) -> Matcher:
    networks = []
    for value in values:
        network = _network(value)
        if network is None:
            raise PatternError("must be an IP address or a CIDR block")
        networks.append(network)

    def matches(value: str, context: Context) -> bool:
        parsed = address(value)
        return parsed is not None and any(
            parsed.version == network.version and parsed in network for network in networks
        )

    return matches


_EXACT: Final = _string(lambda text: text, wildcards=False)
_FOLDED: Final = _string(str.lower, wildcards=False)
_LIKE: Final = _string(lambda text: text, wildcards=True)

OPERATORS: Final[dict[str, Operator]] = {
    "StringEquals": Operator(_EXACT),
    "StringNotEquals": Operator(_EXACT, negated=True),
    "StringEqualsIgnoreCase": Operator(_FOLDED),
    "StringNotEqualsIgnoreCase": Operator(_FOLDED, negated=True),
    "StringLike": Operator(_LIKE),
    "StringNotLike": Operator(_LIKE, negated=True),
    "ArnEquals": Operator(_arn),
    "ArnLike": Operator(_arn),
    "ArnNotEquals": Operator(_arn, negated=True),
    "ArnNotLike": Operator(_arn, negated=True),
    **_ordered_operators("Numeric", number, "a number"),
    **_ordered_operators("Date", date, "a date of ISO 8601 or a number of seconds"),
    "Bool": Operator(_typed(truth, "true or false")),
    "BinaryEquals": Operator(_typed(_bytes, "base64")),
    "IpAddress": Operator(_networks),
    "NotIpAddress": Operator(_networks, negated=True),
}
"""Every operator but `Null`, by its name in a policy. ArnEquals and ArnLike are the same, as at AWS."""
