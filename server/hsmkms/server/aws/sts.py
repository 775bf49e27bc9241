"""STS GetCallerIdentity, in AWS's Query protocol: pure functions from a form and a principal to the XML of the answer.

Source: AWS STS API reference, version 2011-06-15, "GetCallerIdentity" and "Common errors". It needs no permission, as at AWS.

`UserId` is not AWS's: an id of the same form, computed from the ARN of the user or role, so that it is the same on every front and after
every restart. Nothing else depends on it.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from hsmkms.core.errors import KmsError
from hsmkms.core.model import Principal
from hsmkms.server.aws.errors import SignatureError

CONTENT_TYPE: Final = "text/xml"
FORM: Final = "application/x-www-form-urlencoded"
VERSION: Final = "2011-06-15"
OPERATION: Final = "GetCallerIdentity"
MAX_FORM_BYTES: Final = 8192
MAX_FIELDS: Final = 32

_NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"
_ID_CHARACTERS: Final = 17
_ID_LABEL: Final = b"hsm-kms/user-id/v1"
_NAMES: Final = {
    "AccessDeniedException": ("AccessDenied", 403),
    "DependencyTimeoutException": ("ServiceUnavailable", 503),
    "KeyUnavailableException": ("ServiceUnavailable", 503),
    "ThrottlingException": ("Throttling", 400),
    "UnauthenticatedException": ("AccessDenied", 403),
    "ValidationException": ("ValidationError", 400),
}
"""Names and HTTP statuses of errors that other protocols name otherwise; what is not here is InternalFailure."""
_INTERNAL: Final = ("InternalFailure", 500)


class QueryError(KmsError, listed=False):
    """A form that asks for nothing that there is.

    Args:
        query_code: Its name in the Query protocol; its HTTP status is 400.
        message: The text for the caller.
    """

    def __init__(self, query_code: str, message: str) -> None:
        super().__init__(message)
        self.query_code = query_code


def is_query(content_type: str | None) -> bool:
    """Say whether a request is one of the Query protocol, by its content type."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() == FORM


def require_operation(body: bytes) -> None:
    """Do nothing if a form asks for GetCallerIdentity.

    Args:
        body: The request's body; 8,192 bytes at most.

    Raises:
        QueryError: it asks for something else, or is no form.
    """
    if len(body) > MAX_FORM_BYTES:
        raise QueryError("MalformedQueryString", f"The request's body must have {MAX_FORM_BYTES} bytes at most.")
    try:
        fields = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise QueryError("MalformedQueryString", "The request's body is not a form.") from None
    found = dict(fields)
    if len(found) != len(fields):
        raise QueryError("MalformedQueryString", "The request's body has a field twice.")
    action, version = found.get("Action", ""), found.get("Version", "NO_VERSION_SPECIFIED")
    if not action:
        raise QueryError("MissingAction", "The request must have the parameter Action.")
    if (action, version) != (OPERATION, VERSION):
        raise QueryError("InvalidAction", f"Could not find operation {action[:64]} for version {version[:64]}")


def get_caller_identity(principal: Principal, request_id: str) -> bytes:
    """Return the answer of GetCallerIdentity; its HTTP status is 200.

    Args:
        principal: Who asks.
        request_id: The id that the answer carries.
    """
    return _document(
        "GetCallerIdentityResponse",
        "<GetCallerIdentityResult>"
        f"<Arn>{_text(principal.arn)}</Arn><UserId>{_text(user_id(principal.arn))}</UserId>"
        f"<Account>{_text(principal.account)}</Account>"
        "</GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{_text(request_id)}</RequestId></ResponseMetadata>",
    )


def error_answer(error: KmsError, request_id: str) -> tuple[int, bytes]:
    """Return HTTP status and body of a refusal in the Query protocol.

    Args:
        error: Why.
        request_id: The id that the answer carries.
    """
    if isinstance(error, SignatureError):
        code, status = error.query_code, error.query_status
    elif isinstance(error, QueryError):
        code, status = error.query_code, 400
    else:
        code, status = _NAMES.get(error.code, _INTERNAL)
    kind = "Sender" if status < _INTERNAL[1] else "Receiver"
    body = _document(
        "ErrorResponse",
        f"<Error><Type>{kind}</Type><Code>{code}</Code><Message>{_text(error.message)}</Message></Error>"
        f"<RequestId>{_text(request_id)}</RequestId>",
    )
    return status, body


def user_id(arn: str) -> str:
    """Return the `UserId` of a principal: of a user `AIDA…`, of a role `AROA…`, of a role's session the role's and the session's name."""
    head, _, resource = arn.rpartition(":")
    kind, _, name = resource.partition("/")
    role, _, session = name.rpartition("/") if kind == "assumed-role" else (name, "", "")
    stable = f"{head.split(':')[4]}/{'user' if kind == 'user' else 'role'}/{role}".encode()
    digest = base64.b32encode(hashlib.sha256(_ID_LABEL + stable).digest()).decode("ascii")[:_ID_CHARACTERS]
    return ("AIDA" if kind == "user" else "AROA") + digest + (f":{session}" if session else "")


def _document(name: str, content: str) -> bytes:
    return f'<{name} xmlns="{_NAMESPACE}">{content}</{name}>\n'.encode()


def _text(text: str) -> str:
    """Return a text as XML may hold it: escaped, without the characters that XML 1.0 has no place for (section 2.2)."""
    return escape("".join(character if _is_allowed(ord(character)) else "?" for character in text))


def _is_allowed(code: int) -> bool:
    return code in (0x9, 0xA, 0xD) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000
