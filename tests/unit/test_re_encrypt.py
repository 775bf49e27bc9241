"""ReEncrypt: what it answers, and what it refuses, in which order and in which words."""

import re
import uuid

import pytest

from hsmkms.core.arns import alias_arn
from hsmkms.core.ciphertext import parse
from hsmkms.core.commands import Rewrap, Verify
from hsmkms.core.model import KeyState, KeyUsage
from hsmkms.core.request_members import NO_CONTEXT
from support.deployment import (
    BAD_CIPHERTEXT,
    BOB,
    CONTEXT,
    DRY_RUN,
    INCORRECT_KEY,
    NOBODY,
    UNKNOWN_TO_YOU,
    arn_of,
)
from support.simulated_catalog import PARTITION
from support.simulator import ALICE, OTHER_SCOPE, SCOPE, call_of

# What it answers


async def test_re_encrypt_moves_a_ciphertext_and_says_between_which_keys(world):
    answer = await world.re_encrypt(source_key_id="alias/a")
    assert (answer.source_key_id, answer.key_id) == (arn_of(world.a), arn_of(world.b))
    assert answer.source_encryption_algorithm == answer.destination_encryption_algorithm == "SYMMETRIC_DEFAULT"
    assert answer.source_key_material_id == world.material(world.a)
    assert answer.destination_key_material_id == world.material(world.b)
    assert re.fullmatch("[0-9a-f]{64}", answer.source_key_material_id)
    assert await world.opened(answer.ciphertext_blob) == b"an envelope"
    assert parse(answer.ciphertext_blob).header.key_uuid == uuid.UUID(world.b).bytes


async def test_the_ciphertext_names_its_key_so_no_source_is_needed(world):
    assert (await world.re_encrypt()).source_key_id == arn_of(world.a)


@pytest.mark.parametrize("form", ["{id}", "{arn}", "alias/a", "arn:aws:kms:eu-central-1:111122223333:alias/a"], ids=str)
async def test_every_form_of_identifier_names_the_key(world, form):
    source = form.format(id=world.a, arn=arn_of(world.a))
    assert (await world.re_encrypt(source_key_id=source)).source_key_id == arn_of(world.a)
    destination = form.format(id=world.a, arn=arn_of(world.a))
    assert (await world.re_encrypt(destination_key_id=destination)).key_id == arn_of(world.a)


async def test_an_alias_is_resolved_at_each_call(world):
    assert (await world.re_encrypt()).key_id == arn_of(world.b)
    await world.do("UpdateAlias", alias_name="alias/b", target_key_id=world.c)
    assert (await world.re_encrypt()).key_id == arn_of(world.c)


@pytest.mark.parametrize("blob", ["direct", "blob"])
async def test_the_same_key_context_and_material_never_take_a_short_cut(world, blob):
    before = getattr(world, blob)
    answer = await world.re_encrypt(ciphertext_blob=before, source_key_id="alias/a", destination_key_id="alias/a")
    assert [type(command) for command in world.token.asked] == [Rewrap]
    assert answer.ciphertext_blob != before
    assert parse(answer.ciphertext_blob).header.salt != parse(before).header.salt
    assert await world.opened(answer.ciphertext_blob) == await world.opened(before)
    damaged = before[:50] + bytes([before[50] ^ 1]) + before[51:]
    assert await world.no_re_encrypt(ciphertext_blob=damaged, destination_key_id="alias/a") == BAD_CIPHERTEXT


async def test_the_same_key_after_a_rotation_moves_to_the_new_material(world):
    await world.do("RotateKeyOnDemand", key_id=world.a)
    answer = await world.re_encrypt(destination_key_id="alias/a")
    assert answer.source_key_material_id == world.material(world.a, 1)
    assert answer.destination_key_material_id == world.material(world.a, 2)
    assert parse(answer.ciphertext_blob).header.version == 2
    assert await world.opened(answer.ciphertext_blob) == await world.opened(world.blob) == b"an envelope"
    await world.re_encrypt(ciphertext_blob=answer.ciphertext_blob)
    assert (world.counted.old, world.counted.current) == (1, 1)


@pytest.mark.parametrize("length", [1, 15, 16, 24, 255, 256, 257, 4096])
async def test_mode_and_length_stay(world, length):
    before = await world.sealed(b"x" * length, "alias/a")
    after = (await world.re_encrypt(ciphertext_blob=before)).ciphertext_blob
    assert parse(after).header.mode is parse(before).header.mode
    assert len(after) == len(before)
    assert await world.opened(after) == b"x" * length


