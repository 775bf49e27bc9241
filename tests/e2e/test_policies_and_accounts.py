"""Who may do what: two accounts, key policies, identity policies and grants, against the whole service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hsmkms.client import Client, errors
from hsmkms.client.contract import GrantConstraintsMember
from support.service import ACCOUNT, OTHER_ACCOUNT, REGION, Person, Service, make_deployment, running

NOBODY = "11111111-2222-4333-8444-555555555555"


def allow(*actions: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": resource,
        **({"Condition": condition} if condition else {}),
    }


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def key_policy(account: str, *statements: dict[str, Any]) -> str:
    """Return a key policy that leaves everything to the account's root, and says more."""
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    return json.dumps(policy({**allow("kms:*"), "Principal": root}, *statements))


def to(principal: Person, statement: dict[str, Any]) -> dict[str, Any]:
    return {**statement, "Principal": {"AWS": principal.arn}}


ALICE = Person("alice")
"""Administrator of the first account."""
BOB = Person("bob", OTHER_ACCOUNT)
"""Administrator of the second account."""
CAROL = Person("carol", policy=policy(allow("kms:Encrypt", "kms:DescribeKey")), tags={"team": "blue"})
"""In the first account; may encrypt."""
DAVE = Person("dave", policy=None)
"""In the first account; no identity policy at all."""
ERIN = Person("erin", OTHER_ACCOUNT, policy=policy(allow("kms:ReEncrypt*", "kms:Decrypt")))
"""In the second account; may re-encrypt and decrypt what keys let her."""
FRANK = Person("frank", OTHER_ACCOUNT, policy=None)
"""In the second account; no identity policy at all."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    deployment = make_deployment(
        tmp_path_factory.mktemp("accounts"),
        people=(ALICE, BOB, CAROL, DAVE, ERIN, FRANK),
        limits={"reconcile_every_s": 3600},
    )
    with running(deployment) as service:
        yield service


@pytest.fixture(scope="module")
def alice(service: Service) -> Client:
    return service.client("alice")


@pytest.fixture(scope="module")
def bob(service: Service) -> Client:
    return service.client("bob")


def new_key(client: Client, policy: str | None = None) -> str:
    """Return the ARN of a new key."""
    return client.create_key(policy=policy).key_metadata.arn


def denied(call: Callable[[], object]) -> str:
    with pytest.raises(errors.AccessDeniedException) as refused:
        call()
    return refused.value.message


def test_a_principal_that_is_not_in_the_table_gets_nothing(service: Service) -> None:
    text = denied(lambda: service.client("mallory").list_keys())
    assert text == "The client certificate's name is not in the service's table of principals."


def test_without_a_table_nobody_gets_in_and_the_log_says_so(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    deployment.config_file.write_text(deployment.config_file.read_text().partition("[[principals]]")[0])
    with running(deployment) as service:
        warned = service.logged("the configuration has no [[principals]]: every client is refused")
        assert warned is not None
        assert warned["level"] == "warning"
        denied(service.client().list_keys)


def test_accounts_do_not_see_each_other(alice: Client, bob: Client) -> None:
    hers, his = new_key(alice), new_key(bob)
    assert hers.split(":")[4] == ACCOUNT
    assert his.split(":")[4] == OTHER_ACCOUNT
    assert {key.key_arn for key in alice.iterate_keys()}.isdisjoint(key.key_arn for key in bob.iterate_keys())
    with pytest.raises(errors.NotFoundException):
        alice.describe_key(key_id=his.rpartition("/")[2])
    alice.create_alias(alias_name="alias/same-name", target_key_id=hers)
    bob.create_alias(alias_name="alias/same-name", target_key_id=his)
    assert alice.describe_key(key_id="alias/same-name").key_metadata.arn == hers
    assert bob.describe_key(key_id="alias/same-name").key_metadata.arn == his


def test_the_default_key_policy_leaves_the_decision_to_identity_policies(service: Service, alice: Client) -> None:
    key = new_key(alice)
    carol, dave = service.client("carol"), service.client("dave")
    sealed = carol.encrypt(key_id=key, plaintext=b"x").ciphertext_blob
    assert denied(lambda: carol.decrypt(ciphertext_blob=sealed)).startswith(
        "The ciphertext refers to a customer master key"
    )
    assert denied(lambda: carol.decrypt(ciphertext_blob=sealed, key_id=key)) == (
        f"User: {CAROL.arn} is not authorized to perform: kms:Decrypt on resource: {key}"
    )
    for call in (
        lambda: dave.encrypt(key_id=key, plaintext=b"x"),
        lambda: dave.describe_key(key_id=key),
        dave.create_key,
        dave.list_keys,
        lambda: dave.generate_random(number_of_bytes=1),
    ):
        assert "is not authorized to perform" in denied(call)


def test_a_key_policy_alone_can_allow_and_a_deny_beats_everything(service: Service, alice: Client) -> None:
    dave = service.client("dave")
    key = new_key(alice, key_policy(ACCOUNT, to(DAVE, allow("kms:Encrypt", "kms:Decrypt"))))
    sealed = dave.encrypt(key_id=key, plaintext=b"by key policy").ciphertext_blob
    assert dave.decrypt(ciphertext_blob=sealed).plaintext == b"by key policy"

    grant = alice.create_grant(key_id=key, grantee_principal=DAVE.arn, operations=("DescribeKey",))
    assert dave.describe_key(key_id=key, grant_tokens=(grant.grant_token,)).key_metadata.arn == key
    deny = {**to(DAVE, allow("kms:*")), "Effect": "Deny"}
    alice.put_key_policy(key_id=key, policy=key_policy(ACCOUNT, to(DAVE, allow("kms:*")), deny))
    denied(lambda: dave.decrypt(ciphertext_blob=sealed))
    denied(lambda: dave.describe_key(key_id=key, grant_tokens=(grant.grant_token,)))


def test_policies_are_read_and_replaced_and_lock_nobody_out_by_mistake(alice: Client) -> None:
    key = new_key(alice)
    document = json.loads(alice.get_key_policy(key_id=key).policy)
    assert document["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    assert alice.list_key_policies(key_id=key).policy_names == ("default",)
    new = key_policy(ACCOUNT, to(CAROL, allow("kms:Decrypt")))
    alice.put_key_policy(key_id=key, policy_name="default", policy=new)
    assert alice.get_key_policy(key_id=key).policy == new

    locked = json.dumps(policy(to(CAROL, allow("kms:*"))))
    with pytest.raises(errors.MalformedPolicyDocumentException) as refused:
        alice.put_key_policy(key_id=key, policy=locked)
    assert refused.value.message == "The new key policy will not allow you to update the key policy in the future."
    with pytest.raises(errors.MalformedPolicyDocumentException) as refused:
        alice.put_key_policy(key_id=key, policy='{"Version": "2012-10-17", "Statement": [{"Effect": "Maybe"}]}')
    assert "Statement[0]" in refused.value.message
    with pytest.raises(errors.NotFoundException):
        alice.get_key_policy(key_id=key, policy_name="other")

    alice.put_key_policy(key_id=key, policy=locked, bypass_policy_lockout_safety_check=True)
    denied(lambda: alice.get_key_policy(key_id=key))
    with pytest.raises(errors.MalformedPolicyDocumentException):
        alice.create_key(policy=locked)


class TestReEncryptBetweenTwoAccounts:
    """Source in the first account, destination in the second; Erin of the second account asks."""

    CONTEXT: ClassVar[dict[str, str]] = {"tenant": "blue"}

    @pytest.mark.parametrize("source_allows", [True, False], ids=["source allows", "source does not"])
    @pytest.mark.parametrize("destination_allows", [True, False], ids=["destination allows", "destination does not"])
    def test_needs_both_keys(
        self, service: Service, alice: Client, bob: Client, source_allows: bool, destination_allows: bool
    ) -> None:
        erin = service.client("erin")
        source = new_key(alice, key_policy(ACCOUNT, *([to(ERIN, allow("kms:ReEncryptFrom"))] if source_allows else [])))
        closed = json.dumps(policy(to(BOB, allow("kms:*"))))
        destination = new_key(bob, None if destination_allows else closed)
        sealed = alice.encrypt(key_id=source, plaintext=b"moved", encryption_context=self.CONTEXT).ciphertext_blob

        def move() -> Any:
            return erin.re_encrypt(
                ciphertext_blob=sealed,
                source_key_id=source,
                source_encryption_context=self.CONTEXT,
                destination_key_id=destination,
            )

        if source_allows and destination_allows:
            moved = move()
            assert (moved.source_key_id, moved.key_id) == (source, destination)
            assert bob.decrypt(ciphertext_blob=moved.ciphertext_blob).plaintext == b"moved"
        elif not source_allows:
            assert (
                denied(move)
                == f"User: {ERIN.arn} is not authorized to perform: kms:ReEncryptFrom on resource: {source}"
            )
        else:
            assert (
                denied(move)
                == f"User: {ERIN.arn} is not authorized to perform: kms:ReEncryptTo on resource: {destination}"
            )

    def test_needs_the_callers_own_account_too(self, service: Service, alice: Client) -> None:
        source = new_key(alice, key_policy(ACCOUNT, to(FRANK, allow("kms:*"))))
        sealed = alice.encrypt(key_id=source, plaintext=b"x").ciphertext_blob
        denied(lambda: service.client("frank").decrypt(ciphertext_blob=sealed, key_id=source))

    def test_by_grants_with_constraints_on_either_side(self, service: Service, alice: Client, bob: Client) -> None:
        erin = service.client("erin")
        source = new_key(alice)
        destination = new_key(bob, json.dumps(policy(to(BOB, allow("kms:*")))))
        out, into = (
            client.create_grant(
                key_id=key,
                grantee_principal=ERIN.arn,
                operations=(operation,),
                constraints=GrantConstraintsMember(encryption_context_subset={"tenant": "blue"}),
            )
            for client, key, operation in ((alice, source, "ReEncryptFrom"), (bob, destination, "ReEncryptTo"))
        )
        tokens = (out.grant_token, into.grant_token)

        def move(context: dict[str, str], new_context: dict[str, str]) -> Any:
            sealed = alice.encrypt(key_id=source, plaintext=b"granted", encryption_context=context).ciphertext_blob
            return erin.re_encrypt(
                ciphertext_blob=sealed,
                source_encryption_context=context,
                destination_key_id=destination,
                destination_encryption_context=new_context,
                grant_tokens=tokens,
            )

        moved = move({"tenant": "blue"}, {"tenant": "blue", "more": "pairs"})
        assert (
            bob.decrypt(
                ciphertext_blob=moved.ciphertext_blob, encryption_context={"tenant": "blue", "more": "pairs"}
            ).plaintext
            == b"granted"
        )
        assert denied(lambda: move({"tenant": "green"}, {"tenant": "blue"})).startswith("The ciphertext refers to")
        assert "kms:ReEncryptTo" in denied(lambda: move({"tenant": "blue"}, {"tenant": "green"}))
        alice.revoke_grant(key_id=source, grant_id=out.grant_id)
        tokens = (into.grant_token,)
        denied(lambda: move({"tenant": "blue"}, {"tenant": "blue"}))

    def test_conditions_see_their_own_sides_context(self, service: Service, alice: Client, bob: Client) -> None:
        erin = service.client("erin")
        only_blue = allow("kms:ReEncryptFrom", StringEquals={"kms:EncryptionContext:tenant": "blue"})
        source = new_key(alice, key_policy(ACCOUNT, to(ERIN, only_blue)))
        destination = new_key(bob)
        for context, other, allowed in (("blue", "green", True), ("green", "blue", False)):
            sealed = alice.encrypt(
                key_id=source, plaintext=b"x", encryption_context={"tenant": context}
            ).ciphertext_blob
            arguments: dict[str, Any] = {
                "ciphertext_blob": sealed,
                "source_key_id": source,
                "source_encryption_context": {"tenant": context},
                "destination_key_id": destination,
                "destination_encryption_context": {"tenant": other},
            }
            if allowed:
                erin.re_encrypt(**arguments)
            else:
                denied(lambda: erin.re_encrypt(**arguments))  # noqa: B023 - called at once

    def test_on_the_same_key_only(self, service: Service, alice: Client) -> None:
        same = allow("kms:ReEncrypt*", Bool={"kms:ReEncryptOnSameKey": "true"})
        key = new_key(alice, key_policy(ACCOUNT, to(DAVE, same)))
        other = new_key(alice, key_policy(ACCOUNT, to(DAVE, same)))
        dave = service.client("dave")
        sealed = alice.encrypt(key_id=key, plaintext=b"x").ciphertext_blob
        assert dave.re_encrypt(ciphertext_blob=sealed, destination_key_id=key).key_id == key
        denied(lambda: dave.re_encrypt(ciphertext_blob=sealed, destination_key_id=other))


def test_no_oracle(service: Service, alice: Client, bob: Client) -> None:
    """A foreign ARN, or a ciphertext, names a key that is unknown, foreign, or forbidden: one answer."""
    erin = service.client("erin")
    forbidden = new_key(alice)
    alice.create_alias(alias_name="alias/forbidden", target_key_id=forbidden)
    sealed = alice.encrypt(key_id=forbidden, plaintext=b"x").ciphertext_blob
    own = new_key(bob)
    unknown = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{NOBODY}"
    texts = {
        denied(lambda: erin.decrypt(ciphertext_blob=sealed, key_id=named)).replace(named, "NAMED")  # noqa: B023
        for named in (
            forbidden,
            unknown,
            f"arn:aws:kms:{REGION}:999999999999:key/{NOBODY}",
            f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/forbidden",
            f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/nothing",
        )
    }
    assert texts == {f"User: {ERIN.arn} is not authorized to perform: kms:Decrypt on resource: NAMED"}

    nobodys = sealed[:8] + bytes.fromhex(NOBODY.replace("-", "")) + sealed[24:]
    by_ciphertext = {
        denied(lambda: erin.re_encrypt(ciphertext_blob=blob, destination_key_id=own))  # noqa: B023
        for blob in (sealed, nobodys)
    }
    assert len(by_ciphertext) == 1
    with pytest.raises(errors.NotFoundException):
        bob.describe_key(key_id=NOBODY)


def test_what_is_not_for_other_accounts_is_refused_whatever_the_policy(alice: Client, bob: Client) -> None:
    everybody = key_policy(ACCOUNT, to(BOB, allow("kms:*")))
    key = new_key(alice, everybody)
    assert bob.describe_key(key_id=key).key_metadata.arn == key
    sealed = bob.encrypt(key_id=key, plaintext=b"across").ciphertext_blob
    assert bob.decrypt(ciphertext_blob=sealed).plaintext == b"across"
    for call in (
        lambda: bob.disable_key(key_id=key),
        lambda: bob.schedule_key_deletion(key_id=key),
        lambda: bob.rotate_key_on_demand(key_id=key),
        lambda: bob.put_key_policy(key_id=key, policy=everybody),
        lambda: bob.get_key_policy(key_id=key),
        lambda: bob.tag_resource(key_id=key, tags=()),
        lambda: bob.create_alias(alias_name="alias/across", target_key_id=key),
    ):
        with pytest.raises((errors.AccessDeniedException, errors.ValidationException)):
            call()
    assert alice.describe_key(key_id=key).key_metadata.enabled


def test_tags_of_principal_and_key_decide(service: Service, alice: Client) -> None:
    same_team = to(CAROL, allow("kms:Decrypt", StringEquals={"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}))
    carol = service.client("carol")
    for team, allowed in (("blue", True), ("green", False)):
        key = new_key(alice, key_policy(ACCOUNT, same_team))
        alice.tag_resource(key_id=key, tags=(_tag("team", team),))
        sealed = carol.encrypt(key_id=key, plaintext=b"x").ciphertext_blob
        if allowed:
            assert carol.decrypt(ciphertext_blob=sealed).plaintext == b"x"
        else:
            denied(lambda: carol.decrypt(ciphertext_blob=sealed))  # noqa: B023 - called at once


def _tag(key: str, value: str) -> Any:
    from hsmkms.client.contract import Tag

    return Tag(key, value)


def test_the_log_says_why_somebody_was_denied(service: Service, alice: Client) -> None:
    key = new_key(alice)
    denied(lambda: service.client("dave").encrypt(key_id=key, plaintext=b"x"))
    line = next(line for line in service.log if line.get("event") == "denied" and line.get("resource") == key)
    assert (line["principal"], line["action"]) == (DAVE.arn, "kms:Encrypt")
    assert line["reason"] == "no identity policy of the principal's account allows"
