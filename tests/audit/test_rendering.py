"""A record is put together from pieces that are kept: it is the same, to the byte, as one made anew and encoded whole."""

from __future__ import annotations

import dataclasses
import tracemalloc
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsmkms.core import audit_requests
from hsmkms.core.audit import Chain, Event, line_hash
from hsmkms.core.audit_requests import MAX_KEPT_PIECE, MAX_RECORD_BYTES, RequestRecords
from hsmkms.core.messages import (
    OPERATIONS,
    CreateGrantResponse,
    DecryptRequest,
    DeleteAliasRequest,
    DisableKeyRequest,
    EncryptResponse,
    GenerateDataKeyRequest,
    ReEncryptRequest,
    ReEncryptResponse,
    ScheduleKeyDeletionRequest,
    UntagResourceRequest,
)
from hsmkms.core.model import EncryptionAlgorithm, Principal, Scope
from support import reference_records

SCOPE = Scope("111122223333", "eu-central-1")
ANA = Principal("spiffe://test/ana", "444455556666", "arn:aws:iam::444455556666:user/ana")
SOURCE = "arn:aws:kms:eu-central-1:111122223333:key/11111111-1111-4111-8111-111111111111"
DESTINATION = "arn:aws:kms:eu-central-1:444455556666:key/22222222-2222-4222-8222-222222222222"
SYMMETRIC = EncryptionAlgorithm.SYMMETRIC_DEFAULT

ODD = ("", "plain", 'quo"ted', "back\\slash", "\x00\n\x7f", "grün\u2028", "🗝", "\ud800", "{}%s", "…", SOURCE)
LONG = ("x" * 300, "y" * 8193, "€" * 3000)
texts = st.sampled_from((*ODD, *LONG)) | st.text(st.characters(), max_size=5)
arns = st.sampled_from((SOURCE, DESTINATION, 'arn:aws:kms::1"2:key/ü'))


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Return what makes values of that type: few different ones, so that pieces are met again."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is Mapping:
        maps = st.dictionaries(texts, texts, max_size=3)
        return maps | maps.map(MappingProxyType)
    if arguments:
        return st.one_of(*(st.none() if kind is type(None) else values(kind) for kind in arguments))
    if dataclasses.is_dataclass(annotation):
        return messages(annotation)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    known: dict[Any, st.SearchStrategy[Any]] = {
        bytes: st.just(b"blob"),
        bool: st.booleans(),
        int: st.sampled_from((0, 1, 7)),
        datetime: st.just(datetime(2025, 1, 1, tzinfo=UTC)),
    }
    return known.get(annotation, texts)


def messages(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: values(hints[field.name]) for field in dataclasses.fields(kind)})


def events(name: str) -> st.SearchStrategy[Event]:
    operation = OPERATIONS.get(name)
    return st.builds(
        Event,
        operation=st.just(name),
        request_id=texts,
        event_id=texts,
        time_us=st.integers(-1, 1) | st.integers(1_700_000_000_000_000, 1_700_000_001_000_000),
        partition=st.just("aws"),
        scope=st.sampled_from((SCOPE, Scope("111122223333", "us-east-1"), Scope("444455556666", "eu-central-1"))),
        source_address=texts,
        user_agent=texts,
        principal=st.none() | st.sampled_from((ANA, dataclasses.replace(ANA, name="ü"))),
        request=st.none() if operation is None else st.none() | messages(operation.request),
        response=st.none() if operation is None else st.none() | messages(operation.response),
        touched=st.lists(arns, max_size=3),
        error_code=st.sampled_from(("", "NotFoundException")),
        error_message=texts,
        batch_id=st.sampled_from(("", "batch")),
    )


@pytest.mark.parametrize("name", [*OPERATIONS, "DeleteKey"])
def test_every_record_is_what_the_plain_way_makes_of_it(name: str) -> None:
    records = RequestRecords()

    @settings(max_examples=30, deadline=None)
    @given(events(name))
    def check(event: Event) -> None:
        expected = reference_records.body(event)
        assert records.body(event) == expected
        assert records.body(event) == expected, "from what was kept"

    check()