async def test_only_the_wrapped_key_and_digests_reach_the_token(world):
    await world.re_encrypt()
    (command,) = world.token.asked
    assert command.wrapped == parse(world.blob).wrapped
    assert parse(world.blob).sealed not in b"".join(
        value for name in command.__slots__ if isinstance(value := getattr(command, name), bytes)
    )


# The context


@pytest.mark.parametrize(
    ("sealed_with", "given", "opens"),
    [
        (CONTEXT, dict(reversed(CONTEXT.items())), True),
        ({}, NO_CONTEXT, True),
        (NO_CONTEXT, {}, True),
        (CONTEXT, NO_CONTEXT, False),
        (NO_CONTEXT, CONTEXT, False),
        (CONTEXT, {"tenant": "a"}, False),
        (CONTEXT, CONTEXT | {"more": ""}, False),
        (CONTEXT, {"Tenant": "a", "purpose": "b"}, False),
        (CONTEXT, {"tenant": "A", "purpose": "b"}, False),
        (CONTEXT, {"tenant": "b", "purpose": "a"}, False),
        ({"é": "x"}, {"e\u0301": "x"}, False),
    ],
    ids=[
        "other order",
        "absent for empty",
        "empty for absent",
        "missing",
        "not sealed with one",
        "one pair missing",
        "one pair more",
        "case of a key",
        "case of a value",
        "values exchanged",
        "not normalised",
    ],
)
async def test_the_source_context_must_be_exact(world, sealed_with, given, opens):
    blob = await world.sealed(b"payload", "alias/a", sealed_with)
    request = {"ciphertext_blob": blob, "source_encryption_context": given}
    if opens:
        moved = await world.re_encrypt(**request, destination_encryption_context={"new": "one"})
        assert await world.opened(moved.ciphertext_blob, {"new": "one"}) == b"payload"
        wrong = await world.refusal("Decrypt", ciphertext_blob=moved.ciphertext_blob, encryption_context=sealed_with)
        assert wrong == BAD_CIPHERTEXT
    else:
        assert await world.no_re_encrypt(**request) == BAD_CIPHERTEXT


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_a_context_over_8_kib_is_refused_by_its_members_name(world, side):
    code, text = await world.no_re_encrypt(**{f"{side}_encryption_context": {"k": "v" * 8192}})
    assert code == "ValidationException"
    assert text.startswith(f"1 validation error detected: Value at '{side}EncryptionContext' failed")


# The order of judgement. Each fault wins over all that come after it.


def disabled(name):
    return lambda world, request: world.change(getattr(world, name), state=KeyState.DISABLED)


def wrong_usage(name):
    return lambda world, request: world.change(getattr(world, name), usage=KeyUsage.SIGN_VERIFY)


def denied(action):
    return lambda world, request: world.authorizer.denied.add(action)


def sent(**members):
    return lambda world, request: request.update(members)


def text_of(pattern):
    return lambda world: pattern.format(a=arn_of(world.a), b=arn_of(world.b), nobody=arn_of(NOBODY), user=ALICE.arn)


USER = "User: {user} is not authorized to perform: "
LADDER = [
    (
        "shape",
        sent(grant_tokens=("",)),
        "ValidationException",
        text_of(
            "1 validation error detected: Value '[]' at 'grantTokens' failed to satisfy constraint: "
            "Member must satisfy constraint: [Member must have length greater than or equal to 1]"
        ),
    ),
    ("parse", sent(ciphertext_blob=b"no ciphertext of ours"), *BAD_CIPHERTEXT),
    ("resolve source", sent(source_key_id=NOBODY), "NotFoundException", text_of("Key '{nobody}' does not exist")),
    (
        "authorise from",
        denied("kms:ReEncryptFrom"),
        "AccessDeniedException",
        text_of(USER + "kms:ReEncryptFrom on resource: {a}"),
    ),
    ("source match", sent(source_key_id="alias/c"), *INCORRECT_KEY),
    ("source state", disabled("a"), "DisabledException", text_of("{a} is disabled.")),
    ("source usage", wrong_usage("a"), *INCORRECT_KEY),
    (
        "resolve destination",
        sent(destination_key_id=NOBODY),
        "NotFoundException",
        text_of("Key '{nobody}' does not exist"),
    ),
    (
        "authorise to",
        denied("kms:ReEncryptTo"),
        "AccessDeniedException",
        text_of(USER + "kms:ReEncryptTo on resource: {b}"),
    ),
    ("destination state", disabled("b"), "DisabledException", text_of("{b} is disabled.")),
    (
        "destination usage",
        wrong_usage("b"),
        "InvalidKeyUsageException",
        text_of(
            "{b} key usage is SIGN_VERIFY which is not valid for this operation; use a key whose usage is ENCRYPT_DECRYPT."
        ),
    ),
    (
        "destination algorithm",
        sent(destination_encryption_algorithm="RSAES_OAEP_SHA_256"),
        "InvalidKeyUsageException",
        text_of("Algorithm RSAES_OAEP_SHA_256 and key spec SYMMETRIC_DEFAULT are incompatible: use SYMMETRIC_DEFAULT."),
    ),
    ("unwrap", sent(source_encryption_context={"wrong": "context"}), *BAD_CIPHERTEXT),
    ("dry run", sent(dry_run=True), *DRY_RUN),
]


