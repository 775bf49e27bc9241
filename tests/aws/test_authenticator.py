"""From the bytes of a request to the principal of the configuration: who gets in, who does not, and what stays in memory."""

import asyncio
import gc
from dataclasses import replace
from datetime import timedelta

import pytest

from aws.helpers import ACCESS_KEY_ID, BODY, FORM_HEADERS, NOW, NOW_US, REGION, SECRET, changed, signed
from hsmkms.core.access_keys import AccessKey, AccessKeyStatus
from hsmkms.core.errors import AccessDeniedException, KeyUnavailableException, KmsError
from hsmkms.core.model import Principal
from hsmkms.server.aws import authenticator as module
from hsmkms.server.aws.authenticator import Authenticator, idempotency_key
from hsmkms.server.aws.errors import (
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from hsmkms.server.aws.last_uses import LastUses
from hsmkms.server.catalog.access_key_index import AccessKeyIndex
from hsmkms.server.catalog.rows import AccessKeyRow

ALICE = Principal("spiffe://x/alice", "111122223333", "arn:aws:iam::111122223333:user/alice", {"team": "a"})
BOB = Principal("spiffe://x/bob", "111122223333", "arn:aws:iam::111122223333:user/bob")
KEY = AccessKey(ACCESS_KEY_ID, ALICE.account, ALICE.name, AccessKeyStatus.ACTIVE, 1, sealed=b"sealed")
UNRECOGNIZED = "The security token included in the request is invalid."
NO_MATCH = "The request signature we calculated does not match the signature you provided."


class House:
    """An authenticator, the access keys that it knows, and what it has the token open."""

    def __init__(self, *keys):
        self.index = AccessKeyIndex()
        self.sequence = 0
        self.now_us = NOW_US
        self.opened: list[str] = []
        self.secrets = {ACCESS_KEY_ID: SECRET}
        self.asked = asyncio.Event()
        self.token_works = asyncio.Event()
        self.token_works.set()
        self.stale = False
        self.written = []
        self.uses = LastUses(self._write)
        self.principals = {ALICE.name: ALICE, BOB.name: BOB}
        self.authenticator = Authenticator(
            self.index, self._require_fresh, self.principals, self._open, REGION, lambda: self.now_us, self.uses
        )
        for key in keys or (KEY,):
            self.put(key)

    def put(self, key, *, deleted=False):
        self.sequence += 1
        self.index.apply([AccessKeyRow(self.sequence, key, deleted)])

    async def _write(self, uses):
        self.written += uses

    def _require_fresh(self):
        if self.stale:
            raise KeyUnavailableException("The key catalog cannot be reached. Try again later.")

    async def _open(self, key):
        self.opened.append(key.access_key_id)
        self.asked.set()
        await self.token_works.wait()
        return self.secrets[key.access_key_id].encode()

    async def ask(self, request=None, service="kms", certified=None):
        return await self.authenticator.authenticate(request or signed(), service, certified)

    async def refusal(self, request=None, service="kms", certified=None):
        with pytest.raises(KmsError) as refused:
            await self.ask(request, service, certified)
        return type(refused.value), refused.value.message

    @property
    def in_memory(self):
        return list(self.authenticator._loaded)


async def test_who_signs_with_an_access_key_is_its_principal():
    house = House()
    found = await house.ask()
    assert found.principal is ALICE
    assert found.access_key_id == ACCESS_KEY_ID
    assert (found.signed.scope.region, found.signed.scope.service) == (REGION, "kms")
    sts = signed(service="sts", headers=FORM_HEADERS, body=b"Action=GetCallerIdentity&Version=2011-06-15")
    assert (await house.ask(sts, "sts")).principal is ALICE


async def test_one_signature_has_one_idempotency_key():
    house = House()
    first = await house.ask()
    again = await house.ask()
    later = await house.ask(signed(at=NOW + timedelta(seconds=1)))
    other = await house.ask(signed(body=b"{}"))
    assert first.idempotency_key == again.idempotency_key == idempotency_key(first.signed)
    assert len({first.idempotency_key, later.idempotency_key, other.idempotency_key}) == 3
    assert len(first.idempotency_key) == 70
    assert first.idempotency_key.isascii()
    assert first.idempotency_key.isprintable()
    assert first.signed.signature not in first.idempotency_key
    retried = await house.ask(changed(signed(), amz_sdk_invocation_id="3f2c"))
    assert (first.invocation_id, retried.invocation_id) == (None, "3f2c")


@pytest.mark.parametrize("request_of", [
    lambda: signed(secret=SECRET[:-1] + "x"),
    lambda: replace(signed(), body=BODY + b" "),
    lambda: replace(signed(), method="PUT"),
    lambda: changed(signed(), x_amz_target="TrentService.Decrypt"),
    lambda: changed(signed(), host="other.example.test"),
    lambda: changed(signed(), content_type="application/x-www-form-urlencoded"),
])  # fmt: skip
async def test_a_signature_of_something_else(request_of):
    kind, text = await House().refusal(request_of())
    assert kind is InvalidSignatureException
    assert text.startswith(NO_MATCH)


async def test_what_is_not_signed_or_not_for_here_or_not_of_now():
    house = House()
    assert (await house.refusal(changed(signed(), authorization=None)))[0] is MissingAuthenticationTokenException
    for request, told in (
        (signed(region="us-east-1"), "valid region"),
        (signed(service="s3"), "correct service: 'kms'"),
        (signed(service="sts"), "correct service: 'kms'"),
        (signed(at=NOW - timedelta(minutes=6)), "Signature expired"),
        (signed(at=NOW + timedelta(minutes=6)), "Signature not yet current"),
    ):
        kind, text = await house.refusal(request)
        assert kind is InvalidSignatureException
        assert told in text
    assert (await house.refusal(signed(), "sts"))[0] is InvalidSignatureException
    assert house.opened == []


async def test_access_keys_that_may_not_be_used_are_all_refused_alike():
    unknown = signed(access_key_id="AKIAZZZZZZZZZZZZZZZZ")
    assert await House().refusal(unknown) == (UnrecognizedClientException, UNRECOGNIZED)
    assert await House().refusal(signed(token="session")) == (UnrecognizedClientException, UNRECOGNIZED)
    for key in (
        replace(KEY, status=AccessKeyStatus.INACTIVE),
        replace(KEY, principal="spiffe://x/gone"),
        replace(KEY, account="444455556666"),
    ):
        house = House(key)
        assert await house.refusal() == (UnrecognizedClientException, UNRECOGNIZED)
        assert await house.refusal(signed(secret="wrong")) == (UnrecognizedClientException, UNRECOGNIZED)
        assert house.opened == []
    deleted = House()
    deleted.put(KEY, deleted=True)
    assert await deleted.refusal() == (UnrecognizedClientException, UNRECOGNIZED)


async def test_an_unknown_access_key_costs_the_same_computation(monkeypatch):
    compared = []
    real = module.sigv4.matches
    monkeypatch.setattr(module.sigv4, "matches", lambda request, key: compared.append(len(key)) or real(request, key))
    house = House()
    await house.ask()
    await house.refusal(signed(access_key_id="AKIAZZZZZZZZZZZZZZZZ"))
    assert compared == [32, 32]


async def test_the_secret_is_opened_once_and_forgotten_when_the_key_is_disabled_or_deleted():
    house = House()
    await house.ask()
    await house.ask()
    house.put(replace(KEY, last_used=5, last_service="kms"))  # a note of its use is no change of it
    await house.ask()
    assert (house.opened, house.in_memory) == ([ACCESS_KEY_ID], [ACCESS_KEY_ID])
    house.put(replace(KEY, status=AccessKeyStatus.INACTIVE))
    assert house.in_memory == []
    house.put(KEY)
    await house.ask()
    assert house.opened == [ACCESS_KEY_ID] * 2
    house.put(replace(KEY, sealed=b""), deleted=True)
    assert house.in_memory == []
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, module._Loaded)]


