"""What was judged, kept: most requests of a caller differ in their ciphertext, plaintext or encryption context only.

A judgement says that a request of this shape is allowed, and with which backing keys it is carried out. It is kept only where nothing
but the catalog can change it (`judge.keep` says when), and counts only while the view of the catalog is at the revision that it was
made at: after any change of a key, an alias or a grant that this front knows of, everything is judged anew. So a kept judgement is
never older than what a new one would be made of.

A refusal is never kept. Whether the view is fresh, whether the ciphertext is well-formed, and what goes into the trail, the audit log
and the uses, is for each request to see to. Bounded: `MAX_KEPT`, of which the oldest gives way; no caller's context is in it. Belongs to
one event loop, and to environments that have the same partition, view, authorizer and token's features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from hsmkms.core.commands import KeyRef
from hsmkms.core.model import BackingKey, KmsKey
from hsmkms.core.ports import Call

MAX_KEPT: Final = 4096
"""Judgements that are kept, some 2 KiB each at the most."""

Asked: TypeAlias = tuple[str | bytes | None, ...]
"""What a judgement is about: `asked` makes it."""


@dataclass(frozen=True, slots=True)
class Usable:
    """A symmetric key that the caller may use, at one end of a request.

    Args:
        key: The KMS key.
        arn: Its ARN.
        backing_key: The backing key to open or seal with.
        reference: How a command names the backing key.
    """

    key: KmsKey
    arn: str
    backing_key: BackingKey
    reference: KeyRef


class Request(Protocol):
    """What every request has that may be judged by what was kept."""

    @property
    def dry_run(self) -> bool | None:
        """DryRun."""

    @property
    def grant_tokens(self) -> tuple[str, ...]:
        """GrantTokens."""


def asked(call: Call, request: Request, action: str, *members: str | bytes | None) -> Asked | None:
    """Return what a judgement is about, or None for a request that is always judged anew: a dry run, or one with grant tokens.

    Args:
        call: Who asks, and where bare names are looked up.
        request: The request.
        action: The action asked for, or the first of two; it says which operation it is, too.
        members: What else the judgement depends on: the members of the request that name keys and algorithms, and of the ciphertext
            what names its backing key. Always the same ones for one action.
    """
    if request.dry_run or request.grant_tokens:
        return None
    principal, scope = call.principal, call.scope
    return (action, principal.arn, principal.account, scope.account, scope.region, *members)


class Judgements:
    """The judgements that are kept.

    Args:
        most: How many, at the most.
    """

    __slots__ = ("_kept", "_most", "_revision")

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self._revision = -1
        self._kept: dict[Asked, tuple[Usable, ...]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def known(self, revision: int, about: Asked) -> tuple[Usable, ...] | None:
        """Return the ends that were judged usable for such a request, or None where it is to be judged.

        Args:
            revision: The view's.
            about: Made by `asked`.
        """
        if revision != self._revision:
            self._begin(revision)
            return None
        return self._kept.get(about)

    def keep(self, revision: int, about: Asked, ends: tuple[Usable, ...]) -> None:
        """Keep a judgement.

        Args:
            revision: The view's when it was made.
            about: Made by `asked`.
            ends: The ends that are usable.
        """
        if revision != self._revision:
            self._begin(revision)
        if len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[about] = ends

    def _begin(self, revision: int) -> None:
        self._kept.clear()
        self._revision = revision