def an_event(request: Any = None, **members: Any) -> Event:
    operation = type(request).__name__.removesuffix("Request") if request is not None else "ReEncrypt"
    usual: dict[str, Any] = {"operation": operation, "request_id": "r", "event_id": "e", "time_us": 0}
    return Event(**{**usual, "partition": "aws", "scope": SCOPE, "request": request, **members})


def kept(records: RequestRecords) -> list[int]:
    return [len(pieces) for pieces in (records._frames, records._parameters, records._outcomes)]


def test_values_that_are_equal_and_not_the_same_are_not_confused() -> None:
    requests: list[Any] = [
        DecryptRequest(key_id="k", dry_run=dry_run)  # type: ignore[arg-type]
        for dry_run in (True, 1, 1.0, "1", False, 0, -0.0, "", None)
    ]
    requests += [ScheduleKeyDeletionRequest("k", days) for days in (1, True, None)]  # type: ignore[arg-type]
    requests += [
        GenerateDataKeyRequest(key_id="1", number_of_bytes=1),
        GenerateDataKeyRequest(key_id="1", key_spec="1"),
    ]
    requests += [DecryptRequest(key_id=odd) for odd in ("1", 1, True, ("1",), ["1"], {"1": "1"}, (("1", "1"),))]  # type: ignore[arg-type]
    requests += [
        DecryptRequest(encryption_context=context)
        for context in ({"a": "1"}, {"a": 1}, {"a": True}, [("a", "1")], (("a", "1"),), None, (), "", {"a": ("1",)})  # type: ignore[arg-type]
    ]
    requests += [DecryptRequest(encryption_context=context) for context in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})]
    requests += [UntagResourceRequest("k", tags) for tags in (("1",), (1,), (True,), ["1"], "1", ("1", "1"))]  # type: ignore[arg-type]
    requests += [DeleteAliasRequest(alias_name="1"), DisableKeyRequest(key_id="1")]
    for ordered in (requests, requests[::-1]):
        records = RequestRecords()
        for request in (*ordered, *ordered):
            assert records.body(an_event(request)) == reference_records.body(an_event(request)), request


def test_one_caller_s_pieces_are_not_another_s() -> None:
    request = ReEncryptRequest(destination_key_id="k")
    callers = [
        {"principal": who, "source_address": address, "user_agent": agent, "scope": scope, "operation": operation}
        for who in (None, ANA, dataclasses.replace(ANA, account="111122223333"), dataclasses.replace(ANA, name=""))
        for address, agent in (("a", "b"), ("b", "a"))
        for scope in (SCOPE, Scope("999999999999", "eu-central-1"))
        for operation in ("ReEncrypt", "CreateKey", "RotateKey")
    ]
    records = RequestRecords()
    for caller in callers * 2:
        assert records.body(an_event(request, **caller)) == reference_records.body(an_event(request, **caller))
    assert kept(records)[0] == len(callers)


def test_one_answer_s_pieces_are_not_another_s() -> None:
    answers = [
        {"response": response, "touched": touched, "batch_id": batch_id}
        for response in (
            None,
            ReEncryptResponse(b"", SOURCE, DESTINATION, SYMMETRIC, SYMMETRIC),
            ReEncryptResponse(b"", SOURCE, DESTINATION, SYMMETRIC, SYMMETRIC, "a", None),
            ReEncryptResponse(b"", SOURCE, DESTINATION, SYMMETRIC, SYMMETRIC, None, "a"),
            EncryptResponse(b"", "a", SYMMETRIC),
            CreateGrantResponse("token", "a"),
        )
        for touched in ([], [SOURCE], [SOURCE, DESTINATION], [DESTINATION, SOURCE])
        for batch_id in ("", "one", "two")
    ]
    records = RequestRecords()
    for answer in answers * 2:
        assert records.body(an_event(**answer)) == reference_records.body(an_event(**answer))
    assert kept(records)[2] == len(answers) / 3, "a batch's id is in no piece"


