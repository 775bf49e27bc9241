"""The client library against a real gRPC server over real mTLS, which answers by script."""

from __future__ import annotations

import dataclasses
import inspect
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from hsmkms.client import Client, KmsError, errors
from hsmkms.client.contract import (
    OPERATIONS,
    AliasListEntry,
    DecryptResponse,
    Effect,
    EncryptionAlgorithm,
    GenerateRandomResponse,
    KeyListEntry,
    KeyMaterialState,
    ListAliasesResponse,
    ListKeyRotationsResponse,
    ListKeysResponse,
    ReEncryptResponse,
    RotateKeyOnDemandResponse,
    RotationsListEntry,
    Tag,
    constraint_of,
)
from hsmkms.core.errors import BY_CODE
from hsmkms.core.messages import CreateKeyRequest, Empty, ReEncryptRequest
from support.scripted_server import Refusal, scripted_server

CODE = grpc.StatusCode
MOVED = ReEncryptResponse(
    b"moved",
    "arn:a",
    "arn:b",
    EncryptionAlgorithm.SYMMETRIC_DEFAULT,
    EncryptionAlgorithm.SYMMETRIC_DEFAULT,
    source_key_material_id="a" * 64,
)
NO_KEYS = ListKeysResponse(())
BUSY = Refusal(CODE.RESOURCE_EXHAUSTED, "ThrottlingException", "slow down", retry_delay_s=0.01)
BROKEN = Refusal(CODE.UNAVAILABLE, message="a proxy says so")


@pytest.fixture
def client(make_profile):
    with Client(make_profile()) as client:
        yield client


def method_of(operation):
    return getattr(Client, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation.name).lower())


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.name)
def test_each_method_takes_the_members_of_its_request(operation):
    parameters = dict(inspect.signature(method_of(operation)).parameters)
    del parameters["self"]
    assert (parameters.pop("idempotency_key", None) is not None) == (operation.effect is Effect.CHANGES)
    fields = {field.name: constraint_of(field) for field in dataclasses.fields(operation.request)}
    assert list(parameters) == list(fields)
    document = " ".join(inspect.getdoc(method_of(operation)).split())
    for name, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert (parameter.default is inspect.Parameter.empty) == fields[name].required, name
        assert fields[name].doc[1:] in document, name
    response = inspect.signature(method_of(operation)).return_annotation
    assert response == ("None" if operation.response is Empty else operation.response.__name__)


def test_every_error_of_the_service_can_be_caught_by_name():
    for code, kind in BY_CODE.items():
        assert getattr(errors, code) is kind
        assert issubclass(kind, KmsError)


def test_the_librarys_own_errors_are_none_of_the_services():
    assert not {kind.__name__ for kind in (errors.UnknownKmsError, *errors.ClientError.__subclasses__())} & set(BY_CODE)


def test_a_request_and_its_answer_arrive_as_they_were_sent(client, server):
    server.answers(MOVED)
    answer = client.re_encrypt(
        ciphertext_blob=b"\0sealed\xff",
        source_encryption_context={"tenant": "a", "ключ": "значение"},
        destination_key_id="alias/b",
        source_encryption_algorithm=EncryptionAlgorithm.SYMMETRIC_DEFAULT,
        grant_tokens=["one", "two"],
        dry_run=False,
    )
    assert answer == MOVED
    (received,) = server.received
    assert received.request == ReEncryptRequest(
        ciphertext_blob=b"\0sealed\xff",
        source_encryption_context={"tenant": "a", "ключ": "значение"},
        destination_key_id="alias/b",
        source_encryption_algorithm="SYMMETRIC_DEFAULT",
        grant_tokens=("one", "two"),
        dry_run=False,
    )
    assert received.idempotency_key is None, "it changes nothing"
    assert 0 < received.remaining_s <= 5


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_an_error_has_its_class_text_and_request_id(client, server, code):
    server.answers(Refusal(CODE.FAILED_PRECONDITION, code, f"the text of {code}: ключ"))
    with pytest.raises(BY_CODE[code]) as refused:
        client.list_keys()
    error = refused.value
    assert (error.message, error.code, error.request_id) == (f"the text of {code}: ключ", code, "request-1")
    assert error.retryable is False, "no RetryInfo came with it"
    assert len(server.received) == 1


def test_an_error_of_a_newer_service_keeps_its_name(client, server):
    server.answers(Refusal(CODE.FAILED_PRECONDITION, "XksKeyNotFoundException", "not there"))
    with pytest.raises(KmsError) as refused:
        client.list_keys()
    assert type(refused.value) is errors.UnknownKmsError
    assert (refused.value.code, str(refused.value)) == ("XksKeyNotFoundException", "not there")
    assert refused.value.request_id == "request-1"


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(CODE.NOT_FOUND, "NotFoundException", "another service", domain="example.com"),
        Refusal(CODE.UNIMPLEMENTED, message="what is that"),
        Refusal(CODE.INTERNAL),
    ],
)
def test_a_status_that_is_not_of_this_service_is_an_unexpected_answer(client, server, refusal):
    server.answers(refusal)
    with pytest.raises(errors.UnexpectedAnswer, match=refusal.code.name):
        client.list_keys()
    assert len(server.received) == 1


