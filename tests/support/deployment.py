"""A deployment on the simulators with three keys and their aliases, and what its refusals look like: for tests of the operations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hsmkms.core.arns import key_arn
from hsmkms.core.errors import KmsError
from hsmkms.core.messages import OPERATIONS
from hsmkms.core.model import Principal
from hsmkms.core.operations import perform
from hsmkms.core.request_members import NO_CONTEXT
from support.simulated_catalog import PARTITION
from support.simulator import ALICE, OTHER_SCOPE, SCOPE, World, call_of

CONTEXT = {"tenant": "a", "purpose": "b"}
NOBODY = "00000000-0000-4000-8000-000000000000"
DRY_RUN = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
INCORRECT_KEY = (
    "IncorrectKeyException",
    "The key ID in the request does not identify a CMK that can perform this operation.",
)
BAD_CIPHERTEXT = ("InvalidCiphertextException", "")
UNKNOWN_TO_YOU = (
    "AccessDeniedException",
    (
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
        "or you are not allowed to access."
    ),
)


BOB = Principal("bob", OTHER_SCOPE.account, f"arn:aws:iam::{OTHER_SCOPE.account}:user/bob")
OPEN_POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]}'
"""A key policy that lets everybody of the key's account do everything."""


def arn_of(key_id, scope=SCOPE):
    return key_arn(PARTITION, scope, key_id)


class Deployment(World):
    """A world with the keys a, b and c and an alias for each."""

    async def do(self, operation, call=None, **request):
        return await perform(self.environment, call or call_of(), operation, OPERATIONS[operation].request(**request))

    async def refusal(self, operation, call=None, **request):
        """Name and text of the error that a request ends with."""
        with pytest.raises(KmsError) as refused:
            await self.do(operation, call, **request)
        return refused.value.code, refused.value.message

    async def prepare(self):
        self.a, self.b, self.c = [await self.new_key() for _ in range(3)]
        for name in "abc":
            await self.do("CreateAlias", alias_name=f"alias/{name}", target_key_id=getattr(self, name))
        self.blob = await self.sealed(b"an envelope", "alias/a")
        self.direct = await self.sealed(b"0123456789abcdef", "alias/a")
        self.forget()
        return self

    async def new_key(self, **request):
        return (await self.do("CreateKey", **request)).key_metadata.key_id

    async def sealed(self, plaintext, key_id, context=NO_CONTEXT):
        return (
            await self.do("Encrypt", key_id=key_id, plaintext=plaintext, encryption_context=context)
        ).ciphertext_blob

    async def opened(self, blob, context=NO_CONTEXT):
        return (await self.do("Decrypt", ciphertext_blob=blob, encryption_context=context)).plaintext

    async def re_encrypt(self, **request):
        return await self.do("ReEncrypt", **{"ciphertext_blob": self.blob, "destination_key_id": "alias/b"} | request)

    async def no_re_encrypt(self, **request):
        request = {"ciphertext_blob": self.blob, "destination_key_id": "alias/b"} | request
        return await self.refusal("ReEncrypt", **request)

    def material(self, key_id, version=1):
        return self.catalog.keys[key_id].backing_keys[version].material_id

    def forget(self):
        self.token.asked.clear()
        self.authorizer.asked.clear()
        self.catalog.changed.clear()

    async def granted(self, key_id, call=None, **request):
        """A new grant on a key."""
        request = {"grantee_principal": BOB.arn, "operations": ("Decrypt",)} | request
        return await self.do("CreateGrant", call, key_id=key_id, **request)

    def abroad(self, key_id):
        """Move a key, its aliases and its grants to another account."""
        self.change(key_id, scope=OTHER_SCOPE)
        for alias in self.catalog.aliases_after(SCOPE, "", 50, key_id):
            del self.catalog.aliases[SCOPE, alias.name]
            self.catalog.aliases[OTHER_SCOPE, alias.name] = replace(alias, scope=OTHER_SCOPE)
        for grant in self.catalog.grants_after(key_id, "", 50):
            self.catalog.grants[grant.grant_id] = replace(grant, scope=OTHER_SCOPE)


def not_authorised(action, resource):
    return "AccessDeniedException", f"User: {ALICE.arn} is not authorized to perform: {action} on resource: {resource}"


def null(member):
    return (
        "ValidationException",
        f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null",
    )
