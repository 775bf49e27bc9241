"""Who a client is: whom the table has for the name that its certificate says clearly, and nobody otherwise."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from hsmkms.core.authorisation import PolicyAuthorizer
from hsmkms.core.errors import AccessDeniedException, UnauthenticatedException
from hsmkms.core.messages import CreateKeyRequest
from hsmkms.core.model import Principal
from hsmkms.core.operations import perform
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.ports import AuthorisationRequest
from hsmkms.server.identity import MAX_NAME_CHARACTERS, Authenticator
from support.certificates import make_authority
from support.deployment import arn_of
from support.simulated_catalog import PARTITION
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


def principal_of(name, number=0):
    return Principal(name, SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/number-{number}", {"team": "payments"})


def table_of(*names):
    return {name: principal_of(name, number) for number, name in enumerate(names)}


def authenticator(source="uri-san", now=NOW, principals=None):
    return Authenticator(table_of(URI, "CN=alice") if principals is None else principals, source, lambda: now)


@pytest.fixture
def authority(tmp_path):
    return make_authority(tmp_path / "authority")


def refusal_of(pem, source="uri-san", now=NOW):
    with pytest.raises(UnauthenticatedException) as refused:
        authenticator(source, now).principal(pem)
    return refused.value.message


# By URI


def test_the_one_uri_is_the_name_and_the_table_says_whose(authority):
    pem = authority.issue("some name", uri=URI, dns_names=("alice.test",), addresses=("127.0.0.1",))
    assert authenticator().principal(pem.certificate_file.read_bytes()) == principal_of(URI)


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


SUBJECTS = {  # by the name that each of them has in the table
    "CN=alice": ("alice",),
    "CN=admin,CN=alice": ("alice", "admin"),
    "CN=alice\\,CN=admin": ("alice,CN=admin",),
    "CN=ALICE": ("ALICE",),
    "CN=a b": ("a b",),
    "CN=a_b": ("a_b",),
    "CN=a%20b": ("a%20b",),
    "CN=é": ("é",),
    "CN=e\u0301": ("e\u0301",),
}


def test_subjects_that_differ_are_different_principals():
    known = authenticator("subject", principals=table_of(*SUBJECTS))
    found = {name: known.principal(certificate(subject=name_of(*names))) for name, names in SUBJECTS.items()}
    assert found == table_of(*SUBJECTS)
    assert len({principal.arn for principal in found.values()}) == len(SUBJECTS)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_that_only_looks_like_one_in_the_table_is_nobodys(name):
    others = authenticator("subject", principals=table_of(*(SUBJECTS.keys() - {name})))
    with pytest.raises(AccessDeniedException):
        others.principal(certificate(subject=name_of(*SUBJECTS[name])))


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
    known = authenticator(principals=table_of(longest))
    assert known.principal(certificate(extension=uris(longest))).name == longest


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
    known = Authenticator(table_of(URI), "uri-san", lambda: clock[0])
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


# Who is not in the table


@pytest.mark.parametrize(
    "uri",
    ["spiffe://example.test/bob", URI + "/", URI.upper(), URI + " ", "alice", SCOPE.account],
    ids=["another", "a slash more", "upper case", "a space more", "a part of it", "the account"],
)
def test_a_name_that_is_not_in_the_table_is_nobodys(uri):
    with pytest.raises(AccessDeniedException) as refused:
        authenticator().principal(certificate(extension=uris(uri)))
    assert refused.value.message == "The client certificate's name is not in the service's table of principals."
    assert refused.value.detail == f"name {uri!r}", "the log says which name it was"


def test_with_an_empty_table_nobody_is_anybody():
    with pytest.raises(AccessDeniedException):
        authenticator(principals={}).principal(certificate(extension=uris(URI)))
    with pytest.raises(AccessDeniedException):
        authenticator("subject", principals={}).principal(certificate())


@pytest.mark.parametrize("source", ["uri-san", "subject"])
def test_one_kind_of_name_does_not_stand_for_the_other(source):
    pem = certificate(subject=name_of("alice"), extension=uris(URI))
    in_the_table = {"uri-san": "CN=alice", "subject": URI}[source]
    with pytest.raises(AccessDeniedException):
        authenticator(source, principals=table_of(in_the_table)).principal(pem)


# What they may do


async def test_being_in_the_table_allows_nothing_by_itself():
    world = World()
    await perform(world.environment, call_of(), "CreateKey", CreateKeyRequest())
    (key,) = world.catalog.keys.values()
    arn = arn_of(key.key_id)
    everything = parse_policy(
        '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}}',
        PolicyKind.IDENTITY,
    )
    stranger = Principal("bob", OTHER_SCOPE.account, f"arn:aws:iam::{OTHER_SCOPE.account}:user/bob")
    nobody = Principal("carol", SCOPE.account, f"arn:aws:iam::{SCOPE.account}:user/carol")
    policies = {ALICE.arn: (everything,), stranger.arn: (everything,)}
    allows = PolicyAuthorizer(
        PARTITION, world.catalog, policies, world.environment.grant_tokens, world.environment.clock
    ).allows
    for principal, allowed in ((ALICE, True), (nobody, False), (stranger, False)):
        assert allows(AuthorisationRequest(call_of(principal), "kms:Decrypt", arn, key)) is allowed
        own_resource = AuthorisationRequest(call_of(principal), "kms:CreateKey", "*")
        assert allows(own_resource) is (principal is not nobody)