async def test_a_key_that_is_disabled_while_its_secret_is_opened_stays_out():
    house = House()
    house.token_works.clear()
    waiting = [asyncio.create_task(house.refusal()) for _ in range(5)]
    await house.asked.wait()
    house.put(replace(KEY, status=AccessKeyStatus.INACTIVE))
    house.token_works.set()
    assert set(await asyncio.gather(*waiting)) == {(UnrecognizedClientException, UNRECOGNIZED)}
    assert (len(house.opened), house.in_memory) == (1, [])


async def test_requests_wait_for_one_opening_even_if_the_first_of_them_goes_away():
    house = House()
    house.token_works.clear()
    waiting = [asyncio.create_task(house.ask()) for _ in range(5)]
    await house.asked.wait()
    waiting[0].cancel()
    await asyncio.sleep(0)
    house.token_works.set()
    assert [found.principal for found in await asyncio.gather(*waiting[1:])] == [ALICE] * 4
    assert house.opened == [ACCESS_KEY_ID]


async def test_an_opening_that_fails_is_tried_again():
    house = House()
    del house.secrets[ACCESS_KEY_ID]
    with pytest.raises(KeyError):
        await house.ask()
    house.secrets[ACCESS_KEY_ID] = SECRET
    assert (await house.ask()).principal is ALICE


