"""A private certificate authority for tests: ECDSA P-256 certificates for servers and clients, as PEM files.

authority = make_authority(folder)
server = authority.issue("server", dns_names=("localhost",), addresses=("127.0.0.1",))
client = authority.issue("alice", uri="spiffe://example.test/alice")
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key, as files."""

    certificate_file: Path
    private_key_file: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority whose certificate is in `certificate_file`.

    Args:
        folder: Where it writes what it issues.
        certificate: Its own certificate.
        private_key: Its key, which is in no file.
    """

    folder: Path
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_file(self) -> Path:
        """The authority's certificate."""
        return self.folder / "ca.pem"

    def issue(
        self,
        name: str,
        *,
        uri: str | Sequence[str] = (),
        dns_names: Sequence[str] = (),
        addresses: Sequence[str] = (),
        starts: timedelta = -A_DAY,
        expires: timedelta = A_DAY,
    ) -> Issued:
        """Issue a certificate for both ends of TLS.

        Args:
            name: Common name, and the files' name.
            uri: URI SANs: one, several or none; a client's principal is `spiffe://…`.
            dns_names: DNS SANs.
            addresses: IP address SANs.
            starts: When it becomes valid, from now.
            expires: When it stops being valid, from now; negative for one that has expired.
        """
        uris = (uri,) if isinstance(uri, str) else tuple(uri)
        alternatives: list[x509.GeneralName] = [
            *map(x509.UniformResourceIdentifier, uris),
            *map(x509.DNSName, dns_names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            _builder(
                _name(name),
                self.certificate.subject,
                key.public_key(),
                min(now + starts, now + expires - A_DAY),
                now + expires,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        issued = Issued(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        issued.certificate_file.write_bytes(
            builder.sign(self.private_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        issued.private_key_file.touch(mode=0o600)
        issued.private_key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return issued


def make_authority(folder: Path, name: str = "hsm-kms test authority") -> Authority:
    """Make an authority that keeps its files in `folder`, which is made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        _builder(_name(name), _name(name), key.public_key(), now - 30 * A_DAY, now + 30 * A_DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = Authority(folder, certificate, key)
    authority.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return authority


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, starts: datetime, expires: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(expires)
    )