@pytest.mark.parametrize("rung", range(len(LADDER)), ids=[name for name, *_ in LADDER])
async def test_each_judgement_comes_before_those_below_it(world, rung):
    request = {"source_key_id": "alias/a"}
    for _, fault, _, _ in reversed(LADDER[rung:]):
        fault(world, request)
    _, _, code, text = LADDER[rung]
    expected = text if isinstance(text, str) else text(world)
    if LADDER[rung][0] == "authorise from":  # the source match below it names another key than the ciphertext does
        expected = expected.replace(arn_of(world.a), arn_of(world.c))
    assert await world.no_re_encrypt(**request) == (code, expected)
    if LADDER[rung][0] not in ("unwrap", "dry run"):
        assert not world.token.asked, "the token is asked last"
    assert {type(command) for command in world.token.asked} <= {Verify}, "and nothing is made"


async def test_with_nothing_wrong_it_succeeds(world):
    assert await world.re_encrypt(source_key_id="alias/a")


# Who may


async def test_both_sides_are_authorised_each_with_its_own_circumstances(world):
    blob = await world.sealed(b"payload", "alias/a", CONTEXT)
    world.forget()
    await world.re_encrypt(
        ciphertext_blob=blob,
        source_encryption_context=CONTEXT,
        destination_encryption_context={"new": "one"},
        grant_tokens=("token",),
    )
    source, destination = world.authorizer.asked
    assert (source.action, source.resource, source.alias) == ("kms:ReEncryptFrom", arn_of(world.a), "")
    assert (destination.action, destination.resource) == ("kms:ReEncryptTo", arn_of(world.b))
    assert destination.alias == "alias/b"
    assert (source.encryption_context, destination.encryption_context) == (CONTEXT, {"new": "one"})
    for side in (source, destination):
        assert side.encryption_algorithm == "SYMMETRIC_DEFAULT"
        assert side.grant_tokens == ("token",)
        assert side.conditions == {"kms:ReEncryptOnSameKey": "false"}


async def test_same_key_is_judged_on_resolved_keys(world):
    await world.re_encrypt(source_key_id=world.a, destination_key_id="alias/a")
    assert {side.conditions["kms:ReEncryptOnSameKey"] for side in world.authorizer.asked} == {"true"}


@pytest.mark.parametrize("operation", ["ReEncrypt", "Decrypt"])
@pytest.mark.parametrize("why", ["unknown", "foreign", "forbidden"])
async def test_a_ciphertext_alone_does_not_tell_why_its_key_is_refused(world, operation, why):
    if why == "unknown":
        del world.catalog.keys[world.a]
    elif why == "foreign":
        world.abroad(world.a)
    else:
        world.authorizer.denied |= {"kms:ReEncryptFrom", "kms:Decrypt"}
        world.change(world.a, state=KeyState.PENDING_DELETION)
    more = {"destination_key_id": "alias/b"} if operation == "ReEncrypt" else {}
    assert await world.refusal(operation, ciphertext_blob=world.blob, **more) == UNKNOWN_TO_YOU


