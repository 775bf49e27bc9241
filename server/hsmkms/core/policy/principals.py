"""Principals: who calls, and whom a statement's Principal or NotPrincipal means.

An entry names an account (twelve digits, or its root ARN), or one user, role, role session or federated user by its ARN; `*` is
everyone. A role's entry means every session of the role. Service, Federated and CanonicalUser principals are valid, and nobody who
calls this service is one. Source: "AWS JSON policy elements: Principal" and "… NotPrincipal" in AWS's IAM user guide.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_REMEMBERED_CALLERS: Final = 4096
_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
_ENTRY: Final = re.compile(
    r"arn:[a-z][a-z0-9-]{0,30}:"
    r"(?:iam::([0-9]{12}):(?:root|(?:user|role)/[!-)+->@-~]{1,600})"
    r"|sts::([0-9]{12}):(?:assumed-role/[\w+=,.@-]{1,128}/[\w+=,.@-]{1,128}|federated-user/[\w+=,.@-]{1,128}))",
    re.ASCII,
)


class Match(IntEnum):
    """How a statement's principals mean a caller."""

    NO = 0
    ACCOUNT = 1
    """The caller's account is meant: an Allow hands the decision to the account's identity policies."""
    CALLER = 2
    """The caller is meant."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal's ARN taken apart.

    Args:
        arn: The ARN.
        account: The account that the principal belongs to.
        role: For a role session the role's ARN, without the path, which a session's ARN does not have; else empty.
        is_root: Whether it is the root of its account.
    """

    arn: str
    account: str
    role: str
    is_root: bool

    @staticmethod
    @functools.lru_cache(_REMEMBERED_CALLERS)
    def of(arn: str, account: str) -> Caller:
        """Return the caller of that ARN and account."""
        return Caller(arn, account, session_role(arn), _resource(arn) == "root")


def _resource(arn: str) -> str:
    """Return an ARN's last field: a path may hold colons."""
    return arn.split(":", 5)[-1]


def session_role(arn: str) -> str:
    """Return the ARN of the role whose session an ARN names, without the role's path, or nothing for any other ARN."""
    fields = arn.split(":", 5)
    if len(fields) == 6 and fields[2] == "sts" and fields[5].startswith("assumed-role/"):
        return f"arn:{fields[1]}:iam::{fields[4]}:role/{fields[5].split('/')[1]}"
    return ""


def _without_path(arn: str) -> str:
    head, _, path = arn.partition(":role/")
    return f"{head}:role/{path.rpartition('/')[2]}"


@dataclass(frozen=True, slots=True)
class Principals:
    """A compiled Principal or NotPrincipal element.

    Args:
        negated: Whether it is a NotPrincipal.
        everyone: Whether it names `*`.
        accounts: The accounts it names.
        arns: The principals it names by ARN.
        roles: The roles among them, without their paths.
    """

    negated: bool
    everyone: bool
    accounts: frozenset[str]
    arns: frozenset[str]
    roles: frozenset[str]

    @staticmethod
    def of(entries: list[str], *, negated: bool) -> Principals:
        """Return the principals that entries name; each is `*` or a `valid_entry`."""
        accounts = {entry for entry in entries if _ACCOUNT.fullmatch(entry)}
        accounts |= {entry.split(":")[4] for entry in entries if _resource(entry) == "root"}
        arns = {entry for entry in entries if entry.startswith("arn:") and _resource(entry) != "root"}
        roles = {_without_path(entry) for entry in arns if _resource(entry).startswith("role/")}
        return Principals(negated, "*" in entries, frozenset(accounts), frozenset(arns), frozenset(roles))

    def match(self, caller: Caller) -> Match:
        """Say how these principals mean a caller.

        A NotPrincipal exempts whom it names: an account's entry alone exempts the account's root and nobody else in it.
        """
        named = self.everyone or caller.arn in self.arns or (caller.role != "" and caller.role in self.roles)
        if not named and caller.account in self.accounts:
            if caller.is_root:
                named = True
            elif not self.negated:
                return Match.ACCOUNT
        return Match.CALLER if named is not self.negated else Match.NO


def valid_entry(entry: str) -> bool:
    """Say whether a text names an account or a principal as an entry of `AWS` may."""
    return (_ACCOUNT.fullmatch(entry) or _ENTRY.fullmatch(entry)) is not None
