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
    """Declare the member that names a key in any of the four forms; `doc` says what the key is for."""
    return member(doc, required=required, minimum=1, maximum=2048, placeholder="KEY")


def blob(doc: str, *, required: bool = True) -> Any:
    """Declare a blob of the API's usual length: a ciphertext, a signature, an import token."""
    return member(doc, required=required, minimum=1, maximum=6144, placeholder="BLOB")


def context(doc: str) -> Any:
    """Declare an encryption context, absent and empty being the same."""
    return member(
        doc
        + ": pairs that must be given again, exactly, to open the ciphertext; not secret; 8192 bytes in canonical form at most",
        default=NO_CONTEXT,
        placeholder="KEY=VALUE[,KEY=VALUE…]",
    )


def algorithm(doc: str) -> Any:
    """Declare an encryption algorithm."""
    return member(doc + " (default SYMMETRIC_DEFAULT)", choices=tuple(EncryptionAlgorithm))


def grant_tokens() -> Any:
    """Declare the grant tokens of a request."""
    return member(
        "grant tokens, 10 at most, each 1 to 8192 characters",
        default=(),
        maximum=10,
        each=Constraint(minimum=1, maximum=8192),
        placeholder="TOKEN",
    )


def dry_run() -> Any:
    """Declare DryRun."""
    return member("check permissions and parameters without doing it; the answer is always an error")


def dry_run_modifiers() -> Any:
    """Declare what a dry run leaves out."""
    return member(
        "with DryRun: IGNORE_CIPHERTEXT checks the permissions alone and takes no ciphertext",
        default=(),
        each=Constraint(choices=tuple(DryRunModifier)),
    )


def number_of_bytes(doc: str) -> Any:
    """Declare how many random bytes are wanted; `doc` says of what."""
    return member(doc, minimum=1, maximum=1024, placeholder="N")


def limit() -> Any:
    """Declare how long a page is."""
    return member("most items to return, 1 to 1000", minimum=1, maximum=1000, placeholder="N")


def marker() -> Any:
    """Declare where a list goes on."""
    return member(
        "NextMarker of the page before",
        minimum=1,
        maximum=1024,
        pattern=r"[\u0020-\u00FF]*",
        placeholder="MARKER",
    )


def alias_name() -> Any:
    """Declare an alias with its prefix."""
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
    """Declare a policy document."""
    return member(
        doc + ": an AWS policy document in JSON, 32768 bytes at most",
        required=required,
        minimum=1,
        maximum=32768,
        pattern=r"[\u0009\u000A\u000D\u0020-\u00FF]+",
        placeholder="JSON",
    )


def policy_name() -> Any:
    """Declare a policy's name."""
    return member(
        "name of the policy: default, the only one", minimum=1, maximum=128, pattern=POLICY_NAME, placeholder="NAME"
    )


def bypass() -> Any:
    """Declare the switch that skips the lock-out check."""
    return member("skip the check that the caller can still change the policy afterwards; dangerous")


def key_only(*, required: bool = True) -> Any:
    """Declare the member that names a key by id or ARN, where AWS takes no alias."""
    return key_id("the key: a key ID or key ARN", required=required)


def principal(doc: str, *, required: bool = False) -> Any:
    """Declare the ARN of a principal; `doc` says whose."""
    return member(doc, required=required, minimum=1, maximum=256, pattern=PRINCIPAL, placeholder="ARN")


def grant_id(doc: str, *, required: bool = False) -> Any:
    """Declare a grant's id."""
    return member(doc, required=required, minimum=1, maximum=128, placeholder="GRANT")


def time(doc: str) -> Any:
    """Declare a time."""
    return member(doc, placeholder="TIME")