FOREIGN = f"arn:aws:kms:eu-central-1:{OTHER_SCOPE.account}:key/{NOBODY}"
IDENTIFIERS = [
    ("no such key", NOBODY, "NotFoundException", f"Key '{arn_of(NOBODY)}' does not exist"),
    ("no such key by ARN", arn_of(NOBODY), "NotFoundException", f"Key '{arn_of(NOBODY)}' does not exist"),
    (
        "no such alias",
        "alias/none",
        "NotFoundException",
        f"Alias {alias_arn(PARTITION, SCOPE, 'alias/none')} is not found.",
    ),
    (
        "no such alias by ARN",
        alias_arn(PARTITION, SCOPE, "alias/none"),
        "NotFoundException",
        f"Alias {alias_arn(PARTITION, SCOPE, 'alias/none')} is not found.",
    ),
    (
        "other Region",
        f"arn:aws:kms:us-east-1:{SCOPE.account}:key/{NOBODY}",
        "NotFoundException",
        "Invalid arn us-east-1",
    ),
    (
        "alias of another Region",
        f"arn:aws:kms:us-east-1:{SCOPE.account}:alias/a",
        "NotFoundException",
        "Invalid arn us-east-1",
    ),
    ("word", "x", "NotFoundException", "Invalid keyId 'x'"),
    ("upper case", NOBODY.replace("0", "A"), "NotFoundException", f"Invalid keyId '{NOBODY.replace('0', 'A')}'"),
    ("no hyphens", NOBODY.replace("-", ""), "NotFoundException", f"Invalid keyId '{NOBODY.replace('-', '')}'"),
    ("newline", NOBODY + "\n", "NotFoundException", f"Invalid keyId '{NOBODY}\n'"),
    ("key/ID", f"key/{NOBODY}", "NotFoundException", f"Invalid keyId 'key/{NOBODY}'"),
    (
        "other service",
        f"arn:aws:s3:eu-central-1:{SCOPE.account}:key/{NOBODY}",
        "NotFoundException",
        f"Invalid keyId '{f'arn:aws:s3:eu-central-1:{SCOPE.account}:key/{NOBODY}'[:64]}…'",
    ),
    (
        "other partition",
        f"arn:aws-cn:kms:eu-central-1:{SCOPE.account}:key/{NOBODY}",
        "NotFoundException",
        f"Invalid keyId '{f'arn:aws-cn:kms:eu-central-1:{SCOPE.account}:key/{NOBODY}'[:64]}…'",
    ),
    (
        "other resource",
        f"arn:aws:kms:eu-central-1:{SCOPE.account}:grant/1",
        "NotFoundException",
        f"Invalid keyId 'arn:aws:kms:eu-central-1:{SCOPE.account}:grant/1'",
    ),
    ("cut ARN", "arn:aws:kms", "NotFoundException", "Invalid keyId 'arn:aws:kms'"),
    (
        "other account",
        FOREIGN,
        "AccessDeniedException",
        f"User: {ALICE.arn} is not authorized to perform: {{action}} on resource: {FOREIGN}",
    ),
]


@pytest.mark.parametrize(
    ("identifier", "code", "text"), [row[1:] for row in IDENTIFIERS], ids=[r[0] for r in IDENTIFIERS]
)
@pytest.mark.parametrize(
    ("member", "action"), [("source_key_id", "kms:ReEncryptFrom"), ("destination_key_id", "kms:ReEncryptTo")]
)
async def test_identifiers_that_name_no_key_of_ours(world, member, action, identifier, code, text):
    assert await world.no_re_encrypt(**{member: identifier}) == (code, text.replace("{action}", action))


@pytest.mark.parametrize("length", [1025, 2048])
async def test_an_identifier_of_any_allowed_length_gets_an_answer(world, length):
    code, text = await world.no_re_encrypt(destination_key_id="é" * length)
    assert code == "NotFoundException"
    assert len(text.encode()) <= 1200


async def test_another_accounts_key_is_not_found_by_its_id(world):
    world.abroad(world.b)
    assert await world.no_re_encrypt(destination_key_id=world.b) == (
        "NotFoundException",
        f"Key '{arn_of(world.b)}' does not exist",
    )


async def test_a_caller_of_another_account_sees_none_of_ours(world):
    call = call_of(BOB, OTHER_SCOPE)
    assert await world.refusal("Decrypt", call, ciphertext_blob=world.blob) == UNKNOWN_TO_YOU
    assert (await world.do("ListKeys", call)).keys == ()
    code, text = await world.refusal("DescribeKey", call, key_id="alias/a")
    assert (code, text) == (
        "NotFoundException",
        f"Alias arn:aws:kms:eu-central-1:{OTHER_SCOPE.account}:alias/a is not found.",
    )