async def test_what_is_in_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MAX_SECRETS", 3)
    ids = [f"AKIA{letter * 16}" for letter in "ABCDE"]
    house = House(*(replace(KEY, access_key_id=each) for each in ids))
    house.secrets = dict.fromkeys(ids, SECRET)
    for each in (*ids[:3], ids[0], ids[3]):
        await house.ask(signed(access_key_id=each))
    assert house.in_memory == [ids[2], ids[0], ids[3]]
    for day in range(10):
        house.now_us = NOW_US + day * 86_400_000_000
        await house.ask(signed(access_key_id=ids[0], at=NOW + timedelta(days=day)))
    assert len(house.authenticator._loaded[ids[0]].signing_keys) == module.MAX_SIGNING_KEYS


async def test_a_certificate_beside_it_must_be_the_same_principals():
    house = House()
    assert (await house.ask(certified=replace(ALICE, name="spiffe://x/alice-2"))).principal is ALICE
    assert (await house.refusal(certified=BOB))[0] is AccessDeniedException
    assert (await house.refusal(signed(secret="wrong"), certified=BOB))[0] is InvalidSignatureException


async def test_a_view_that_is_too_old_lets_nobody_in():
    house = House()
    await house.ask()
    house.stale = True
    assert (await house.refusal())[0] is KeyUnavailableException


async def test_uses_are_written_in_the_end_and_only_of_who_came_in():
    house = House()
    await house.refusal(signed(secret="wrong"))
    await house.uses.write()
    assert house.written == []
    await house.ask()
    house.now_us += 1
    await house.ask(signed(service="sts"), "sts")
    await house.uses.write()
    await house.uses.write()
    assert [(use.access_key_id, use.service, use.used) for use in house.written] == [(ACCESS_KEY_ID, "sts", NOW_US + 1)]


async def test_uses_that_could_not_be_written_are_written_later():
    works = False
    written = []

    async def record(uses):
        if not works:
            raise KeyUnavailableException("The key catalog cannot be reached. Try again later.")
        written.extend(uses)

    uses = LastUses(record)
    uses.note(ACCESS_KEY_ID, "kms", 1)
    await uses.write()
    works = True
    await uses.write()
    assert [use.used for use in written] == [1]


async def test_no_repr_shows_a_secret():
    house = House()
    found = await house.ask()
    loaded = house.authenticator._loaded[ACCESS_KEY_ID]
    (key,) = loaded.signing_keys.values()
    shown = repr(house.authenticator) + repr(loaded) + repr(found) + repr(KEY)
    for secret in (SECRET, repr(key), "sealed=b"):
        assert secret not in shown
