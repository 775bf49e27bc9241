"""Members that several requests have, declared once: their limits are those of the AWS KMS model 2014-11-01."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from hsmkms.core.members import Constraint, member
from hsmkms.core.model import DryRunModifier, EncryptionAlgorithm

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})

KEY_FORMS = "a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters)"


def key_id(doc: str, *, required: bool = True) -> Any:
    """Declare key id."""
    return member(doc, required=required, minimum=1, maximum=2048, placeholder="KEY")


def blob(doc: str, *, required: bool = True) -> Any:
    """Declare blob."""
    return member(doc, required=required, minimum=1, maximum=6144, placeholder="BLOB")


def context(doc: str) -> Any:
    """Declare context."""
    return member(
        doc
        + ": pairs that must be given again, exactly, to open the ciphertext; not secret; 8192 bytes in canonical form at most",
        default=NO_CONTEXT,
        placeholder="KEY=VALUE[,KEY=VALUE…]",
    )


def algorithm(doc: str) -> Any:
    """Declare algorithm."""
    return member(doc + " (default SYMMETRIC_DEFAULT)", choices=tuple(EncryptionAlgorithm))


def grant_tokens() -> Any:
    """Declare grant tokens."""
    return member(
        "grant tokens, 10 at most, each 1 to 8192 characters",
        default=(),
        maximum=10,
        each=Constraint(minimum=1, maximum=8192),
        placeholder="TOKEN",
    )


def dry_run() -> Any:
    """Declare dry run."""
    return member("check permissions and parameters without doing it; the answer is always an error")


def dry_run_modifiers() -> Any:
    """Declare dry run modifiers."""
    return member(
        "with DryRun: IGNORE_CIPHERTEXT checks the permissions alone and takes no ciphertext",
        default=(),
        each=Constraint(choices=tuple(DryRunModifier)),
    )


def number_of_bytes(doc: str) -> Any:
    """Declare number of bytes."""
    return member(doc, minimum=1, maximum=1024, placeholder="N")


def limit() -> Any:
    """Declare limit."""
    return member("most items to return, 1 to 1000", minimum=1, maximum=1000, placeholder="N")


def marker() -> Any:
    """Declare marker."""
    return member(
        "NextMarker of the page before",
        minimum=1,
        maximum=1024,
        pattern=r"[\u0020-\u00FF]*",
        placeholder="MARKER",
    )


def alias_name() -> Any:
    """Declare alias name."""
    return member(
        "the alias with its prefix, for example alias/payments (7 to 256 characters)",
        required=True,
        minimum=1,
        maximum=256,
        pattern=r"^[a-zA-Z0-9:/_-]+$",
        placeholder="alias/NAME",
    )


POLICY_NAME = r"[\w]+"
PRINCIPAL = r"^[\w+=,.@:/-]+$"


def policy(doc: str, *, required: bool = True) -> Any:
    """Declare policy."""
    return member(
        doc + ": an AWS policy document in JSON, 32768 bytes at most",
        required=required,
        minimum=1,
        maximum=32768,
        pattern=r"[\u0009\u000A\u000D\u0020-\u00FF]+",
        placeholder="JSON",
    )


def policy_name() -> Any:
    """Declare policy name."""
    return member(
        "name of the policy: default, the only one", minimum=1, maximum=128, pattern=POLICY_NAME, placeholder="NAME"
    )


def bypass() -> Any:
    """Declare bypass."""
    return member("skip the check that the caller can still change the policy afterwards; dangerous")


def key_only(*, required: bool = True) -> Any:
    """Declare key only."""
    return key_id("the key: a key ID or key ARN", required=required)


def principal(doc: str, *, required: bool = False) -> Any:
    """Declare principal."""
    return member(doc, required=required, minimum=1, maximum=256, pattern=PRINCIPAL, placeholder="ARN")


def grant_id(doc: str, *, required: bool = False) -> Any:
    """Declare grant id."""
    return member(doc, required=required, minimum=1, maximum=128, placeholder="GRANT")


def time(doc: str) -> Any:
    """Declare a time."""
    return member(doc, placeholder="TIME")
