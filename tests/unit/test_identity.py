"""Who a client is: what its certificate says clearly, and nobody otherwise."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from hsmkms.core.errors import UnauthenticatedException
from hsmkms.core.messages import CreateKeyRequest
from hsmkms.core.model import Principal
from hsmkms.core.operations import perform
from hsmkms.core.ports import AuthorisationRequest
from hsmkms.server.identity import MAX_NAME_CHARACTERS, Authenticator, CertifiedClients
from support.certificates import make_authority
from support.simulator import ALICE, OTHER_SCOPE, SCOPE, World, call_of

NOW = datetime.now(UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
URI = "spiffe://example.test/alice"


def name_of(*common_names):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])


def certificate(*, subject=None, extension=None):
    """A certificate that no careful authority would issue."""
    subject = name_of("alice") if subject is None else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(name_of("authority"))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def raw_names(der):
    return x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)


def uris(*values):
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(value) for value in values])


def authenticator(source="uri-san", now=NOW):
    return Authenticator("aws", SCOPE.account, source, lambda: now)


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path / "authority")


def refusal_of(pem, source="uri-san", now=NOW):
    with pytest.raises(UnauthenticatedException) as refused:
        authenticator(source, now).principal(pem)
    return refused.value.message


# By URI


def test_the_one_uri_is_the_name(authority):
    pem = authority.issue("some name", uri=URI, dns_names=("alice.test",), addresses=("127.0.0.1",))
    assert authenticator().principal(pem.certificate_file.read_bytes()) == Principal(
        URI, SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/{URI}"
    )


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ({}, 0),
        ({"dns_names": ("alice.test",)}, 0),
        ({"uri": (URI, "spiffe://example.test/root")}, 2),
        ({"uri": (URI, URI)}, 2),
    ],
    ids=["no names", "no URI", "two URIs", "the same twice"],
)
def test_a_certificate_without_exactly_one_uri_names_nobody(authority, names, count):
    pem = authority.issue("alice", **names).certificate_file.read_bytes()
    expected = f"The client certificate must have exactly one URI subject alternative name; it has {count}."
    assert refusal_of(pem) == expected


def test_the_subject_is_not_looked_at():
    assert authenticator().principal(certificate(extension=uris(URI))).name == URI
    assert "it has 0" in refusal_of(certificate(subject=name_of(URI)))


# By subject


def test_the_subject_is_the_name_where_it_is_configured(authority):
    pem = authority.issue("alice", uri=(URI, "spiffe://example.test/more")).certificate_file.read_bytes()
    assert authenticator("subject").principal(pem).name == "CN=alice"


def test_subjects_that_differ_are_different_principals():
    names = [
        ("alice",),
        ("alice", "admin"),
        ("alice,CN=admin",),
        ("ALICE",),
        ("a b",),
        ("a_b",),
        ("a%20b",),
        ("é",),
        ("e\u0301",),
    ]
    principals = [authenticator("subject").principal(certificate(subject=name_of(*name))) for name in names]
    assert len({principal.name for principal in principals}) == len(names)
    assert len({principal.arn for principal in principals}) == len(names), "an ARN stands for its principal everywhere"
    assert all(principal.arn.isascii() and " " not in principal.arn for principal in principals)


def test_an_empty_subject_names_nobody():
    assert "empty or longer than" in refusal_of(certificate(subject=x509.Name([])), "subject")


# What is no name


@pytest.mark.parametrize("length", [0, MAX_NAME_CHARACTERS + 1])
def test_an_empty_or_overlong_uri_names_nobody(length):
    assert refusal_of(certificate(extension=uris("u" * length))) == (
        f"The client certificate's name is empty or longer than {MAX_NAME_CHARACTERS} characters."
    )


def test_a_name_may_have_512_characters():
    longest = "u" * MAX_NAME_CHARACTERS
    assert authenticator().principal(certificate(extension=uris(longest))).name == longest


@pytest.mark.parametrize(
    "pem",
    [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", certificate()[:-60]],
    ids=["nothing", "words", "no certificate", "cut"],
)
def test_what_cannot_be_read_names_nobody(pem):
    assert refusal_of(pem) == "The client certificate cannot be read."


@pytest.mark.parametrize(
    "der",
    [
        b"\x30\x03\x86\x01",
        b"\x00",
        bytes.fromhex("3007a505a1030c0178"),
        bytes.fromhex("3004860201ff"),
    ],
    ids=["cut", "no sequence", "EDI party name", "URI that is no text"],
)
def test_alternative_names_that_cannot_be_read_name_nobody(der):
    assert refusal_of(certificate(extension=raw_names(der))) == "The client certificate cannot be read."


# In time


def test_a_certificate_that_expires_on_an_open_connection_is_refused_from_then_on():
    pem = certificate(extension=uris(URI))
    expires = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    clock = [expires - timedelta(microseconds=1)]
    known = Authenticator("aws", SCOPE.account, "uri-san", lambda: clock[0])
    assert known.principal(pem).name == URI
    clock[0] = expires
    with pytest.raises(UnauthenticatedException, match="has expired: connect with a new one"):
        known.principal(pem)


def test_who_was_refused_is_judged_anew_each_time():
    known = authenticator()
    for _ in range(2):
        with pytest.raises(UnauthenticatedException):
            known.principal(b"no PEM")
    assert known.principal(certificate(extension=uris(URI))).name == URI


# What it may do


async def test_certified_clients_may_do_everything_in_their_own_account_and_nothing_in_others():
    world = World()
    await perform(world.environment, call_of(), "CreateKey", CreateKeyRequest())
    (key,) = world.catalog.keys.values()
    allowed = CertifiedClients().allows
    assert allowed(AuthorisationRequest(call_of(), "kms:CreateKey", "*"))
    assert allowed(AuthorisationRequest(call_of(), "kms:Decrypt", "arn", key))
    stranger = Principal("bob", OTHER_SCOPE.account, ALICE.arn)
    assert not allowed(AuthorisationRequest(call_of(stranger), "kms:Decrypt", "arn", key))