def test_what_carries_retry_info_is_tried_again_and_not_too_soon(client, server):
    server.answers(Refusal(CODE.UNAVAILABLE, "KeyUnavailableException", retry_delay_s=0.2), BUSY, NO_KEYS)
    before = time.monotonic()
    assert client.list_keys() == NO_KEYS
    assert time.monotonic() - before >= 0.2
    assert len(server.received) == 3


def test_a_broken_connection_is_tried_again(client, server):
    server.answers(BROKEN, NO_KEYS)
    assert client.list_keys() == NO_KEYS


def test_a_senseless_delay_does_no_harm(client, server):
    server.answers(Refusal(CODE.UNAVAILABLE, "KeyUnavailableException", retry_delay_s=-5), NO_KEYS)
    assert client.list_keys() == NO_KEYS


def test_attempts_are_counted(make_profile, server):
    server.answers(BUSY, BUSY, BUSY, BUSY)
    with Client(make_profile(attempts=3)) as client, pytest.raises(errors.ThrottlingException) as refused:
        client.list_keys()
    assert len(server.received) == 3
    assert (refused.value.request_id, refused.value.retryable) == ("request-3", True)
    with Client(make_profile(attempts=1)) as client, pytest.raises(errors.ThrottlingException):
        client.list_keys()
    assert len(server.received) == 4


def test_no_attempt_starts_after_the_deadline(make_profile, server):
    server.answers(Refusal(CODE.UNAVAILABLE, "KeyUnavailableException", retry_delay_s=30), NO_KEYS)
    before = time.monotonic()
    with Client(make_profile(timeout_s=0.5)) as client, pytest.raises(errors.KeyUnavailableException):
        client.list_keys()
    assert time.monotonic() - before < 0.5
    assert len(server.received) == 1


def test_one_deadline_holds_for_all_attempts(make_profile, server):
    server.answers(Refusal(CODE.UNAVAILABLE, "KeyUnavailableException", retry_delay_s=0.3), server.hang)
    before = time.monotonic()
    with Client(make_profile(timeout_s=1)) as client:
        with pytest.raises(errors.DeadlineExceeded, match=r"no answer from 127.0.0.1:\d+ within 1 s"):
            client.list_keys()
        assert 0.9 < time.monotonic() - before < 2
    first, second = (each.remaining_s for each in server.received)
    assert second <= first - 0.3, "the service is told what is left"


def test_the_idempotency_key_is_one_for_all_attempts_and_new_for_each_call(client, server):
    rotated = RotateKeyOnDemandResponse("1234")
    server.answers(BUSY, BROKEN, rotated, rotated, rotated)
    for _ in range(2):
        assert client.rotate_key_on_demand(key_id="1234") == rotated
    client.rotate_key_on_demand(key_id="1234", idempotency_key="mine")
    keys = [each.idempotency_key for each in server.received]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len(keys[0]) == 36
    assert keys[4] == "mine"


@pytest.mark.parametrize("key", ["x" * 129, "ключ", "a\nb"])
def test_a_key_that_cannot_travel_is_refused_before_anything_is_sent(client, server, key):
    with pytest.raises(errors.ValidationException, match="1 to 128 printable ASCII"):
        client.enable_key(key_id="1234", idempotency_key=key)
    assert not server.received


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"key_id": "a", "plaintext": b"x" * 300_000}, "262144 is the most"),
        ({"key_id": "\udcff", "plaintext": b"x"}, "cannot be sent"),
        ({"key_id": "a", "plaintext": b"x", "encryption_algorithm": "ROT13"}, "Value 'ROT13' at 'encryptionAlgorithm'"),
    ],
)
def test_a_request_that_cannot_be_sent_is_a_validation_exception(client, server, members, text):
    with pytest.raises(errors.ValidationException, match=text) as refused:
        client.encrypt(**members)
    assert refused.value.request_id == ""
    assert not server.received


def test_a_number_that_no_message_holds_is_a_validation_exception(client):
    with pytest.raises(errors.ValidationException, match="cannot be sent"):
        client.generate_random(number_of_bytes=2**40)


def test_structures_and_empty_answers(client, server):
    server.answers(Empty(), Refusal(CODE.ALREADY_EXISTS, "AlreadyExistsException", "it is there"))
    assert client.create_alias(alias_name="alias/a", target_key_id="1234") is None
    with pytest.raises(errors.AlreadyExistsException):
        client.create_key(description="", tags=[Tag("team", "payments")])
    assert server.received[1].request == CreateKeyRequest(description="", tags=(Tag("team", "payments"),))


