"""The encryption context in canonical form.

The form is `u32 count`, then for each pair, in the byte order of its key's UTF-8, `u32 length, key, u32 length, value`. Nothing is
normalised: two contexts are equal when their strings are equal, code point for code point. An absent context is an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hsmkms.core.errors import ValidationException

MAX_CONTEXT_BYTES: Final = 8192
"""Longest canonical form. The AWS model states no limit; this one is ours."""

_EMPTY: Final = (0).to_bytes(4, "big")


def canonical(context: Mapping[str, str], member: str = "encryptionContext") -> bytes:
    """Return the canonical form of an encryption context.

    Args:
        context: The pairs as received.
        member: The request member that held it, for the error's text.

    Raises:
        ValidationException: the form is longer than `MAX_CONTEXT_BYTES`, or a string is no valid Unicode.
    """
    if not context:
        return _EMPTY
    try:
        pairs = sorted((key.encode("utf-8"), value.encode("utf-8")) for key, value in context.items())
    except UnicodeEncodeError:
        raise ValidationException(
            f"1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must be valid Unicode"
        ) from None
    parts = [len(pairs).to_bytes(4, "big")]
    for pair in pairs:
        for text in pair:
            parts += (len(text).to_bytes(4, "big"), text)
    form = b"".join(parts)
    if len(form) > MAX_CONTEXT_BYTES:
        raise ValidationException(
            f"1 validation error detected: Value at '{member}' failed to satisfy constraint: "
            f"Member must have a canonical form of at most {MAX_CONTEXT_BYTES} bytes; it has {len(form)}"
        )
    return form


def from_canonical(form: bytes) -> dict[str, str]:
    """Return the encryption context of a canonical form.

    Raises:
        ValueError: it is no canonical form.
    """
    texts: list[str] = []
    position = 4
    while position < len(form):
        end = position + 4 + int.from_bytes(form[position : position + 4], "big")
        texts.append(form[position + 4 : end].decode())
        position = end
    context = dict(zip(texts[::2], texts[1::2], strict=True))
    if canonical(context) != form:
        raise ValueError("it is no canonical form of an encryption context")
    return context
