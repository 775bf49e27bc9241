"""Patterns of the policy language: wildcards and policy variables.

`*` stands for any run of characters, `?` for any one. Where a document's version knows variables, `${key}` stands for the value of a
single-valued condition key, `${key, 'default'}` for that or the default, and `${*}`, `${?}` and `${$}` for the characters themselves. A
value that a variable brings is literal: its `*` is no wildcard. A variable without a value makes its pattern match nothing.

Matching uses no regular expressions and no recursion; it takes at most length of pattern times length of text steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Value: TypeAlias = str | tuple[str, ...]
"""A condition key's value: text for a single-valued key, a tuple for a multi-valued one."""

Context: TypeAlias = Mapping[str, Value]
"""Condition keys, in lower case, with their values."""

_ESCAPES: Final = frozenset("*?$")
_NOT_IN_NAMES: Final = frozenset("${'*?")
_QUOTES: Final = 2


class PatternError(ValueError):
    """The text is no pattern; the message says why, without a place."""


@dataclass(frozen=True, slots=True)
class Star:
    """`*`."""


@dataclass(frozen=True, slots=True)
class One:
    """`?`."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A policy variable.

    Args:
        key: The condition key in lower case.
        default: What stands for it when the request has no such key, or None.
    """

    key: str
    default: str | None


STAR: Final = Star()
ONE: Final = One()

Token: TypeAlias = str | Star | One | Variable


def tokens(text: str, *, variables: bool, wildcards: bool) -> tuple[Token, ...]:
    """Return the tokens of a pattern.

    Args:
        text: The pattern.
        variables: Whether `${…}` is a variable (documents of version 2012-10-17).
        wildcards: Whether `*` and `?` are wildcards.

    Raises:
        PatternError: a variable is not closed or has no proper name.
    """
    found: list[Token] = []
    literal: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        token: Token | None = None
        if variables and text.startswith("${", position):
            end = text.find("}", position)
            if end < 0:
                raise PatternError("a policy variable is not closed")
            inner = text[position + 2 : end]
            position = end
            if inner in _ESCAPES:
                literal.append(inner)
            else:
                token = _variable(inner)
        elif wildcards and character == "*":
            token = STAR
        elif wildcards and character == "?":
            token = ONE
        else:
            literal.append(character)
        if token is not None:
            if literal:
                found.append("".join(literal))
                literal.clear()
            found.append(token)
        position += 1
    if literal:
        found.append("".join(literal))
    return tuple(found)


def _variable(inner: str) -> Variable:
    name, comma, rest = inner.partition(",")
    key = name.strip().lower()
    if not key or not _NOT_IN_NAMES.isdisjoint(key):
        raise PatternError("a policy variable has no proper name")
    if not comma:
        return Variable(key, None)
    quoted = rest.strip()
    if len(quoted) < _QUOTES or quoted[0] != "'" or quoted[-1] != "'" or "'" in quoted[1:-1]:
        raise PatternError("a policy variable's default must stand in single quotes")
    return Variable(key, quoted[1:-1])


def resolve(pattern: Sequence[Token], context: Context) -> list[Token] | None:
    """Return the tokens with every variable replaced by its value, or None when one has none."""
    resolved: list[Token] = []
    for token in pattern:
        if isinstance(token, Variable):
            value = context.get(token.key)
            if value is None or value == ():
                value = token.default
            if not isinstance(value, str):
                return None
            resolved.append(value)
        else:
            resolved.append(token)
    return resolved


def literal_of(pattern: Sequence[Token]) -> str | None:
    """Return the text that the tokens spell, or None when there is a wildcard or a variable among them."""
    parts = []
    for token in pattern:
        if not isinstance(token, str):
            return None
        parts.append(token)
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern without variables, ready to match.

    Args:
        pieces: What stands between the stars; each piece as its literals between the question marks.
    """

    pieces: tuple[tuple[str, ...], ...]

    @staticmethod
    def of(pattern: Sequence[Token]) -> Glob:
        """Return the glob of tokens that hold no variable."""
        pieces: list[list[str]] = [[""]]
        for token in pattern:
            if isinstance(token, Star):
                if len(pieces) == 1 or pieces[-1] != [""]:
                    pieces.append([""])
            elif isinstance(token, One):
                pieces[-1].append("")
            else:
                assert isinstance(token, str)
                pieces[-1][-1] += token
        return Glob(tuple(tuple(piece) for piece in pieces))

    def matches(self, text: str) -> bool:
        """Say whether the whole of `text` matches."""
        pieces = self.pieces
        first = pieces[0]
        size = _length(first)
        if len(pieces) == 1:
            return size == len(text) and _is_at(first, text, 0)
        last = pieces[-1]
        end = len(text) - _length(last)
        if end < size or not _is_at(first, text, 0) or not _is_at(last, text, end):
            return False
        position = size
        for piece in pieces[1:-1]:  # leftmost is right for every piece: what is left for the rest is then longest
            position = _find(piece, text, position, end)
            if position < 0:
                return False
            position += _length(piece)
        return True


def _length(piece: tuple[str, ...]) -> int:
    return sum(map(len, piece)) + len(piece) - 1


def _is_at(piece: tuple[str, ...], text: str, position: int) -> bool:
    for literal in piece:
        if not text.startswith(literal, position):
            return False
        position += len(literal) + 1
    return True


def _find(piece: tuple[str, ...], text: str, position: int, end: int) -> int:
    """Return where `piece` first stands wholly between `position` and `end`, or -1."""
    if len(piece) == 1:
        return text.find(piece[0], position, end)
    last = end - _length(piece)
    while position <= last:
        position = text.find(piece[0], position, last + len(piece[0]))
        if position < 0:
            return -1
        if _is_at(piece, text, position):
            return position
        position += 1
    return -1