def test_iterators_turn_the_pages(client, server):
    now = datetime(2026, 11, 22, 4, 22, 32, 123456, UTC)
    keys = [KeyListEntry(str(number), f"arn:{number}") for number in range(3)]
    server.answers(ListKeysResponse(tuple(keys[:2]), "next", truncated=True), ListKeysResponse(tuple(keys[2:])))
    assert list(client.iterate_keys(limit=2)) == keys
    assert [(each.request.limit, each.request.marker) for each in server.received] == [(2, None), (2, "next")]
    alias = AliasListEntry("alias/a", "arn:alias", "1", now, now + timedelta(days=1))
    server.answers(ListAliasesResponse((alias,)))
    assert list(client.iterate_aliases(key_id="1")) == [alias]
    rotation = RotationsListEntry("1", "a" * 64, KeyMaterialState.CURRENT)
    server.answers(ListKeyRotationsResponse((rotation,)))
    assert list(client.iterate_key_rotations(key_id="1", include_key_material="ALL_KEY_MATERIAL")) == [rotation]
    assert server.received[-1].request.include_key_material == "ALL_KEY_MATERIAL"


def test_a_service_that_turns_in_circles_is_left(client, server):
    page = ListKeysResponse((KeyListEntry("1", "arn:1"),), "again", truncated=True)
    server.answers(page, page, page)
    with pytest.raises(errors.UnexpectedAnswer, match="same page marker twice"):
        list(client.iterate_keys())


def test_one_client_serves_many_threads(client, server):
    server.answers(*[lambda request: GenerateRandomResponse(bytes(request.number_of_bytes))] * 80)
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda length: client.generate_random(number_of_bytes=length), range(1, 81))
    assert [len(answer.plaintext) for answer in answers] == list(range(1, 81))
    assert len(server.received) == 80


def test_nothing_listens(make_profile):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    before = time.monotonic()
    with (
        Client(make_profile(endpoint=endpoint)) as client,
        pytest.raises(errors.ConnectionFailed, match="nothing listens"),
    ):
        client.list_keys()
    assert time.monotonic() - before < 3


def test_a_name_that_nobody_has(make_profile):
    profile = make_profile(endpoint="kms.invalid:1", timeout_s=2)
    with Client(profile) as client, pytest.raises(errors.ClientError) as failed:
        client.list_keys()
    if not isinstance(
        failed.value, errors.DeadlineExceeded
    ):  # a resolver that is out of reach takes longer than we wait
        assert isinstance(failed.value, errors.ConnectionFailed)
        assert "cannot reach kms.invalid:1: " in str(failed.value)


def test_a_server_that_does_not_speak(make_profile):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        profile = make_profile(endpoint=f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.5)
        with Client(profile) as client, pytest.raises(errors.DeadlineExceeded):
            client.list_keys()


def test_a_service_that_comes_back_is_found_again(identities, make_profile):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    with Client(make_profile(endpoint=endpoint, attempts=10, timeout_s=10)) as client:
        answers = []
        caller = threading.Thread(target=lambda: answers.append(client.list_keys()))
        caller.start()
        time.sleep(0.5)
        with scripted_server(identities.authority, identities.server, endpoint=endpoint) as late:
            late.answers(NO_KEYS)
            caller.join()
    assert answers == [NO_KEYS]


def test_a_server_of_another_authority_is_refused_at_once(make_profile, identities, server):
    profile = make_profile(ca_file=identities.stranger.certificate_file)
    with Client(profile) as client, pytest.raises(errors.TlsRefused, match=f"authority in {profile.ca_file}"):
        client.list_keys()
    assert not server.received


def test_a_server_of_another_name_is_refused_unless_that_name_is_expected(make_profile, server):
    profile = make_profile(server_name="other.example.test")
    with (
        Client(profile) as client,
        pytest.raises(errors.TlsRefused, match=r"no certificate for 'other\.example\.test'"),
    ):
        client.list_keys()
    server.answers(NO_KEYS)
    with Client(make_profile(server_name="kms.example.test")) as client:
        assert client.list_keys() == NO_KEYS


def test_a_client_certificate_that_the_server_refuses(make_profile, identities, server):
    old = identities.authority.issue("old", uri="spiffe://example.test/old", expires=-timedelta(hours=1))
    foreign = identities.stranger.issue("foreign", uri="spiffe://example.test/alice")
    for issued, remark in ((old, "; it expired on 20"), (foreign, "foreign.pem$")):
        profile = make_profile(
            certificate_file=issued.certificate_file, private_key_file=issued.private_key_file, attempts=2
        )
        with Client(profile) as client, pytest.raises(errors.ConnectionFailed, match="may not accept.*" + remark):
            client.list_keys()
    assert not server.received


def test_a_closed_client_says_so(make_profile):
    client = Client(make_profile(attempts=1))
    client.close()
    client.close()
    with pytest.raises(errors.ConnectionFailed, match="the client is closed"):
        client.list_keys()


def test_no_secret_is_in_a_repr(client, server):
    server.answers(DecryptResponse("arn:a", b"very secret", EncryptionAlgorithm.SYMMETRIC_DEFAULT))
    assert "very secret" not in repr(client.decrypt(ciphertext_blob=b"sealed"))
    assert "PRIVATE" not in repr(vars(client)) + repr(client._transport._identity)


def test_the_packages_face_can_be_imported_without_grpc():
    script = "import sys, hsmkms.client as c; assert 'grpc' not in sys.modules; c.Client; assert 'grpc' in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)
