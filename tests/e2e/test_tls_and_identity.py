"""Who gets in: TLS 1.3, certificates of the configured authority, exactly one name."""

from __future__ import annotations

import socket
import ssl
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from hsmkms.client import Client, Profile, errors
from hsmkms.wire import SERVICE
from support.certificates import Issued, make_authority
from support.service import Service, eventually, make_deployment, running


def tls_context(service: Service, issued: Issued | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(service.deployment.authority.certificate_file))
    context.set_alpn_protocols(["h2"])
    if issued is not None:
        context.load_cert_chain(issued.certificate_file, issued.private_key_file)
    return context


def negotiated(service: Service, context: ssl.SSLContext) -> str | None:
    """Return the version of TLS in which the service says its first word, or None when it says none."""
    host, port = service.address.rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        try:
            return connection.version() if connection.recv(1) else None
        except (ssl.SSLError, ConnectionResetError):
            return None


def channel(service: Service, issued: Issued) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(
        service.deployment.authority.certificate_file.read_bytes(),
        issued.private_key_file.read_bytes(),
        issued.certificate_file.read_bytes(),
    )
    return grpc.secure_channel(service.address, credentials)


def test_tls_1_3_is_spoken_and_1_2_is_not(service: Service) -> None:
    context = tls_context(service, service.deployment.certificate("operator"))
    assert negotiated(service, context) == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        negotiated(service, context)


def test_without_a_client_certificate_nobody_gets_in(service: Service) -> None:
    assert negotiated(service, tls_context(service, None)) is None


def test_certificates_of_another_authority_are_nothing(service: Service, tmp_path: Path) -> None:
    stranger = make_authority(tmp_path / "other").issue("stranger", uri="spiffe://test/operator")
    profile = service.profile(certificate_file=stranger.certificate_file, private_key_file=stranger.private_key_file)
    with Client(profile) as client, pytest.raises(errors.ClientError):
        client.list_keys()


@pytest.mark.parametrize("uris", [(), ("spiffe://test/a", "spiffe://test/b")], ids=["none", "two"])
def test_a_certificate_must_name_exactly_one_principal(service: Service, uris: tuple[str, ...]) -> None:
    name = f"named-{len(uris)}-times"
    issued = service.deployment.authority.issue(name, uri=uris)
    profile = service.profile(certificate_file=issued.certificate_file, private_key_file=issued.private_key_file)
    with Client(profile) as client, pytest.raises(errors.UnauthenticatedException) as refused:
        client.list_keys()
    assert refused.value.message.endswith(f"exactly one URI subject alternative name; it has {len(uris)}.")


def test_a_certificate_that_expires_on_a_live_connection_is_worth_nothing_more(service: Service) -> None:
    issued = service.deployment.authority.issue("short", uri="spiffe://test/short", expires=timedelta(seconds=3))
    profile = service.profile(certificate_file=issued.certificate_file, private_key_file=issued.private_key_file)
    with Client(profile) as client:
        client.list_keys()

        def is_refused() -> bool:
            try:
                client.list_keys()
            except errors.UnauthenticatedException as error:
                return "has expired" in error.message
            return False

        eventually(is_refused, 10, "the refusal of the expired certificate")


def test_health_and_reflection(service: Service) -> None:
    with channel(service, service.deployment.certificate("operator")) as connection:
        stub = health_pb2_grpc.HealthStub(connection)
        for name in ("", SERVICE):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        database = ProtoReflectionDescriptorDatabase(connection)
        assert SERVICE in database.get_services()
        described = database.FindFileContainingSymbol(SERVICE)
        assert described.name == "hsmkms/v1/kms.proto"


def test_probes_need_no_certificate(service: Service) -> None:
    assert service.get("/livez") == (200, "ok\n")
    assert service.get("/readyz") == (200, "ok\n")
    status, text = service.get("/metrics")
    assert status == 200
    for name in (
        "hsm_kms_requests_total",
        "hsm_kms_request_duration_seconds_bucket",
        "hsm_kms_token_call_duration_seconds_bucket",
        "hsm_kms_token_queue_depth",
        "hsm_kms_worker_starts_total",
        "hsm_kms_reencrypted_ciphertexts_total",
        "hsm_kms_ready 1.0",
    ):
        assert name in text
    assert service.get("/")[0] == 404


def test_new_certificates_are_taken_without_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    deployment = make_deployment(tmp_path_factory.mktemp("rotated"))
    with running(deployment) as service:
        service.client().list_keys()
        next_authority = make_authority(deployment.folder / "next")
        for name, kind in (("server", {"dns_names": ["localhost"], "addresses": ["127.0.0.1"]}), ("operator", {})):
            next_authority.issue(name, uri=f"spiffe://test/{name}", **kind)
        tls = deployment.authority.folder
        for name in ("server.key", "server.pem", "ca.pem"):
            (next_authority.folder / name).replace(tls / f"{name}.new")
            (tls / f"{name}.new").replace(tls / name)
        profile = Profile(
            endpoint=service.address,
            ca_file=tls / "ca.pem",
            certificate_file=next_authority.folder / "operator.pem",
            private_key_file=next_authority.folder / "operator.key",
        )

        def gets_in() -> bool:
            with Client(profile) as client:
                return client.list_keys().keys is not None

        eventually(gets_in, 10, "the new certificates")
        old = service.profile(ca_file=tls / "ca.pem")
        with Client(old) as client, pytest.raises(errors.ClientError):
            client.list_keys()
