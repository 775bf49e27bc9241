"""GetCallerIdentity: botocore reads the answer and the errors as it reads AWS's."""

from xml.etree import ElementTree as ET

import botocore.session
import pytest
from botocore.parsers import create_parser

from hsmkms.core import errors
from hsmkms.core.model import Principal
from hsmkms.server.aws import sts
from hsmkms.server.aws.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)

USER = Principal("spiffe://x/alice", "111122223333", "arn:aws:iam::111122223333:user/<alice>&'\"")
FORM = b"Action=GetCallerIdentity&Version=2011-06-15"


@pytest.fixture(scope="module")
def read():
    model = botocore.session.get_session().get_service_model("sts")
    shape = model.operation_model("GetCallerIdentity").output_shape
    parser = create_parser(model.metadata["protocol"])
    return lambda status, body: parser.parse({"status_code": status, "headers": {}, "body": body}, shape)


def test_the_answer(read):
    answer = read(200, sts.get_caller_identity(USER, "request-1"))
    assert (answer["Arn"], answer["Account"]) == (USER.arn, USER.account)
    assert answer["ResponseMetadata"]["RequestId"] == "request-1"
    assert answer["UserId"] == sts.user_id(USER.arn)


def test_user_ids_have_awss_form_and_never_change():
    head = "arn:aws:iam::111122223333:"
    user, role = sts.user_id(head + "user/payments"), sts.user_id(head + "role/payments")
    assert (user, role) == ("AIDAQDTCFM773UQ3UQTU2", "AROAHINJLYCW7DQQ2JDIU")
    assert sts.user_id("arn:aws:sts::111122223333:assumed-role/payments/one") == f"{role}:one"
    assert sts.user_id("arn:aws:iam::444455556666:user/payments") != user


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MissingAuthenticationTokenException("x"), 403, "MissingAuthenticationToken"),
        (IncompleteSignatureException("x"), 400, "IncompleteSignature"),
        (InvalidSignatureException("x"), 403, "SignatureDoesNotMatch"),
        (UnrecognizedClientException("x"), 403, "InvalidClientTokenId"),
        (sts.QueryError("InvalidAction", "x"), 400, "InvalidAction"),
        (errors.KeyUnavailableException("x"), 503, "ServiceUnavailable"),
        (errors.ThrottlingException("x"), 400, "Throttling"),
        (errors.AccessDeniedException("x"), 403, "AccessDenied"),
        (errors.KMSInternalException("x"), 500, "InternalFailure"),
    ],
)
def test_errors(read, error, status, code):
    found, body = sts.error_answer(error, "request-2")
    assert found == status
    parsed = read(status, body)
    assert parsed["Error"]["Code"] == code
    assert parsed["Error"]["Message"] == "x"
    assert parsed["Error"]["Type"] == ("Receiver" if status >= 500 else "Sender")
    assert parsed["ResponseMetadata"]["RequestId"] == "request-2"


def test_a_text_that_xml_has_no_place_for():
    _, body = sts.error_answer(InvalidSignatureException("<\x00\ufffe]]>&\U0001f511"), "r")
    assert ET.fromstring(body).find(".//{*}Message").text == "<??]]>&\U0001f511"


def test_the_form():
    sts.require_operation(FORM)
    assert sts.is_query("application/x-www-form-urlencoded; charset=utf-8")
    assert not sts.is_query("application/x-amz-json-1.1")
    assert not sts.is_query(None)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MissingAction"),
        (b"Version=2011-06-15", "MissingAction"),
        (b"Action=AssumeRole&Version=2011-06-15", "InvalidAction"),
        (b"Action=GetCallerIdentity&Version=2010-05-08", "InvalidAction"),
        (b"Action=GetCallerIdentity", "InvalidAction"),
        (FORM + b"&Action=GetCallerIdentity", "MalformedQueryString"),
        (b'{"a": 1}', "MalformedQueryString"),
        (b"\xff=1", "MalformedQueryString"),
        (FORM + b"&a=" + b"x" * sts.MAX_FORM_BYTES, "MalformedQueryString"),
        (FORM + b"".join(b"&%d=" % number for number in range(sts.MAX_FIELDS)), "MalformedQueryString"),
    ],
)
def test_forms_that_ask_for_something_else(body, code):
    with pytest.raises(sts.QueryError) as refused:
        sts.require_operation(body)
    assert refused.value.query_code == code
