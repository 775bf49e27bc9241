"""Patterns for ARNs, as Resource elements and the ARN operators use them.

An ARN has six fields; each is matched for itself, so that a wildcard reaches over no colon but those inside the resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hsmkms.core.policy.patterns import (
    STAR,
    Context,
    Glob,
    PatternError,
    Star,
    Token,
    Variable,
    literal_of,
    resolve,
    tokens,
)

ARN_FIELDS: Final = 6


def split_fields(pattern: Sequence[Token], fields: int = ARN_FIELDS) -> list[tuple[Token, ...]]:
    """Split a pattern at the colons of its literals into at most `fields` patterns; the last one keeps its colons."""
    parts: list[list[Token]] = [[]]
    for token in pattern:
        if not isinstance(token, str):
            parts[-1].append(token)
            continue
        pieces = token.split(":", fields - len(parts))
        for index, piece in enumerate(pieces):
            if index:
                parts.append([])
            if piece:
                parts[-1].append(piece)
    return [tuple(part) for part in parts]


@dataclass(frozen=True, slots=True)
class ArnPattern:
    """A pattern for an ARN, whose six fields are matched each for itself.

    Args:
        anything: Whether the pattern is a lone `*`.
        exact: The ARN, when the pattern has neither wildcards nor variables.
        globs: The fields' globs, when it has no variables.
        fields: The fields' tokens.
    """

    anything: bool
    exact: str | None
    globs: tuple[Glob, ...]
    fields: tuple[tuple[Token, ...], ...]

    @staticmethod
    def of(text: str, *, variables: bool, resource: bool) -> ArnPattern:
        """Return the pattern that a text is.

        Args:
            text: The pattern: `*`, or an ARN.
            variables: Whether `${…}` is a variable.
            resource: Whether it stands in a Resource element: there an ARN that ends in `*` may leave out fields, which then may be
                anything, and variables may stand in the last field only.

        Raises:
            PatternError: the text is neither.
        """
        pattern = tokens(text, variables=variables, wildcards=True)
        if pattern and all(isinstance(token, Star) for token in pattern):
            return ArnPattern(anything=True, exact=None, globs=(), fields=())
        fields = split_fields(pattern)
        if fields[0] != ("arn",):
            raise PatternError("must be an ARN or *")
        if len(fields) < ARN_FIELDS:
            if not (resource and pattern[-1] == STAR):
                raise PatternError(f"must be an ARN of {ARN_FIELDS} fields or *")
            fields += [(STAR,)] * (ARN_FIELDS - len(fields))
        if resource and any(isinstance(token, Variable) for field in fields[:-1] for token in field):
            raise PatternError("a policy variable may stand after the fifth colon only")
        if not fields[-1]:
            raise PatternError("must be an ARN that names a resource, or *")
        has_variables = any(isinstance(token, Variable) for token in pattern)
        globs = () if has_variables else tuple(Glob.of(field) for field in fields)
        return ArnPattern(anything=False, exact=literal_of(pattern), globs=globs, fields=tuple(fields))

    def matches(self, text: str, fields: Sequence[str], context: Context) -> bool:
        """Say whether an ARN matches.

        Args:
            text: The ARN.
            fields: The same, split at its first five colons.
            context: What the variables stand for.
        """
        if self.exact is not None:
            return self.exact == text
        if self.anything:
            return True
        if len(fields) != ARN_FIELDS:
            return False
        if self.globs:
            return all(glob.matches(field) for glob, field in zip(self.globs, fields, strict=True))
        for pattern, field in zip(self.fields, fields, strict=True):
            resolved = resolve(pattern, context)
            if resolved is None or not Glob.of(resolved).matches(field):
                return False
        return True

    def lacks_value(self, context: Context) -> bool:
        """Say whether a variable of the pattern has no value in a request."""
        if self.globs or self.anything:
            return False
        return any(resolve(field, context) is None for field in self.fields)


def arn_fields(text: str) -> list[str]:
    """Return an ARN's fields: the text split at its first five colons."""
    return text.split(":", ARN_FIELDS - 1)
