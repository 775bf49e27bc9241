"""Encryption contexts from the columns of a row.

A template is a JSON object of texts. `{name}` in a value stands for the column of that name; `{{` and `}}` stand for braces. There is
nothing else: no attributes, no indexes, no formats. What a column holds is put in once and never read as a template. Keys of the
context are taken as they are.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

_PIECE: Final = re.compile(r"\{\{|\}\}|\{(?P<column>[^{}]+)\}|[^{}]+")
_AS_TEXT: Final = (str, int, decimal.Decimal, uuid.UUID)


class TemplateProblem(Exception):
    """A template cannot be read, or a row has no value for it. The text says which column, never what it holds."""


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    is_column: bool


@dataclass(frozen=True, slots=True)
class ContextTemplate:
    """A template.

    Args:
        pairs: The pieces of each value, by the context's key.
    """

    pairs: Mapping[str, tuple[_Piece, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names, each once."""
        return tuple(dict.fromkeys(piece.text for pieces in self.pairs.values() for piece in pieces if piece.is_column))

    def context_of(self, columns: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the context of a row.

        Args:
            columns: The row's columns by name.

        Raises:
            TemplateProblem: a column is missing, NULL or of a type that has no one spelling.
        """
        return MappingProxyType(
            {
                key: "".join(_spelled(piece.text, columns) if piece.is_column else piece.text for piece in pieces)
                for key, pieces in self.pairs.items()
            }
        )


NO_CONTEXT_TEMPLATE: Final = ContextTemplate(MappingProxyType({}))


def read_template(text: str) -> ContextTemplate:
    """Return the template that a text is.

    Args:
        text: A JSON object whose values are texts.

    Raises:
        TemplateProblem: it is not that, or has a brace that opens or closes nothing.
    """
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise TemplateProblem(f"is not JSON: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
        raise TemplateProblem("is not a JSON object whose values are texts")
    return ContextTemplate(MappingProxyType({key: _pieces(key, value) for key, value in document.items()}))


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("it has a key twice")
    return dict(pairs)


def _pieces(key: str, value: str) -> tuple[_Piece, ...]:
    pieces = []
    position = 0
    while position < len(value):
        match = _PIECE.match(value, position)
        if match is None:
            raise TemplateProblem(
                f"has a single brace in the value of '{key}': write {{COLUMN}} for a column, {{{{ or }}}} for a brace"
            )
        column = match["column"]
        text = match[0]
        pieces.append(
            _Piece(column, True) if column is not None else _Piece({"{{": "{", "}}": "}"}.get(text, text), False)
        )
        position = match.end()
    return tuple(pieces)


def _spelled(column: str, columns: Mapping[str, Any]) -> str:
    if column not in columns:
        raise TemplateProblem(f"there is no '{column}' for the encryption context")
    value = columns[column]
    if value is None:
        raise TemplateProblem(f"'{column}' is empty (NULL), and the encryption context needs it")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, _AS_TEXT):
        text = str(value)
        if text.isascii() or text.encode("utf-8", "ignore").decode() == text:
            return text
        raise TemplateProblem(f"'{column}' is not UTF-8")
    raise TemplateProblem(
        f"'{column}' is a {type(value).__name__}, which has no one spelling for an encryption context"
    )
