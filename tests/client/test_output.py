"""Answers as the AWS CLI writes them."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime

import pytest

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.output import Printer, blob_names, document_of, text_lines
from hsmkms.client import contract
from hsmkms.client.contract import (
    CreateKeyResponse,
    EncryptionAlgorithm,
    GenerateDataKeyResponse,
    KeyManager,
    KeyMetadata,
    KeySpec,
    KeyState,
    KeyUsage,
    Origin,
    ReEncryptResponse,
)

KEY = CreateKeyResponse(
    KeyMetadata(
        aws_account_id="111122223333",
        key_id="1234abcd-12ab-34cd-56ef-1234567890ab",
        arn="arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        creation_date=datetime(2026, 11, 22, 4, 22, 32, 123000, UTC),
        enabled=True,
        description="Zahlungen, März",
        key_usage=KeyUsage.ENCRYPT_DECRYPT,
        key_state=KeyState.ENABLED,
        origin=Origin.AWS_KMS,
        key_manager=KeyManager.CUSTOMER,
        key_spec=KeySpec.SYMMETRIC_DEFAULT,
        encryption_algorithms=(EncryptionAlgorithm.SYMMETRIC_DEFAULT,),
        multi_region=False,
    )
)
MOVED = ReEncryptResponse(
    b"\0\1\xff", "arn:a", "arn:b", EncryptionAlgorithm.SYMMETRIC_DEFAULT, EncryptionAlgorithm.SYMMETRIC_DEFAULT
)


def printed(response, form="json", query=None):
    printer = Printer(form, query, blob_names(type(response)))
    printer.check()
    return printer.render(document_of(response))


def test_json_has_awss_names_base64_and_iso_times():
    assert json.loads(printed(MOVED)) == {
        "CiphertextBlob": "AAH/",
        "SourceKeyId": "arn:a",
        "KeyId": "arn:b",
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
    }
    metadata = json.loads(printed(KEY))["KeyMetadata"]
    assert metadata["CreationDate"] == "2026-11-22T04:22:32.123000+00:00"
    assert metadata["AWSAccountId"] == "111122223333"
    assert metadata["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    assert "DeletionDate" not in metadata
    assert '        "Description": "Zahlungen, März"'.encode() in printed(KEY)


def test_a_query_selects():
    assert printed(MOVED, query="CiphertextBlob") == b'"AAH/"\n'
    assert printed(MOVED, "text", "CiphertextBlob") == b"AAH/\n"
    assert printed(KEY, "text", "KeyMetadata.[KeyId, Enabled]") == b"1234abcd-12ab-34cd-56ef-1234567890ab\tTrue\n"
    assert printed(KEY, "text", "KeyMetadata.Nothing") == b"None\n"
    assert printed(KEY, "json", "KeyMetadata.Nothing") == b"null\n"


def test_an_answer_without_members_prints_nothing():
    for form in ("json", "text"):
        assert Printer(form, None, ()).render({}) == b""


def test_raw_is_the_bytes_of_a_blob():
    data_key = GenerateDataKeyResponse(b"sealed", b"\0open\xff", "arn:a")
    assert printed(MOVED, "raw") == b"\0\1\xff"
    assert printed(data_key, "raw", "Plaintext") == b"\0open\xff"
    with pytest.raises(CommandFailed, match="which of CiphertextBlob, Plaintext"):
        printed(data_key, "raw")
    with pytest.raises(CommandFailed, match="--query CiphertextBlob or Plaintext"):
        printed(data_key, "raw", "KeyId")
    with pytest.raises(CommandFailed, match="has none"):
        printed(KEY, "raw")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("a[", ExitCode.USAGE),
        ("", ExitCode.USAGE),
        ("|", ExitCode.USAGE),
        ("nosuch(@)", ExitCode.FAILED),
        ("length(KeyId, KeyId)", ExitCode.FAILED),
        ("abs(KeyId)", ExitCode.FAILED),
    ],
)
def test_a_bad_query_is_told_in_one_line_before_the_call_where_that_can_be_known(query, code):
    with pytest.raises(CommandFailed, match="bad value for --query") as refused:
        printed(MOVED, query=query)
    assert refused.value.code is code
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("a", ["a"]),
        (True, ["True"]),
        (None, ["None"]),
        ([], []),
        (["a", "b"], ["a\tb"]),
        ([["a", "b"], ["c", "d"]], ["a\tb", "c\td"]),
        (["a", ["b", "c"]], ["a", "b\tc"]),
        ({"B": "2", "A": "1"}, ["1\t2"]),
        ({"Keys": [{"KeyId": "1", "KeyArn": "a1"}, {"KeyId": "2"}]}, ["KEYS\ta1\t1", "KEYS\t\t2"]),
        ({"KeyMetadata": {"Arn": "a", "Algorithms": ["x", "y"]}}, ["KEYMETADATA\ta", "ALGORITHMS\tx", "ALGORITHMS\ty"]),
        ({"Keys": [], "Truncated": False}, ["False"]),
        ([{"A": "1", "In": {"X": "2"}}], ["1", "IN\t2"]),
    ],
)
def test_text_follows_awss_rules(value, lines):
    assert list(text_lines(value)) == lines


def test_every_response_can_be_shown():
    for operation in contract.OPERATIONS.values():
        assert set(blob_names(operation.response)) <= {
            contract.aws_name(field.name) for field in dataclasses.fields(operation.response)
        }