def test_pieces_are_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*_: object) -> None:
        raise AssertionError("rendered again")

    def one(number: int) -> Event:
        request = ReEncryptRequest(destination_key_id=f"key {number // 10}", source_encryption_context={"a": "b"})
        response = ReEncryptResponse(b"", SOURCE, DESTINATION, SYMMETRIC, SYMMETRIC, "a", "b")
        members = {"response": response, "touched": [SOURCE], "principal": ANA, "request_id": f"r{number}"}
        return an_event(request, time_us=number, **members)

    records = RequestRecords()
    records.body(one(1))
    for renderer in ("encode", "_texts_alone", "_frame", "_outcome", "request_parameters"):
        monkeypatch.setattr(audit_requests, renderer, again)
    assert records.body(one(2)) == reference_records.body(one(2))


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_requests, "MAX_KEPT", 20_000)
    records = RequestRecords()
    most = [0, 0, 0]
    for number in range(500):
        arn = f"{SOURCE[:-12]}{number:012}"
        event = an_event(ReEncryptRequest(destination_key_id=arn), user_agent=f"agent {number}", touched=[arn])
        assert records.body(event) == reference_records.body(event)
        most = list(map(max, most, kept(records)))
        for pieces in (records._frames, records._parameters, records._outcomes):
            assert 0 < pieces.size <= 20_000
    assert all(1 < count < 100 for count in most)


CONTEXTS = {
    "many short texts": lambda: {
        f"{letter}{other}": f"{other}{letter}" for letter in "abcdefghijklm" for other in "0123456789"
    },
    "few texts of wide characters": lambda: {letter: f"{letter * 50}🗝" for letter in "abcdefghijklmnopqrst"},
}


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_what_is_kept_takes_no_more_memory_than_it_may(
    monkeypatch: pytest.MonkeyPatch, context: Callable[[], dict[str, str]]
) -> None:
    most = 1 << 20
    monkeypatch.setattr(audit_requests, "MAX_KEPT", most)
    records = RequestRecords()
    records.body(an_event(DecryptRequest(encryption_context=context())))
    taken = []
    tracemalloc.start()
    for number in range(300):
        records.body(an_event(DecryptRequest(key_id=str(number), encryption_context=context())))
        taken.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert most / 2 < max(taken) < most * 1.1
    assert min(taken[100:]) < most / 4, "all of it was forgotten"


def test_what_is_long_or_was_cut_is_not_kept() -> None:
    records = RequestRecords()
    events = (
        an_event(DecryptRequest(key_id="k" * 2048, encryption_algorithm="a"), touched=[SOURCE] * 20),
        an_event(DecryptRequest(key_id="k" * 5000), touched=[f"{SOURCE}{'1' * MAX_KEPT_PIECE}"]),
        an_event(UntagResourceRequest("k", tuple(map(str, range(2000)))), user_agent="a" * 257, touched=[SOURCE] * 20),
    )
    for event in events:
        assert records.body(event) == reference_records.body(event)
    assert kept(records) == [1, 0, 0], "the first two have one caller"


def test_the_bound_of_a_record_is_met_exactly() -> None:
    def body(length: int) -> str:
        event = an_event(error_code="KMSInternalException", error_message="x" * length)
        text = RequestRecords().body(event)
        assert text == reference_records.body(event)
        return text

    room = MAX_RECORD_BYTES - len(body(1))  # one for the brace, one for the letter
    assert '"requestParameters":null' in body(room)
    assert len(body(room)) == MAX_RECORD_BYTES - 1
    assert '"requestParameters":{"omitted":true,"originalSize":4,' in body(room + 1)


def test_a_line_is_the_chain_s_members_and_the_body() -> None:
    chain = Chain("c" * 32)
    first = chain.append('"recordType":"request"}')
    second = chain.seal({"recordType": "end"})
    assert (
        first
        == f'{{"chainId":"{"c" * 32}","sequence":0,"previousHash":"{"0" * 64}","recordType":"request"}}\n'.encode()
    )
    assert second == (
        f'{{"chainId":"{"c" * 32}","sequence":1,"previousHash":"{line_hash(first[:-1])}","recordType":"end"}}\n'.encode()
    )
