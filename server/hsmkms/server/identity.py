"""Who a client is: what its certificate says, and which principal the configuration makes of that.

A certificate that does not say clearly who its holder is gets nothing, and so does one whose name is not in the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from cryptography import x509

from hsmkms.core.errors import AccessDeniedException, UnauthenticatedException
from hsmkms.core.model import Principal

MAX_NAME_CHARACTERS: Final = 512
KNOWN_CERTIFICATES: Final = 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """A principal and until when its certificate says so.

    Args:
        principal: The principal.
        expires: When the certificate expires, UTC.
    """

    principal: Principal
    expires: datetime


class Authenticator:
    """Makes principals from client certificates that TLS has verified.

    Args:
        principals: The principals by the name that their certificates have.
        source: What names a client: its one URI SAN, or its subject.
        now: The time, UTC.
    """

    def __init__(
        self,
        principals: Mapping[str, Principal],
        source: Literal["uri-san", "subject"],
        now: Callable[[], datetime],
    ) -> None:
        self._principals = principals
        self._source = source
        self._now = now
        self._known = functools.lru_cache(KNOWN_CERTIFICATES)(self._read)

    def principal(self, certificate_pem: bytes) -> Principal:
        """Return the principal that a certificate names.

        Args:
            certificate_pem: The client's certificate.

        Raises:
            UnauthenticatedException: it names nobody clearly, or has expired since the connection was made.
            AccessDeniedException: its name is not in the table.
        """
        identity = self._known(certificate_pem)
        if identity.expires <= self._now():
            raise UnauthenticatedException("The client certificate has expired: connect with a new one.")
        return identity.principal

    def _read(self, certificate_pem: bytes) -> Identity:
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            name = self._subject(certificate) if self._source == "subject" else self._uri(certificate)
        except (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType) as error:
            raise UnauthenticatedException("The client certificate cannot be read.") from error
        if not name or len(name) > MAX_NAME_CHARACTERS:
            raise UnauthenticatedException(
                f"The client certificate's name is empty or longer than {MAX_NAME_CHARACTERS} characters."
            )
        principal = self._principals.get(name)
        if principal is None:
            raise AccessDeniedException(
                "The client certificate's name is not in the service's table of principals.", detail=f"name {name!r}"
            )
        return Identity(principal, certificate.not_valid_after_utc)

    @staticmethod
    def _uri(certificate: x509.Certificate) -> str:
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = None
        uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
        if len(uris) != 1:
            raise UnauthenticatedException(
                f"The client certificate must have exactly one URI subject alternative name; it has {len(uris)}."
            )
        return uris[0]

    @staticmethod
    def _subject(certificate: x509.Certificate) -> str:
        return certificate.subject.rfc4514_string()
