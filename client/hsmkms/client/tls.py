"""mTLS: the files that a profile names, checked one by one, as credentials of a gRPC channel.

gRPC takes any bytes as a certificate and fails later, in its own log. So each file is read and parsed here first, once, and what is
wrong is said with the file's name. Whether the server accepts the certificate, its time included, only the server knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from hsmkms.client.errors import ProfileError
from hsmkms.client.profiles import Profile

MAX_FILE_BYTES: Final = 256 * 1024
"""The largest PEM file that is read."""
_PUBLIC: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client proves itself with.

    Args:
        credentials: For the channel; they hold the private key.
        valid_from: When its certificate becomes valid, UTC.
        valid_until: When it expires, UTC.
    """

    credentials: grpc.ChannelCredentials
    valid_from: datetime
    valid_until: datetime

    @property
    def remark(self) -> str:
        """For the text of an error: that the certificate is outside its time, or nothing."""
        now = datetime.now(UTC)
        if now > self.valid_until:
            return f"; it expired on {self.valid_until:%Y-%m-%d at %H:%M} UTC"
        if now < self.valid_from:
            return f"; it is valid only from {self.valid_from:%Y-%m-%d %H:%M} UTC"
        return ""


def load_identity(profile: Profile) -> Identity:
    """Read a profile's files.

    Raises:
        ProfileError: a file is missing, unreadable, too large or not what it should be, or the private key is not the certificate's.
    """
    authority = _read(profile.ca_file, "ca_file")
    _certificate(authority, profile.ca_file, "ca_file")
    chain = _read(profile.certificate_file, "certificate_file")
    certificate = _certificate(chain, profile.certificate_file, "certificate_file")
    private_key = _read(profile.private_key_file, "private_key_file")
    if _public_key(private_key, profile.private_key_file) != certificate.public_key().public_bytes(*_PUBLIC):
        raise ProfileError(
            f"private_key_file {profile.private_key_file} is not the key of certificate_file {profile.certificate_file}"
        )
    return Identity(
        grpc.ssl_channel_credentials(authority, private_key, chain),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
    )


def _read(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"cannot read {setting} {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ProfileError(f"{setting} {path} is larger than {MAX_FILE_BYTES} bytes: it cannot be a PEM file")
    return data


def _certificate(data: bytes, path: Path, setting: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(data)[0]
    except ValueError as error:
        raise ProfileError(f"{setting} {path} holds no PEM certificate, or a damaged one") from error


def _public_key(data: bytes, path: Path) -> bytes:
    try:
        return load_pem_private_key(data, password=None).public_key().public_bytes(*_PUBLIC)
    except TypeError as error:
        raise ProfileError(
            f"private_key_file {path} has a passphrase: store it without one, readable by its owner alone"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ProfileError(f"private_key_file {path} holds no PEM private key, or a damaged one") from error
