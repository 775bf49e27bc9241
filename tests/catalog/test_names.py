"""ARNs, and how a deployment names its objects on the token."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsmkms.core.arns import alias_arn, key_arn, parse_arn
from hsmkms.core.model import Arn, Scope
from hsmkms.core.service_keys import deployment_label, service_key_cka_id

SCOPE = Scope("111122223333", "eu-central-1")


def test_arns_of_keys_and_aliases():
    key_id = "1234abcd-12ab-34cd-56ef-1234567890ab"
    assert key_arn("aws", SCOPE, key_id) == f"arn:aws:kms:eu-central-1:111122223333:key/{key_id}"
    assert alias_arn("aws", SCOPE, "alias/a:b") == "arn:aws:kms:eu-central-1:111122223333:alias/a:b"


def test_an_alias_with_colons_is_read_back():
    arn = parse_arn(alias_arn("aws", SCOPE, "alias/a:b"))
    assert arn == Arn("aws", "eu-central-1", "111122223333", "alias/a:b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alias/a",
        "arn:aws:kms:eu-central-1:111122223333",
        "arn:aws:kms:eu-central-1:111122223333:",
        "arn:aws:s3:eu-central-1:111122223333:key/x",
        "ARN:aws:kms:eu-central-1:111122223333:key/x",
        "arn::kms:eu-central-1:111122223333:key/x",
        "arn:aws:kms::111122223333:key/x",
        "arn:aws:kms:eu-central-1:11112222333:key/x",
        "arn:aws:kms:eu-central-1:١١١١٢٢٢٢٣٣٣٣:key/x",
    ],
)
def test_what_is_no_arn_of_ours(text):
    assert parse_arn(text) is None


@given(st.text() | st.lists(st.sampled_from(["arn", "aws", "kms", "x", "111122223333", ""]), max_size=8).map(":".join))
def test_what_is_accepted_is_returned_unchanged(text):
    arn = parse_arn(text)
    assert arn is None or str(arn) == text


@given(st.uuids(), st.text(max_size=20))
def test_service_keys_never_meet_kms_keys(deployment_id, purpose):
    cka_id = service_key_cka_id(deployment_id, purpose)
    assert len(cka_id) == 20
    assert cka_id[16:] == b"\0\0\0\1"
    assert uuid.UUID(bytes=cka_id[:16]).version == 8
    assert uuid.UUID(bytes=cka_id[:16]).variant == uuid.RFC_4122


def test_names_on_the_token_never_change():
    """Fixed vectors: objects on tokens carry these for ever."""
    deployment_id = uuid.UUID("00112233-4455-4677-8899-aabbccddeeff")
    assert deployment_label(deployment_id) == b"hsm-kms/00112233-4455-4677-8899-aabbccddeeff"
    assert service_key_cka_id(deployment_id, "markers").hex() == "36c7842bff6a893a9f63118740433f8600000001"
    assert service_key_cka_id(deployment_id, "health") != service_key_cka_id(deployment_id, "markers")
