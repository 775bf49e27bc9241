"""Why a request is not its sender's, in AWS's words: for the endpoint of AWS clients alone.

Each error has two names: AWS JSON's (the code, which is the class's name; HTTP status 400) and the Query protocol's, which STS speaks.
Sources: the "Common errors" of the AWS KMS and the STS API reference, "Error handling with DynamoDB" for the names and statuses under AWS
JSON, and what clients report of AWS's answers. The texts are AWS's where AWS has one. What AWS adds to some of them is left out: the
Authorization header of the request, and the canonical request that was expected.
"""

from __future__ import annotations

from typing import ClassVar

from hsmkms.core.errors import KmsError


class SignatureError(KmsError, listed=False):
    """The request is not signed as it must be, or not by whom it says."""

    query_code: ClassVar[str] = "SignatureDoesNotMatch"
    """Its name in the Query protocol."""
    query_status: ClassVar[int] = 403
    """Its HTTP status in the Query protocol."""
    status: ClassVar[int] = 400
    """Its HTTP status in AWS JSON."""


class MissingAuthenticationTokenException(SignatureError, listed=False):
    """The request is not signed at all."""

    query_code = "MissingAuthenticationToken"


class IncompleteSignatureException(SignatureError, listed=False):
    """The signature is not of the form that Signature Version 4 has."""

    query_code = "IncompleteSignature"
    query_status = 400


class InvalidSignatureException(SignatureError, listed=False):
    """The signature is not this request's, not of this time, or not for this service or Region."""


class UnrecognizedClientException(SignatureError, listed=False):
    """The access key is not one that may be used here."""

    query_code = "InvalidClientTokenId"
