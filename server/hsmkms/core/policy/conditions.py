"""The Condition element: compiled once, asked for each request.

All tests of an element must hold; the values of one test are alternatives. Names of condition keys have no case, values do. The rules
for a key that the request does not have: a plain operator fails, a negated one (`…Not…`) holds, `…IfExists` and `ForAllValues:` hold,
`ForAnyValue:` fails. A multi-valued key without values counts as missing. Source: "IAM JSON policy elements: Condition operators" and
"Set operators for multivalued condition keys" in AWS's IAM user guide.

AWS leaves open what an operator without `ForAnyValue:` or `ForAllValues:` says of a multi-valued key. Here it fails closed: in an Allow
it never holds, in a Deny it holds when it does for any value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from hsmkms.core.policy.operators import OPERATORS, Matcher, truth
from hsmkms.core.policy.patterns import Context, PatternError

NULL: Final = "Null"
_IF_EXISTS: Final = "IfExists"


class Quantifier(Enum):
    """How the values of a multi-valued key are taken together."""

    NONE = ""
    ANY = "ForAnyValue"
    ALL = "ForAllValues"


@dataclass(frozen=True, slots=True)
class Test:
    """One operator, one condition key, and the policy's values.

    Args:
        key: The condition key in lower case.
        matches: Whether a value of the request matches one of the policy's.
        negated: Whether the test holds for the values that do not match.
        quantifier: How several values are taken together.
        when_missing: What it says when the request does not have the key.
    """

    __test__ = False  # no test class for pytest

    key: str
    matches: Matcher
    negated: bool
    quantifier: Quantifier
    when_missing: bool

    def holds(self, context: Context, *, denying: bool) -> bool:
        """Say whether the test holds.

        Args:
            context: The request's condition keys.
            denying: Whether the statement is a Deny.
        """
        value = context.get(self.key)
        if value is None or value == ():
            return self.when_missing
        if isinstance(value, str):
            return self.matches(value, context) is not self.negated
        if self.quantifier is Quantifier.ALL:
            return all(self.matches(item, context) is not self.negated for item in value)
        if self.quantifier is Quantifier.NONE and not denying:
            return False
        return any(self.matches(item, context) is not self.negated for item in value)


@dataclass(frozen=True, slots=True)
class NullTest:
    """Whether the request has a condition key at all.

    Args:
        key: The condition key in lower case.
        wanted: `{True}`: it must be missing; `{False}`: it must not; both: either.
    """

    key: str
    wanted: frozenset[bool]

    def holds(self, context: Context, *, denying: bool) -> bool:
        """Say whether the test holds."""
        value = context.get(self.key)
        return (value is None or value == ()) in self.wanted


def known_operator(name: str) -> bool:
    """Say whether a policy may use an operator of this name, prefix and suffix included."""
    _, base, if_exists = _split(name)
    return base in OPERATORS or (base == NULL and not if_exists and name == NULL)


def compile_test(name: str, key: str, values: tuple[str, ...], *, variables: bool) -> Test | NullTest:
    """Return the test that a policy spells.

    Args:
        name: The operator's name; it must be a `known_operator`.
        key: The condition key.
        values: The policy's values, one at least.
        variables: Whether the document knows policy variables.

    Raises:
        PatternError: a value is not of the operator's type.
    """
    quantifier, base, if_exists = _split(name)
    if base == NULL:
        wanted = [truth(value) for value in values]
        if None in wanted:
            raise PatternError("must be true or false")
        return NullTest(key.lower(), frozenset(value for value in wanted if value is not None))
    operator = OPERATORS[base]
    missing = {Quantifier.NONE: operator.negated, Quantifier.ANY: False, Quantifier.ALL: True}[quantifier]
    return Test(
        key.lower(), operator.build(values, variables), operator.negated, quantifier, when_missing=if_exists or missing
    )


def _split(name: str) -> tuple[Quantifier, str, bool]:
    prefix, colon, rest = name.partition(":")
    quantifier = Quantifier.NONE
    if colon and prefix in {Quantifier.ANY.value, Quantifier.ALL.value}:
        quantifier, name = Quantifier(prefix), rest
    base = name.removesuffix(_IF_EXISTS)
    return quantifier, base, base != name
