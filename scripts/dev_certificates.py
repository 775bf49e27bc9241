"""A private CA with one server and one client certificate, for development on loopback.

`ensure_certificates` may run any number of times: what is there, fits together and is good for another 30 days stays as it is.
Keys are ECDSA P-256, files of keys have mode 0600.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT_URI = "spiffe://hsm-kms.local/operator"
CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=397)
RENEW_BEFORE = timedelta(days=30)
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, as files."""

    certificate_file: Path
    private_key_file: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """All that the service and its first client need."""

    ca: KeyPair
    server: KeyPair
    client: KeyPair


@dataclass(frozen=True, slots=True)
class _Loaded:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def ensure_certificates(folder: Path) -> Certificates:
    """Make whatever of the CA and the two certificates is missing, damaged or about to expire.

    Args:
        folder: Where the files are; made with mode 0700 if it is missing.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificates = Certificates(
        *(KeyPair(folder / f"{n}.pem", folder / f"{n}-key.pem") for n in ("ca", "server", "client"))
    )
    ca = _load(certificates.ca)
    if ca is None:
        ca = _make_ca(certificates.ca)
    loopback = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(ip)) for ip in ("127.0.0.1", "::1"))]
    _ensure_leaf(certificates.server, ca, "hsm-kms", loopback, ExtendedKeyUsageOID.SERVER_AUTH)
    operator = [x509.UniformResourceIdentifier(CLIENT_URI)]
    _ensure_leaf(certificates.client, ca, "operator", operator, ExtendedKeyUsageOID.CLIENT_AUTH)
    return certificates


def _load(files: KeyPair) -> _Loaded | None:
    """Return the pair if it is whole and not about to expire, else None."""
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate_file.read_bytes())
        key = serialization.load_pem_private_key(files.private_key_file.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    if certificate.not_valid_after_utc - RENEW_BEFORE <= datetime.now(UTC):
        return None
    return _Loaded(certificate, key)


def _ensure_leaf(
    files: KeyPair, ca: _Loaded, name: str, san: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier
) -> None:
    leaf = _load(files)
    if leaf is not None:
        try:
            leaf.certificate.verify_directly_issued_by(ca.certificate)
        except (InvalidSignature, ValueError):
            leaf = None
    if leaf is None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(name), ca.certificate.subject, key, LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(san), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        )
        _save(files, _Loaded(builder.sign(ca.key, hashes.SHA256()), key))


def _make_ca(files: KeyPair) -> _Loaded:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("hsm-kms development CA")
    builder = (
        _builder(name, name, key, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(digital_signature=False), critical=True)
    )
    ca = _Loaded(builder.sign(key, hashes.SHA256()), key)
    _save(files, ca)
    return ca


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, digital_signature: bool) -> x509.KeyUsage:
    """A leaf signs handshakes; the CA signs certificates and revocation lists."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=not digital_signature,
        crl_sign=not digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _save(files: KeyPair, pair: _Loaded) -> None:
    pem = serialization.Encoding.PEM
    pkcs8 = serialization.PrivateFormat.PKCS8
    write_private(files.private_key_file, pair.key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    write_private(files.certificate_file, pair.certificate.public_bytes(pem))


def write_private(path: Path, content: bytes) -> None:
    """Write a file with mode 0600, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
