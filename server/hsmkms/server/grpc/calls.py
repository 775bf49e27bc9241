"""What gRPC says of a call: who makes it, from where, and until when."""

from __future__ import annotations

import functools
import urllib.parse
from typing import Any, Final, TypeAlias

import grpc

from hsmkms.core.errors import DependencyTimeoutException, UnauthenticatedException
from hsmkms.core.model import Principal
from hsmkms.server.identity import Authenticator

DEADLINE_MARGIN_S: Final = 0.05
"""How much earlier than its caller's deadline a request ends here, so that the error still arrives."""
DEADLINE_MARGIN_PART: Final = 0.1
TOO_LATE_S: Final = 0.001
"""A request with less time left than this is not begun: nothing could be done in it, and trying would cost others theirs."""
_REMEMBERED_PEERS: Final = 1024

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def principal_of(context: Context, authenticator: Authenticator) -> Principal:
    """Return who the client's certificate says it is.

    Raises:
        UnauthenticatedException: there is no certificate, or it names nobody clearly, or has expired.
        AccessDeniedException: its name is not in the table of principals.
    """
    for certificate in context.auth_context().get("x509_pem_cert", ()):
        return authenticator.principal(certificate)
    raise UnauthenticatedException("A client certificate is required.")


def seconds_of(
    context: Context, margin_s: float = DEADLINE_MARGIN_S, margin_part: float = DEADLINE_MARGIN_PART
) -> float | None:
    """Return how long the caller waits, less what the answer's way back takes, in seconds; None if it does not say.

    Args:
        context: The call.
        margin_s: What the answer's way back takes at the most.
        margin_part: The most of the time that is kept for it, of 1.

    Raises:
        DependencyTimeoutException: there is no time left.
    """
    remaining = context.time_remaining()
    if remaining is None:
        return None
    if remaining < TOO_LATE_S:
        raise DependencyTimeoutException("The request came too late for its deadline. Give it more time.")
    return float(max(remaining - min(margin_s, remaining * margin_part), 0.0))


def user_agent_of(context: Context) -> str:
    """Return what the caller says it is."""
    agent = next((value for key, value in context.invocation_metadata() or () if key == "user-agent"), "")
    return agent if isinstance(agent, str) else ""


@functools.lru_cache(_REMEMBERED_PEERS)
def address_of(peer: str) -> str:
    """Return the address in what gRPC says of a peer: `ipv4:192.0.2.1:1234`, `ipv6:%5B2001:db8::1%5D:1234`, `unix:…`."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return peer
    return urllib.parse.unquote(rest).rpartition(":")[0].strip("[]")
