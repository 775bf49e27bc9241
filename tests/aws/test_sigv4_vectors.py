"""Our canonical requests and signatures are those of AWS's own test suite."""

import json
from pathlib import Path

import pytest

from hsmkms.server.aws import sigv4
from hsmkms.server.aws.errors import InvalidSignatureException

SUITE = json.loads((Path(__file__).parent.parent / "vectors" / "sigv4.json").read_text())
EVERY_VECTOR = pytest.mark.parametrize("vector", SUITE["vectors"], ids=lambda vector: vector["name"])


def request_of(vector, authorization=None):
    headers = [(name.encode(), value.encode()) for name, value in vector["headers"]]
    if authorization is not None:
        headers.append((b"Authorization", authorization.encode()))
    return sigv4.HttpRequest(
        vector["method"], vector["path"].encode(), vector["query"].encode(), headers, vector["body"].encode()
    )


LEAVES_OUT_THE_TOKEN = "post-sts-header-after"
"""The suite's one request with an `x-amz-` header that is not signed: it is for services that allow that."""


def signed_headers(vector):
    return vector["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")


@EVERY_VECTOR
def test_the_canonical_request(vector):
    found = sigv4.canonical_request(request_of(vector), signed_headers(vector))
    assert found.decode() == vector["canonical_request"]


@EVERY_VECTOR
def test_the_signature(vector):
    request = request_of(vector, vector["authorization"])
    if vector["name"] == LEAVES_OUT_THE_TOKEN:
        with pytest.raises(InvalidSignatureException, match="'X-Amz-Security-Token' must be a 'SignedHeader'"):
            sigv4.parse(request)
        return
    signed = sigv4.parse(request)
    scope = signed.scope
    assert (scope.access_key_id, scope.region, scope.service) == tuple(
        SUITE[name] for name in ("access_key_id", "region", "service")
    )
    assert sigv4.matches(signed, sigv4.signing_key(SUITE["secret_access_key"].encode(), scope))
    assert not sigv4.matches(signed, sigv4.signing_key(SUITE["secret_access_key"][:-1].encode() + b"Z", scope))


def test_all_of_the_suite_is_here():
    assert len(SUITE["vectors"]) == 33
