"""The grant operations on a catalog: what they ask the authoriser, who may retire, and tokens on a front that is behind."""

import dataclasses
from types import SimpleNamespace

import pytest

from catalog.helpers import OTHER_SCOPE, SCOPE, Clocks, finished_key, running
from hsmkms.core import messages
from hsmkms.core.errors import AccessDeniedException, DryRunOperationException, InvalidGrantTokenException
from hsmkms.core.grant_tokens import GrantTokens
from hsmkms.core.grants import grant_allowing
from hsmkms.core.model import GrantOperation, Principal
from hsmkms.core.operations import grants, perform
from hsmkms.core.ports import Call

OWNER = Principal("owner", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/owner")
SERVICE = Principal("service", OTHER_SCOPE.account, f"arn:aws:sts::{OTHER_SCOPE.account}:assumed-role/service/1")
SERVICE_ROLE = f"arn:aws:iam::{OTHER_SCOPE.account}:role/service"
STRANGER = Principal("stranger", OTHER_SCOPE.account, f"arn:aws:iam::{OTHER_SCOPE.account}:user/stranger")


class Authorizer:
    """Allows everything, or nothing, and keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.answer = True

    def allows(self, request):
        self.asked.append(request)
        return self.answer


class Entropy:
    number = 0

    def salt(self):
        Entropy.number += 1
        return Entropy.number.to_bytes(16, "big")


def front(catalog, clock, authorizer=None):
    return SimpleNamespace(
        partition="aws",
        view=catalog.view,
        changes=catalog.changes,
        authorizer=authorizer or Authorizer(),
        entropy=Entropy(),
        clock=clock,
        grant_tokens=GrantTokens(bytes(32), clock),
    )


def call(principal=OWNER, idempotency_key=None):
    return Call(principal, SCOPE, "request", idempotency_key=idempotency_key)


def create(key, **members):
    return messages.CreateGrantRequest(
        **{
            "key_id": key.key_id,
            "grantee_principal": SERVICE_ROLE,
            "operations": ("ReEncryptTo", "ReEncryptFrom"),
        }
        | members
    )


async def test_create_grant_is_authorised_with_all_that_policies_can_ask(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        here = front(catalog, Clocks())
        constraints = messages.GrantConstraintsMember(encryption_context_subset={"tenant": "a"})
        request = create(key, retiring_principal=OWNER.arn, constraints=constraints, grant_tokens=("t",), dry_run=True)
        with pytest.raises(DryRunOperationException):
            await grants.create_grant(here, call(), request)
        (asked,) = here.authorizer.asked
        assert (asked.action, asked.key.key_id, asked.grant_tokens) == ("kms:CreateGrant", key.key_id, ("t",))
        assert dict(asked.encryption_context) == {"tenant": "a"}
        assert asked.conditions == {
            "kms:GrantIsForAWSResource": "false",
            "kms:GrantOperations": ("ReEncryptFrom", "ReEncryptTo"),
            "kms:GranteePrincipal": SERVICE_ROLE,
            "kms:RetiringPrincipal": OWNER.arn,
            "kms:GrantConstraintType": "EncryptionContextSubset",
        }
        assert asked.grant.operations == (GrantOperation.RE_ENCRYPT_FROM, GrantOperation.RE_ENCRYPT_TO)
        assert asked.grant.context_subset == {"tenant": "a"}
        here.authorizer.answer = False
        with pytest.raises(AccessDeniedException):
            await grants.create_grant(here, call(), create(key))


async def test_who_the_grant_does_not_let_retire_it_cannot_whatever_policies_say(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        here = front(catalog, Clocks())
        made = await grants.create_grant(here, call(), create(key))
        here.authorizer.asked.clear()
        by_token = messages.RetireGrantRequest(grant_token=made.grant_token)
        for principal in (SERVICE, STRANGER):
            with pytest.raises(AccessDeniedException):
                await grants.retire_grant(here, call(principal), by_token)
        assert here.authorizer.asked == []
        retirable = await grants.create_grant(here, call(), create(key, retiring_principal=SERVICE_ROLE))
        here.authorizer.answer = False
        with pytest.raises(AccessDeniedException):  # an explicit deny goes before the grant
            await grants.retire_grant(
                here, call(SERVICE), messages.RetireGrantRequest(grant_token=retirable.grant_token)
            )
        assert here.authorizer.asked[-1].grant.grant_id == retirable.grant_id
        here.authorizer.answer = True
        await grants.retire_grant(here, call(SERVICE), messages.RetireGrantRequest(grant_token=retirable.grant_token))
        assert [grant.grant_id for grant in catalog.view.grants_after(key.key_id, "", 9)] == [made.grant_id]


async def test_a_token_is_good_at_once_on_a_front_that_is_behind_and_not_once_it_knows_that_the_grant_ended(path):
    clocks = Clocks()
    async with running(path, clocks) as catalog:
        key = await finished_key(catalog)
        async with running(path, clocks) as behind:
            here, there = front(catalog, clocks), front(behind, clocks)
            made = await grants.create_grant(here, call(), create(key))
            assert not behind.view.grants_to(key.key_id, SERVICE_ROLE)

            def allowed():
                tokens = there.grant_tokens.read_all(behind.view, [made.grant_token])
                return grant_allowing(behind.view, key, SERVICE.arn, "kms:ReEncryptFrom", {}, tokens)

            assert allowed().grant_id == made.grant_id
            await grants.revoke_grant(here, call(), messages.RevokeGrantRequest(key.key_id, made.grant_id))
            await behind.purge()  # any change brings the view up to date
            with pytest.raises(InvalidGrantTokenException):
                allowed()


async def test_a_front_that_is_behind_retires_by_token(path):
    clocks = Clocks()
    async with running(path, clocks) as catalog:
        key = await finished_key(catalog)
        async with running(path, clocks) as behind:
            made = await grants.create_grant(
                front(catalog, clocks), call(), create(key, retiring_principal=SERVICE.arn)
            )
            request = messages.RetireGrantRequest(grant_token=made.grant_token)
            for _ in range(2):
                await perform(front(behind, clocks), call(SERVICE, "once"), "RetireGrant", request)
            with pytest.raises(InvalidGrantTokenException):
                await grants.retire_grant(front(behind, clocks), call(SERVICE, "again"), request)
            assert behind.view.grant_has_ended(made.grant_id)


async def test_the_token_of_an_answer_under_an_idempotency_key_is_of_the_grant_that_there_is(path):
    async with running(path) as catalog:
        key = await finished_key(catalog)
        here = front(catalog, Clocks())
        first = await grants.create_grant(here, call(idempotency_key="k"), create(key, name="n"))
        here.clock.pass_seconds(1)
        assert await grants.create_grant(here, call(idempotency_key="k"), create(key, name="n")) == first
        other = await grants.create_grant(here, call(), create(key, name="n"))
        assert (other.grant_id, other.grant_token != first.grant_token) == (first.grant_id, True)
        meant = here.grant_tokens.grant_of(other.grant_token)
        assert meant == dataclasses.replace(here.grant_tokens.grant_of(first.grant_token))
