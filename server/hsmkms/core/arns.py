"""Amazon Resource Names of keys and aliases: computed from account, Region and name, never stored."""

from __future__ import annotations

from typing import Final

from hsmkms.core.model import Arn, Scope

_FIELDS: Final = 6
_ACCOUNT_DIGITS: Final = 12


def key_arn(partition: str, scope: Scope, key_id: str) -> str:
    """Return a KMS key's ARN.

    Args:
        partition: For example `aws`.
        scope: The key's account and Region.
        key_id: The key's id.
    """
    return str(Arn(partition, scope.region, scope.account, f"key/{key_id}"))


def alias_arn(partition: str, scope: Scope, name: str) -> str:
    """Return an alias's ARN.

    Args:
        partition: For example `aws`.
        scope: The alias's account and Region.
        name: The alias's name, with its `alias/`.
    """
    return str(Arn(partition, scope.region, scope.account, name))


def root_arn(partition: str, account: str) -> str:
    """Return the ARN that stands for a whole account: `arn:PARTITION:iam::ACCOUNT:root`."""
    return f"arn:{partition}:iam::{account}:root"


def parse_arn(text: str) -> Arn | None:
    """Return the ARN that `text` is, or None when it is no ARN of the KMS service.

    The account must be twelve digits, and partition, Region and resource must not be empty; what kind of resource it names is for
    the caller to judge. An alias's name may hold colons. Whatever this accepts, `str` returns unchanged.
    """
    fields = text.split(":", _FIELDS - 1)
    if len(fields) != _FIELDS:
        return None
    prefix, partition, service, region, account, resource = fields
    if prefix != "arn" or service != "kms" or not (partition and region and resource):
        return None
    if len(account) != _ACCOUNT_DIGITS or not (account.isascii() and account.isdigit()):
        return None
    return Arn(partition, region, account, resource)
