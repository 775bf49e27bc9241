"""Grants against the whole service: the five operations, and their refusals."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from hsmkms.client import Client
from hsmkms.client.contract import GrantConstraints, GrantOperation
from hsmkms.client.errors import (
    AccessDeniedException,
    DisabledException,
    DryRunOperationException,
    InvalidArnException,
    InvalidGrantIdException,
    InvalidGrantTokenException,
    InvalidMarkerException,
    NotFoundException,
    ValidationException,
)
from support.service import ACCOUNT, run_cli

USER = f"arn:aws:iam::{ACCOUNT}:user/billing"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/billing"
AUDITOR = f"arn:aws:iam::{ACCOUNT}:user/auditor"
FOREIGN = "arn:aws:iam::444455556666:user/stranger"
FOREIGN_KEY = "arn:aws:kms:eu-central-1:444455556666:key/1234abcd-12ab-4cd5-8fab-1234567890ab"


@pytest.fixture
def key(client: Client):
    return client.create_key(description="grants").key_metadata


def grant(client: Client, key, **members):
    return client.create_grant(
        **{"key_id": key.key_id, "grantee_principal": USER, "operations": ["Decrypt", "ReEncryptFrom"]} | members
    )


def ids(client: Client, key) -> list[str]:
    return [entry.grant_id for entry in client.iterate_grants(key_id=key.key_id)]


def test_a_grant_is_listed_as_it_was_created(client, key):
    before = datetime.now(UTC) - timedelta(seconds=2)
    made = grant(
        client,
        key,
        retiring_principal=AUDITOR,
        operations=["RetireGrant", "Decrypt", "Decrypt"],
        constraints=GrantConstraints(encryption_context_subset={"tenant": "a", "b": ""}),
        name="billing/1",
    )
    assert re.fullmatch("[0-9a-f]{64}", made.grant_id)
    assert 1 <= len(made.grant_token) <= 8192
    answer = client.list_grants(key_id=key.arn)
    (entry,) = answer.grants
    assert (answer.truncated, answer.next_marker) == (False, None)
    assert entry.key_id == key.arn
    assert entry.grant_id == made.grant_id
    assert entry.name == "billing/1"
    assert entry.grantee_principal == USER
    assert entry.retiring_principal == AUDITOR
    assert entry.issuing_account == f"arn:aws:iam::{ACCOUNT}:root"
    assert entry.operations == (GrantOperation.DECRYPT, GrantOperation.RETIRE_GRANT)
    assert entry.constraints is not None
    assert dict(entry.constraints.encryption_context_subset) == {"tenant": "a", "b": ""}
    assert dict(entry.constraints.encryption_context_equals) == {}
    assert before < entry.creation_date < datetime.now(UTC) + timedelta(seconds=2)


def test_a_grant_without_name_constraint_and_retiring_principal_says_so(client, key):
    grant(client, key)
    (entry,) = client.list_grants(key_id=key.key_id).grants
    assert (entry.name, entry.constraints, entry.retiring_principal) == (None, None, None)


def test_a_name_makes_one_grant_of_equal_requests_and_each_has_a_token(client, key):
    first = grant(client, key, name="n", operations=["Decrypt", "Encrypt"])
    again = grant(client, key, name="n", operations=["Encrypt", "Decrypt"])
    other = grant(client, key, name="n", operations=["Encrypt"])
    unnamed = [grant(client, key).grant_id for _ in range(2)]
    assert again.grant_id == first.grant_id
    assert sorted(ids(client, key)) == sorted([first.grant_id, other.grant_id, *unnamed])
    client.retire_grant(grant_token=again.grant_token)
    assert first.grant_id not in ids(client, key)


def test_the_same_request_under_one_idempotency_key_has_one_answer(client, key):
    answers = {grant(client, key, idempotency_key=f"create {key.key_id}") for _ in range(3)}
    (answer,) = answers
    assert ids(client, key) == [answer.grant_id]
    for _ in range(2):
        client.revoke_grant(key_id=key.key_id, grant_id=answer.grant_id, idempotency_key=f"revoke {key.key_id}")
    made = grant(client, key)
    for _ in range(2):
        client.retire_grant(key_id=key.arn, grant_id=made.grant_id, idempotency_key=f"retire {key.key_id}")
    made = grant(client, key)
    for _ in range(2):
        client.retire_grant(grant_token=made.grant_token, idempotency_key=f"retire by token {key.key_id}")
    assert ids(client, key) == []


def test_pages_and_filters(client, key):
    made = sorted([grant(client, key).grant_id for _ in range(5)])
    to_role = grant(client, key, grantee_principal=ROLE).grant_id
    assert [entry.grant_id for entry in client.iterate_grants(key_id=key.key_id, limit=2)] == sorted([*made, to_role])
    page = client.list_grants(key_id=key.key_id, grantee_principal=USER, limit=3)
    assert page.truncated
    rest = client.list_grants(key_id=key.key_id, grantee_principal=USER, limit=3, marker=page.next_marker)
    assert [entry.grant_id for entry in (*page.grants, *rest.grants)] == made
    assert [e.grant_id for e in client.list_grants(key_id=key.key_id, grantee_principal=ROLE).grants] == [to_role]
    assert [e.grant_id for e in client.list_grants(key_id=key.key_id, grant_id=made[0]).grants] == made[:1]
    assert client.list_grants(key_id=key.key_id, grant_id=made[0], grantee_principal=ROLE).grants == ()
    assert client.list_grants(key_id=key.key_id, grantee_principal=AUDITOR).grants == ()
    with pytest.raises(InvalidMarkerException):
        client.list_grants(key_id=key.key_id, marker=page.next_marker)
    with pytest.raises(InvalidGrantIdException):
        client.list_grants(key_id=key.key_id, grant_id="0" * 64)


def test_retirable_grants_are_listed_over_all_keys(client, key):
    other = client.create_key().key_metadata
    principal = f"arn:aws:iam::{ACCOUNT}:user/retires-{key.key_id}"
    made = sorted(grant(client, each, retiring_principal=principal).grant_id for each in (key, key, other))
    grant(client, key, retiring_principal=AUDITOR)
    found = list(client.iterate_retirable_grants(retiring_principal=principal, limit=1))
    assert [entry.grant_id for entry in found] == made
    assert {entry.key_id for entry in found} == {key.arn, other.arn}
    client.revoke_grant(key_id=key.key_id, grant_id=next(e.grant_id for e in found if e.key_id == key.arn))
    assert len(client.list_retirable_grants(retiring_principal=principal).grants) == 2
    with pytest.raises(AccessDeniedException):
        client.list_retirable_grants(retiring_principal=FOREIGN)
    with pytest.raises(InvalidArnException):
        client.list_retirable_grants(retiring_principal="me")


def test_a_grant_ends_once(client, key):
    made = grant(client, key)
    client.revoke_grant(key_id=key.key_id, grant_id=made.grant_id)
    for key_id in (key.key_id, key.arn):
        with pytest.raises(InvalidGrantIdException):
            client.revoke_grant(key_id=key_id, grant_id=made.grant_id)
        with pytest.raises(InvalidGrantIdException):
            client.retire_grant(key_id=key_id, grant_id=made.grant_id)
    with pytest.raises(InvalidGrantTokenException):
        client.retire_grant(grant_token=made.grant_token)
    other = client.create_key().key_metadata
    with pytest.raises(InvalidGrantIdException):
        client.revoke_grant(key_id=other.key_id, grant_id=grant(client, key).grant_id)
    assert len(ids(client, key)) == 1


def test_a_dry_run_changes_nothing(client, key):
    made = grant(client, key)
    runs = [
        lambda: grant(client, key, dry_run=True),
        lambda: client.revoke_grant(key_id=key.key_id, grant_id=made.grant_id, dry_run=True),
        lambda: client.retire_grant(key_id=key.key_id, grant_id=made.grant_id, dry_run=True),
        lambda: client.retire_grant(grant_token=made.grant_token, dry_run=True),
    ]
    for run in runs:
        with pytest.raises(DryRunOperationException):
            run()
    assert ids(client, key) == [made.grant_id]
    with pytest.raises(InvalidGrantIdException):
        client.revoke_grant(key_id=key.key_id, grant_id="0" * 64, dry_run=True)
    client.disable_key(key_id=key.key_id)
    with pytest.raises(DisabledException):
        grant(client, key, dry_run=True)


def test_a_disabled_key_takes_no_new_grants_and_lets_old_ones_go(client, key):
    first, second = grant(client, key), grant(client, key)
    client.disable_key(key_id=key.key_id)
    with pytest.raises(DisabledException, match=re.escape(f"{key.arn} is disabled.")):
        grant(client, key)
    assert len(ids(client, key)) == 2
    client.revoke_grant(key_id=key.key_id, grant_id=first.grant_id)
    client.retire_grant(grant_token=second.grant_token)
    assert ids(client, key) == []


@pytest.mark.parametrize(
    ("members", "error", "text"),
    [
        ({"operations": []}, ValidationException, "at 'operations' failed to satisfy constraint"),
        ({"operations": ["ReEncrypt"]}, ValidationException, "enum value set"),
        ({"operations": ["Decrypt", "Sign"]}, ValidationException, "cannot allow Sign; it can allow Decrypt, "),
        ({"grantee_principal": "billing"}, InvalidArnException, "does not refer to a valid principal: billing"),
        ({"grantee_principal": "*"}, ValidationException, "regular expression"),
        ({"retiring_principal": f"arn:aws:iam::{ACCOUNT}:group/a"}, InvalidArnException, "valid principal"),
        ({"name": "a b"}, ValidationException, "regular expression"),
        ({"constraints": GrantConstraints()}, ValidationException, "either EncryptionContextEquals or"),
        ({"constraints": GrantConstraints({"a": "1"}, {"a": "1"})}, ValidationException, "either"),
        ({"constraints": GrantConstraints({str(n): "" for n in range(9)})}, ValidationException, "equal to 8"),
        ({"constraints": GrantConstraints({"a": "v" * 385})}, ValidationException, "equal to 384"),
        (
            {"constraints": GrantConstraints({}, {"k" * 385: ""})},
            ValidationException,
            "'constraints.encryptionContextEquals'",
        ),
        ({"constraints": GrantConstraints({str(n): "é" * 300 for n in range(8)})}, ValidationException, "4096 bytes"),
        ({"key_id": "alias/source"}, NotFoundException, "not by an alias"),
        ({"key_id": FOREIGN_KEY}, AccessDeniedException, "kms:CreateGrant"),
    ],
)
def test_requests_that_are_refused(client, key, members, error, text):
    with pytest.raises(error, match=re.escape(text)):
        grant(client, key, **members)
    assert ids(client, key) == []


def test_retire_grant_names_the_grant_in_one_way(client, key):
    made = grant(client, key)
    for members in (
        {},
        {"key_id": key.arn},
        {"grant_id": made.grant_id},
        {"key_id": key.arn, "grant_id": made.grant_id, "grant_token": made.grant_token},
    ):
        with pytest.raises(ValidationException):
            client.retire_grant(**members)
    for key_id in (FOREIGN_KEY, FOREIGN_KEY.replace("1234abcd", "0234abcd")):
        with pytest.raises(AccessDeniedException):
            client.retire_grant(key_id=key_id, grant_id=made.grant_id)


def test_a_token_is_of_this_service_or_of_nobody(client, key):
    made = grant(client, key)
    raw = bytearray(base64.urlsafe_b64decode(made.grant_token))
    raw[-1] ^= 1
    for token in ("x", made.grant_token + "A", base64.urlsafe_b64encode(raw).decode()):
        with pytest.raises(InvalidGrantTokenException):
            client.retire_grant(grant_token=token)
    assert ids(client, key) == [made.grant_id]


def test_the_command_line(service, client, key):
    made = run_cli(
        service,
        *("create-grant", "--key-id", key.key_id, "--grantee-principal", ROLE),
        *(
            "--operations",
            "ReEncryptFrom",
            "ReEncryptTo",
            "--constraints",
            "EncryptionContextEquals={tenant=a,b='1,2'}",
        ),
    )
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    listed = json.loads(run_cli(service, "list-grants", "--key-id", key.key_id).stdout)["Grants"]
    assert [entry["Constraints"]["EncryptionContextEquals"] for entry in listed] == [{"tenant": "a", "b": "1,2"}]
    assert listed[0]["Operations"] == ["ReEncryptFrom", "ReEncryptTo"]
    ended = run_cli(service, "revoke-grant", "--key-id", key.key_id, "--grant-id", answer["GrantId"])
    assert ended.returncode == 0, ended.stderr
    assert ids(client, key) == []
