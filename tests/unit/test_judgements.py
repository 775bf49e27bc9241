"""What was judged and kept: it spares work, and is never seen in an answer."""

import json
import random
import re
from dataclasses import fields, replace

import pytest

from hsmkms.core.authorisation import PolicyAuthorizer
from hsmkms.core.ciphertext import NAMING_BYTES, parse
from hsmkms.core.errors import KmsError
from hsmkms.core.messages import OPERATIONS
from hsmkms.core.model import BackingKeyState, GrantOperation, KeyState, Origin, Principal, Scope
from hsmkms.core.operations import perform
from hsmkms.core.operations.judgements import Judgements, Usable
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.trail import Trail
from support.deployment import (
    BAD_CIPHERTEXT,
    BOB,
    CONTEXT,
    DRY_RUN,
    INCORRECT_KEY,
    UNKNOWN_TO_YOU,
    Deployment,
    arn_of,
    not_authorised,
)
from support.simulator import ALICE, OTHER_SCOPE, SCOPE, call_of

EVERYTHING = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}'
CAROL = Principal("carol", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/carol")


class CountingAuthorizer(PolicyAuthorizer):
    """The real one, which counts what it is asked."""

    asked = 0

    def allows(self, request):
        self.asked += 1
        return super().allows(request)


class Judging(Deployment):
    """A deployment that is judged by policies: Alice and Bob may do everything in their accounts, Carol nothing."""

    async def prepare(self):
        await super().prepare()
        policy = [parse_policy(EVERYTHING, PolicyKind.IDENTITY)]
        self.authorizer = CountingAuthorizer(
            self.environment.partition,
            self.catalog,
            {ALICE.arn: policy, BOB.arn: policy},
            self.environment.grant_tokens,
            self.clock,
        )
        self.environment = replace(self.environment, authorizer=self.authorizer)
        self.requests = {
            "ReEncrypt": {"ciphertext_blob": self.blob, "destination_key_id": "alias/b"},
            "Decrypt": {"ciphertext_blob": self.blob},
            "Encrypt": {"key_id": "alias/a", "plaintext": b"x"},
            "GenerateDataKey": {"key_id": "alias/a", "number_of_bytes": 32},
            "GenerateDataKeyWithoutPlaintext": {"key_id": "alias/a", "number_of_bytes": 32},
            "GenerateDataKeyPair": {"key_id": "alias/a", "key_pair_spec": "ECC_NIST_P256"},
            "GenerateDataKeyPairWithoutPlaintext": {"key_id": "alias/a", "key_pair_spec": "ECC_NIST_P256"},
        }
        return self

    async def ask(self, operation, call=None, **changed):
        return await self.do(operation, call, **(self.requests[operation] | changed))

    async def refused(self, operation, call=None, **changed):
        return await self.refusal(operation, call, **(self.requests[operation] | changed))

    async def questions(self, operation, call=None, **changed):
        """How many questions the authorizer is asked for a request, which is allowed."""
        before = self.authorizer.asked
        await self.ask(operation, call, **changed)
        return self.authorizer.asked - before

    async def kept(self, operation="ReEncrypt"):
        """Have a request judged, and see that the next one is not."""
        await self.ask(operation)
        assert await self.questions(operation) == 0


@pytest.fixture
async def world():
    return await Judging().prepare()


OPERATIONS_THAT_KEEP = [
    "ReEncrypt",
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
]
every_operation = pytest.mark.parametrize("operation", OPERATIONS_THAT_KEEP)


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(**more):
    return {"Effect": "Allow", "Principal": {"AWS": ALICE.arn}, "Action": "kms:*", "Resource": "*"} | more


# What is kept


@every_operation
async def test_an_equal_request_is_not_judged_again(world, operation):
    sides = 2 if operation == "ReEncrypt" else 1
    assert [await world.questions(operation) for _ in range(3)] == [sides, 0, 0]


async def test_what_differs_in_ciphertext_and_context_is_not_judged_again_and_is_answered_as_it_should(world):
    await world.kept()
    other = await world.sealed(b"another, longer plaintext", "alias/a", CONTEXT)
    before = world.authorizer.asked
    answer = await world.ask(
        "ReEncrypt", ciphertext_blob=other, source_encryption_context=CONTEXT, destination_encryption_context={"x": "y"}
    )
    assert world.authorizer.asked == before
    assert await world.opened(answer.ciphertext_blob, {"x": "y"}) == b"another, longer plaintext"
    assert (answer.source_key_id, answer.key_id) == (arn_of(world.a), arn_of(world.b))
    assert answer.source_key_material_id == world.material(world.a)
    assert answer.destination_key_material_id == world.material(world.b)
    assert parse(answer.ciphertext_blob).header.salt != parse(other).header.salt


@every_operation
async def test_what_is_kept_changes_neither_trail_nor_use(world, operation):
    calls = [call_of(), call_of()]
    for number, call in enumerate(calls):
        world.clock.us += 1
        await world.ask(operation, call)
        assert world.environment.uses.last(world.a).used == world.clock.us, number
    assert calls[0].trail.keys == calls[1].trail.keys
    assert calls[0].trail.keys == [arn_of(world.a), arn_of(world.b)][: 2 if operation == "ReEncrypt" else 1]


async def test_every_re_encryption_is_counted(world):
    for _ in range(3):
        await world.ask("ReEncrypt")
    assert (world.counted.current, world.counted.old) == (3, 0)


# What makes it void


async def disable(world):
    await world.do("DisableKey", key_id=world.a)


async def disable_by_hand(world):
    """As another front's change comes into the view."""
    world.change(world.a, state=KeyState.DISABLED)


async def schedule_deletion(world):
    await world.do("ScheduleKeyDeletion", key_id=world.a)


async def destroy(world):
    del world.catalog.keys[world.a]


async def deny_by_policy(world):
    await world.do("PutKeyPolicy", key_id=world.a, policy=policy(allow(Action="kms:PutKeyPolicy")))


async def deny_by_hand(world):
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    world.change(world.a, policy=policy(allow(), deny))


FORBIDDEN = r"User: \S+ is not authorized to perform: kms:\w+ on resource: \S+|" + re.escape(UNKNOWN_TO_YOU[1])
CHANGES = {
    "disabled": (disable, "DisabledException", r"arn:\S+ is disabled\."),
    "disabled elsewhere": (disable_by_hand, "DisabledException", r"arn:\S+ is disabled\."),
    "pending deletion": (schedule_deletion, "KMSInvalidStateException", r"arn:\S+ is pending deletion\."),
    "destroyed": (destroy, "AccessDeniedException|NotFoundException", FORBIDDEN + r"|Alias \S+ is not found\."),
    "a policy that allows it no more": (deny_by_policy, "AccessDeniedException", FORBIDDEN),
    "a policy that denies it": (deny_by_hand, "AccessDeniedException", FORBIDDEN),
}


@every_operation
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_change_of_the_key_acts_on_the_next_request(world, operation, change):
    make, code, text = change
    await world.kept(operation)
    await make(world)
    found = await world.refused(operation)
    assert re.fullmatch(code, found[0])
    assert re.fullmatch(text, found[1])


@pytest.mark.parametrize("change", [disable, schedule_deletion, deny_by_policy, destroy])
async def test_a_change_of_the_destination_acts_on_the_next_request(world, change):
    await world.kept()
    world.a, world.b = world.b, world.a
    await change(world)
    assert (await world.refused("ReEncrypt"))[0] in {
        "DisabledException", "KMSInvalidStateException", "AccessDeniedException", "NotFoundException",
    }  # fmt: skip


async def test_a_rotation_acts_on_the_next_request(world):
    await world.kept()
    await world.kept("Encrypt")
    for key_id in (world.a, world.b):
        await world.do("RotateKeyOnDemand", key_id=key_id)
    answer = await world.ask("ReEncrypt")
    assert parse(answer.ciphertext_blob).header.version == 2
    assert answer.source_key_material_id == world.material(world.a, 1)
    assert answer.destination_key_material_id == world.material(world.b, 2)
    assert (world.counted.current, world.counted.old) == (2, 1)
    assert parse((await world.ask("Encrypt")).ciphertext_blob).header.version == 2
    await world.kept()
    newer = await world.sealed(b"an envelope, newer", "alias/a")
    moved = await world.ask("ReEncrypt", ciphertext_blob=newer)
    assert moved.source_key_material_id == world.material(world.a, 2)
    assert (await world.ask("ReEncrypt")).source_key_material_id == world.material(world.a, 1)


async def test_material_that_is_used_no_more_opens_nothing(world):
    await world.kept("Decrypt")
    (backing_key,) = world.catalog.keys[world.a].backing_keys.values()
    world.change(world.a, backing_keys={1: replace(backing_key, state=BackingKeyState.DESTROYING)})
    assert await world.refused("Decrypt") == BAD_CIPHERTEXT


async def test_an_alias_that_was_moved_or_deleted_acts_on_the_next_request(world):
    await world.kept()
    await world.do("UpdateAlias", alias_name="alias/b", target_key_id=world.c)
    assert (await world.ask("ReEncrypt")).key_id == arn_of(world.c)
    await world.kept()
    await world.do("DeleteAlias", alias_name="alias/b")
    assert (await world.refused("ReEncrypt"))[0] == "NotFoundException"


@pytest.mark.parametrize("grantee", [ALICE.arn, f"arn:aws:iam::{SCOPE.account}:root"])
async def test_from_the_first_grant_on_every_request_is_judged(world, grantee):
    await world.kept("Encrypt")
    granted = await world.granted(world.a, grantee_principal=grantee, operations=(GrantOperation.ENCRYPT,))
    assert [await world.questions("Encrypt") for _ in range(2)] == [1, 1]
    assert [await world.questions("ReEncrypt") for _ in range(2)] == [2, 2], "of the source's grants too"
    await world.do("RevokeGrant", key_id=world.a, grant_id=granted.grant_id)
    await world.kept("Encrypt")


async def test_what_a_grant_alone_allows_ends_with_it(world):
    carol = call_of(CAROL)
    granted = await world.granted(world.a, grantee_principal=CAROL.arn, operations=(GrantOperation.ENCRYPT,))
    assert [await world.questions("Encrypt", carol) for _ in range(2)] == [1, 1]
    await world.do("RevokeGrant", key_id=world.a, grant_id=granted.grant_id)
    assert (await world.refused("Encrypt", carol))[0] == "AccessDeniedException"
    assert len(world.environment.judgements) == 0


# What is never kept


@every_operation
async def test_a_refusal_is_judged_anew_each_time(world, operation):
    await deny_by_policy(world)
    before = world.authorizer.asked
    for number in range(1, 4):
        assert (await world.refused(operation))[0] == "AccessDeniedException"
        assert world.authorizer.asked == before + number
    world.change(world.a, policy="")
    await world.kept(operation)


async def test_a_refusal_of_the_destination_keeps_nothing_of_the_source(world):
    world.change(world.b, policy=policy(allow(Action="kms:Describe*")))
    for _ in range(2):
        assert await world.refused("ReEncrypt") == not_authorised("kms:ReEncryptTo", arn_of(world.b))
    assert len(world.environment.judgements) == 0


CONDITIONS = {
    "a context": {"StringEquals": {"kms:EncryptionContext:tenant": "a"}},
    "a time": {"DateGreaterThan": {"aws:CurrentTime": "2001-01-01T00:00:00Z"}},
    "an address": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    "a tag of the caller": {"StringEquals": {"aws:PrincipalTag/team": "red"}},
}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
async def test_what_a_policy_with_a_condition_allows_is_judged_anew_each_time(world, condition):
    world.change(world.a, policy=policy(allow(Condition=condition)))
    alice = replace(ALICE, tags={"team": "red"})
    met = {"source_address": "10.1.2.3", "principal": alice}
    for _ in range(2):
        assert await world.questions("Encrypt", call_of(**met), encryption_context={"tenant": "a"}) == 1
    assert len(world.environment.judgements) == 0
    if "DateGreaterThan" in condition:
        world.clock.us = 0
    assert (await world.refused("Encrypt", call_of(), encryption_context={"tenant": "b"}))[0] == "AccessDeniedException"


OF_RE_ENCRYPT = {
    "another key, by the source": ("a", {"Bool": {"kms:ReEncryptOnSameKey": "false"}}, {}, {"destination_key_id": "a"}),
    "the same key, by the destination": (
        "a",
        {"Bool": {"kms:ReEncryptOnSameKey": "true"}},
        {"destination_key_id": "a"},
        {},
    ),
    "an alias of the source": (
        "a",
        {"StringEquals": {"kms:RequestAlias": "alias/a"}},
        {"source_key_id": "alias/a"},
        {"source_key_id": "a"},
    ),
    "an alias of the destination": (
        "b",
        {"StringEquals": {"kms:RequestAlias": "alias/b"}},
        {},
        {"destination_key_id": "b"},
    ),
}
"""Whose policy has which condition, for what it holds, and for what it does not; a letter alone stands for a key's id."""


@pytest.mark.parametrize("case", OF_RE_ENCRYPT.values(), ids=OF_RE_ENCRYPT)
async def test_what_a_condition_on_a_re_encryption_allows_is_judged_anew_each_time(world, case):
    name, condition, *requests = case
    met, unmet = [{member: getattr(world, text, text) for member, text in request.items()} for request in requests]
    world.change(getattr(world, name), policy=policy(allow(Condition=condition)))
    assert [await world.questions("ReEncrypt", **met) for _ in range(2)] == [2, 2]
    assert len(world.environment.judgements) == 0
    assert (await world.refused("ReEncrypt", **unmet))[0] == "AccessDeniedException"


async def test_a_condition_at_one_end_keeps_the_other_from_being_kept_too(world):
    world.change(world.b, policy=policy(allow(Condition=CONDITIONS["a time"])))
    assert [await world.questions("ReEncrypt") for _ in range(2)] == [2, 2]


async def test_a_deny_with_a_condition_that_does_not_hold_is_judged_anew_each_time(world):
    deny = {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}
    deny["Condition"] = {"StringEquals": {"kms:EncryptionContext:x": "y"}}
    world.change(world.a, policy=policy(allow(), deny))
    assert [await world.questions("Encrypt") for _ in range(2)] == [1, 1]


@every_operation
async def test_a_dry_run_is_judged_and_kept_for_nobody(world, operation):
    for _ in range(2):
        assert await world.refused(operation, dry_run=True) == DRY_RUN
    assert len(world.environment.judgements) == 0
    await world.kept(operation)
    before = world.authorizer.asked
    assert await world.refused(operation, dry_run=True) == DRY_RUN
    assert world.authorizer.asked > before


@every_operation
async def test_grant_tokens_are_read_each_time(world, operation):
    token = (await world.granted(world.c, grantee_principal=ALICE.arn)).grant_token
    assert await world.questions(operation, grant_tokens=(token,)) > 0
    assert len(world.environment.judgements) == 0
    await world.kept(operation)
    assert (await world.refused(operation, grant_tokens=("made up",)))[0] == "InvalidGrantTokenException"


async def test_imported_material_expires_by_the_clock_alone(world):
    (backing_key,) = world.catalog.keys[world.a].backing_keys.values()
    expiring = {1: replace(backing_key, expiry=world.clock.us + 10)}
    world.change(world.a, origin=Origin.EXTERNAL, backing_keys=expiring)
    to_a = {"ciphertext_blob": await world.sealed(b"an envelope", "alias/b"), "destination_key_id": "alias/a"}
    assert [await world.questions("Decrypt") for _ in range(2)] == [1, 1]
    for request in ({}, to_a):
        assert [await world.questions("ReEncrypt", **request) for _ in range(2)] == [2, 2]
    world.clock.us += 10
    for operation, request in (("Decrypt", {}), ("ReEncrypt", {}), ("ReEncrypt", to_a)):
        assert (await world.refused(operation, **request))[0] == "KMSInvalidStateException"


async def test_rsa_ends_are_judged_each_time(world):
    rsa = await world.new_key(key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT")
    to_rsa = {
        "ciphertext_blob": world.direct,
        "destination_key_id": rsa,
        "destination_encryption_algorithm": "RSAES_OAEP_SHA_256",
    }
    assert [await world.questions("ReEncrypt", **to_rsa) for _ in range(2)] == [2, 2]
    encrypt = {"key_id": rsa, "encryption_algorithm": "RSAES_OAEP_SHA_256"}
    assert [await world.questions("Encrypt", **encrypt) for _ in range(2)] == [1, 1]
    blob = (await world.ask("Encrypt", plaintext=b"0123456789abcdef", **encrypt)).ciphertext_blob
    assert [await world.questions("Decrypt", ciphertext_blob=blob, **encrypt) for _ in range(2)] == [1, 1]
    from_rsa = {
        "ciphertext_blob": blob,
        "source_key_id": rsa,
        "source_encryption_algorithm": "RSAES_OAEP_SHA_256",
    }
    assert [await world.questions("ReEncrypt", **from_rsa) for _ in range(2)] == [2, 2]
    assert len(world.environment.judgements) == 0


# Whom and what it is about


@every_operation
async def test_what_one_caller_may_nobody_else_may(world, operation):
    await world.kept(operation)
    for call in (call_of(CAROL), call_of(BOB, OTHER_SCOPE), call_of(replace(ALICE, account=OTHER_SCOPE.account))):
        assert (await world.refused(operation, call))[0] in {"AccessDeniedException", "NotFoundException"}
    elsewhere = call_of(scope=Scope(SCOPE.account, "eu-west-1"))
    assert (await world.refused(operation, elsewhere))[0] in {"AccessDeniedException", "NotFoundException"}


async def test_one_action_allows_no_other(world):
    for action in ("kms:Encrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey"):
        world.change(world.a, policy=policy(allow(Action=action, Principal={"AWS": CAROL.arn})))
        alone = {"kms:Encrypt": "Encrypt", "kms:ReEncryptFrom": "ReEncrypt", "kms:GenerateDataKey": "GenerateDataKey"}
        world.change(world.b, policy=policy(allow(Action="kms:ReEncryptTo", Principal={"AWS": CAROL.arn})))
        carol = call_of(CAROL)
        assert [await world.questions(alone[action], carol) > 0 for _ in range(2)] == [True, False]
        for operation in OPERATIONS_THAT_KEEP:
            if operation != alone[action]:
                assert (await world.refused(operation, carol))[0] == "AccessDeniedException"


async def test_a_key_named_otherwise_is_looked_up(world):
    await world.kept()
    assert await world.refused("ReEncrypt", source_key_id="alias/b") == INCORRECT_KEY
    assert (await world.ask("ReEncrypt", destination_key_id="alias/c")).key_id == arn_of(world.c)
    assert (await world.refused("ReEncrypt", destination_key_id="alias/d"))[0] == "NotFoundException"
    assert (await world.refused("ReEncrypt", destination_encryption_algorithm="RSAES_OAEP_SHA_256"))[0] == (
        "InvalidKeyUsageException"
    )
    await world.kept("Encrypt")
    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        assert (await world.refused("Encrypt", encryption_algorithm=algorithm))[0] == "InvalidKeyUsageException"


async def test_a_ciphertext_is_read_as_strictly_as_ever(world):
    for operation in ("ReEncrypt", "Decrypt"):
        await world.kept(operation)
        whole = world.requests[operation]["ciphertext_blob"]
        bad = [whole[:length] for length in (NAMING_BYTES, NAMING_BYTES + 3, 47, 48, 60, len(whole) - 1)]
        bad += [whole + b"\0", whole[:-1] + bytes([whole[-1] ^ 1])]
        bad += [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(3, 48)]
        for blob in bad:
            refusal = await world.refused(operation, ciphertext_blob=blob)
            assert refusal in (BAD_CIPHERTEXT, UNKNOWN_TO_YOU), blob.hex()
        assert await world.refused(operation, **{
            "ReEncrypt": {"source_encryption_context": CONTEXT}, "Decrypt": {"encryption_context": CONTEXT},
        }[operation]) == BAD_CIPHERTEXT  # fmt: skip


@every_operation
async def test_a_view_that_is_too_old_serves_nobody(world, operation):
    await world.kept(operation)
    world.catalog.stale = True
    assert (await world.refused(operation))[0] == "KeyUnavailableException"


# The table


def test_the_oldest_gives_way():
    judgements = Judgements(most=3)
    ends: tuple[Usable, ...] = ()
    for number in range(5):
        judgements.keep(1, ("kms:Encrypt", str(number)), ends)
    assert len(judgements) == 3
    found = [judgements.known(1, ("kms:Encrypt", str(number))) for number in range(5)]
    assert found == [None, None, ends, ends, ends]


def test_another_revision_forgets_everything():
    judgements = Judgements()
    judgements.keep(1, ("a",), ())
    assert judgements.known(2, ("a",)) is None
    assert len(judgements) == 0
    assert judgements.known(1, ("a",)) is None
    judgements.keep(3, ("b",), ())
    assert judgements.known(3, ("b",)) == ()


class Forgetful(Judgements):
    """One that keeps nothing."""

    def keep(self, revision, about, ends):
        pass


NAMES = [form for name in "abc" for form in (f"alias/{name}", name)]
"""Identifiers; a letter alone stands for the id of the key that had that alias at first."""
POLICIES = [
    "",
    policy(allow()),
    policy(allow(Action="kms:ReEncrypt*")),
    policy(allow(Action="kms:Encrypt")),
    policy(allow(Condition=CONDITIONS["a context"])),
]
GRANTED = (GrantOperation.ENCRYPT, GrantOperation.RE_ENCRYPT_FROM, GrantOperation.RE_ENCRYPT_TO)


async def change_at_random(world, rng):
    key_id = getattr(world, rng.choice("abc"))
    kind = rng.choice(["state", "policy", "rotation", "alias", "grant", "no grants", "mended"])
    if kind in {"rotation", "grant", "mended"}:
        world.change(key_id, policy="", state=KeyState.ENABLED)
    if kind == "state":
        world.change(key_id, state=rng.choice([KeyState.ENABLED, KeyState.ENABLED, KeyState.DISABLED]))
    elif kind == "policy":
        world.change(key_id, policy=rng.choice(POLICIES))
    elif kind == "rotation" and len(world.catalog.keys[key_id].backing_keys) < 3:
        await world.do("RotateKeyOnDemand", key_id=key_id)
    elif kind == "alias":
        alias = world.catalog.aliases[SCOPE, f"alias/{rng.choice('abc')}"]
        world.catalog.aliases[SCOPE, alias.name] = replace(alias, key_id=key_id)
    elif kind == "grant":
        await world.granted(key_id, grantee_principal=rng.choice([ALICE, CAROL]).arn, operations=GRANTED)
    elif kind == "no grants":
        world.catalog.grants.clear()


def request_at_random(world, rng):
    """An operation and a request of it."""
    operation = rng.choice(["ReEncrypt", "ReEncrypt", "Encrypt", "Decrypt", "GenerateDataKey"])
    name = rng.choice(NAMES)
    key_id = getattr(world, name, name)
    context = {"encryption_context": rng.choice([{}, {}, {"tenant": "a"}])}
    source = rng.choice([None, None, "alias/a", "alias/b", world.a])
    request = {
        "ReEncrypt": {"ciphertext_blob": world.blob, "source_key_id": source, "destination_key_id": key_id},
        "Encrypt": {"key_id": key_id, "plaintext": b"x"} | context,
        "Decrypt": {"ciphertext_blob": world.blob, "key_id": source},
        "GenerateDataKey": {"key_id": key_id, "number_of_bytes": 16} | context,
    }[operation]
    return operation, OPERATIONS[operation].request(**request)


async def outcome(environment, call, operation, request):
    """Error, or what an answer tells that is not random, and what is in the trail."""
    call = replace(call, trail=Trail())
    try:
        answer = await perform(environment, call, operation, request)
    except KmsError as error:
        return error.code, error.message, call.trail.keys
    told = [value for field in fields(answer) if isinstance(value := getattr(answer, field.name), str)]
    version = parse(answer.ciphertext_blob).header.version if hasattr(answer, "ciphertext_blob") else 0
    return told, version, call.trail.keys


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_answers_are_those_of_a_service_that_keeps_nothing(seed):
    rng = random.Random(seed)
    world = await Judging().prepare()
    anew = replace(world.environment, judgements=Forgetful())
    callers = [call_of(), call_of(), call_of(), call_of(CAROL), call_of(BOB, OTHER_SCOPE)]
    spared = 0
    for _ in range(1500):
        if rng.random() < 0.15:
            await change_at_random(world, rng)
            continue
        operation, request = request_at_random(world, rng)
        call = rng.choice(callers)
        before = world.authorizer.asked
        found = await outcome(world.environment, call, operation, request)
        spared += world.authorizer.asked == before and isinstance(found[1], int)
        assert found == await outcome(anew, call, operation, request)
    assert spared > 30
