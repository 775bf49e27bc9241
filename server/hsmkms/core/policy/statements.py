"""A policy as it is evaluated: statements with everything compiled that does not depend on the request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hsmkms.core.policy.arn_patterns import ArnPattern
from hsmkms.core.policy.conditions import NullTest, Test
from hsmkms.core.policy.patterns import Context, Glob
from hsmkms.core.policy.principals import Principals

_REMEMBERED_ACTIONS: Final = 128
"""How many actions a policy remembers the statements of; the service has fewer."""


@dataclass(frozen=True, slots=True)
class Actions:
    """A compiled Action or NotAction element; letters have no case in it.

    Args:
        negated: Whether it is a NotAction.
        exact: The actions without wildcards, in lower case.
        globs: The others, in lower case.
    """

    negated: bool
    exact: frozenset[str]
    globs: tuple[Glob, ...]

    def match(self, action: str) -> bool:
        """Say whether the element means an action, which is given in lower case."""
        named = action in self.exact or any(glob.matches(action) for glob in self.globs)
        return named is not self.negated


@dataclass(frozen=True, slots=True)
class Resources:
    """A compiled Resource or NotResource element.

    Args:
        negated: Whether it is a NotResource.
        patterns: Its entries.
    """

    negated: bool
    patterns: tuple[ArnPattern, ...]

    def match(self, arn: str, fields: list[str], context: Context, *, denying: bool) -> bool:
        """Say whether the element means a resource: an ARN, given whole and by its fields, or `*`.

        A NotResource whose variable has no value fails closed: a Deny matches, an Allow does not.
        """
        named = any(pattern.matches(arn, fields, context) for pattern in self.patterns)
        if not self.negated or named:
            return named is not self.negated
        return denying or not any(pattern.lacks_value(context) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Args:
        label: Its Sid, or its place in the document: what an audit record calls it.
        denies: Whether its effect is Deny.
        principals: Whom it means; None in an identity policy, which means whom it is attached to.
        actions: What it means them to do.
        resources: To what.
        tests: Under which conditions; all must hold.
    """

    label: str
    denies: bool
    principals: Principals | None
    actions: Actions
    resources: Resources
    tests: tuple[Test | NullTest, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy document, parsed and compiled.

    Args:
        version: `2012-10-17` or `2008-10-17`.
        statements: Its statements, in the document's order.
    """

    version: str
    statements: tuple[Statement, ...]
    _by_action: dict[str, tuple[Statement, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def about(self, action: str) -> tuple[Statement, ...]:
        """Return the statements that mean an action, given in lower case."""
        found = self._by_action.get(action)
        if found is None:
            found = tuple(statement for statement in self.statements if statement.actions.match(action))
            if len(self._by_action) < _REMEMBERED_ACTIONS:
                self._by_action[action] = found
        return found
