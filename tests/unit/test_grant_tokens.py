"""Grant tokens: they come back as they were issued, nobody can make or change one, and they end when they must."""

from __future__ import annotations

import base64
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsmkms.core.context import canonical
from hsmkms.core.errors import InvalidGrantTokenException
from hsmkms.core.grant_tokens import LIFETIME_US, MAX_SKEW_US, MAX_TOKEN_CHARACTERS, GrantTokens
from hsmkms.core.grants import MAX_CONSTRAINT_BYTES, grant_allowing
from hsmkms.core.model import Grant, GrantOperation, Scope
from unit.test_grants import KEY_ID, OTHER_USER, SCOPE, SESSION, USER, Grants, grant, key

KEY = bytes(range(32))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CONTEXTS = st.none() | st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=8)
GRANTS = st.builds(
    Grant,
    scope=st.just(SCOPE),
    key_id=st.just(KEY_ID),
    grant_id=st.text("0123456789abcdef", min_size=64, max_size=64),
    name=st.text("abc:/_-", max_size=20),
    grantee_principal=st.sampled_from([USER, SESSION]),
    retiring_principal=st.sampled_from(["", OTHER_USER]),
    issuing_account=st.just("arn:aws:iam::111122223333:root"),
    operations=st.lists(st.sampled_from(list(GrantOperation)), min_size=1, unique=True).map(tuple),
    context_equals=CONTEXTS,
    context_subset=CONTEXTS,
    created=st.integers(0, 2**53),
)


class Clock:
    now = 1_700_000_000_000_000

    def now_us(self):
        return self.now


class Known:
    """A catalog's view: what it has, and what it knows to have ended."""

    def __init__(self, has=None, ended=None):
        self.has = has
        self.ended = ended

    def grant(self, scope, key_id, grant_id):
        return self.has if self.has and self.has.grant_id == grant_id else None

    def grant_has_ended(self, grant_id):
        return self.ended is not None and self.ended.grant_id == grant_id


def tokens():
    return GrantTokens(KEY, Clock())


@given(GRANTS)
def test_a_token_comes_back_as_it_was_issued_on_every_front(granted):
    token = tokens().issue(granted)
    assert token.isascii()
    assert GrantTokens(KEY, Clock()).read(Known(), token) == granted


@settings(max_examples=200)
@given(GRANTS, st.data())
def test_no_changed_token_is_read(granted, data):
    token = tokens().issue(granted)
    raw = bytearray(base64.urlsafe_b64decode(token))
    changed = bytearray(raw)
    changed[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    longer = raw + data.draw(st.binary(min_size=1, max_size=40))
    for other in (changed, cut, longer):
        with pytest.raises(InvalidGrantTokenException):
            tokens().grant_of(base64.urlsafe_b64encode(other).decode())


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_is_no_token_is_refused(text):
    with pytest.raises(InvalidGrantTokenException):
        tokens().read(Known(), text)


def test_one_token_has_one_text():
    token = tokens().issue(dataclasses.replace(grant(), name="n"))
    for name in ("n", "nn", "nnn"):
        token = tokens().issue(dataclasses.replace(grant(), name=name))
        for other in (token + "=", token + "\n", " " + token, token.rstrip("=") + "A", token.rstrip("=") + "===="):
            with pytest.raises(InvalidGrantTokenException):
                tokens().read(Known(), other)
        if token.endswith("="):
            body = token.rstrip("=")
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            same_bytes = body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + token[len(body) :]
            with pytest.raises(InvalidGrantTokenException):
                tokens().read(Known(), same_bytes)


def test_another_deployments_token_is_refused():
    with pytest.raises(InvalidGrantTokenException):
        GrantTokens(bytes(32), Clock()).read(Known(), tokens().issue(grant()))


def test_a_token_is_good_for_an_hour_and_then_only_while_the_catalog_has_its_grant():
    issuer, clock, granted = tokens(), Clock(), grant()
    token = issuer.issue(granted)
    later = GrantTokens(KEY, clock)
    clock.now += LIFETIME_US
    assert later.read(Known(), token) == granted
    clock.now += 1
    with pytest.raises(InvalidGrantTokenException, match="expired"):
        later.read(Known(), token)
    assert later.read(Known(has=granted), token) == granted
    assert later.grant_of(token) == granted


def test_a_token_of_a_clock_that_was_far_ahead_counts_only_while_the_catalog_has_its_grant():
    ahead, granted = Clock(), grant()
    ahead.now += MAX_SKEW_US
    assert tokens().read(Known(), GrantTokens(KEY, ahead).issue(granted)) == granted
    ahead.now += 1
    token = GrantTokens(KEY, ahead).issue(granted)
    with pytest.raises(InvalidGrantTokenException):
        tokens().read(Known(), token)
    assert tokens().read(Known(has=granted), token) == granted


def test_a_token_whose_grant_ended_is_refused_however_young():
    granted = grant()
    with pytest.raises(InvalidGrantTokenException, match="retired or revoked"):
        tokens().read(Known(ended=granted), tokens().issue(granted))
    with pytest.raises(InvalidGrantTokenException):
        tokens().read_all(Known(ended=granted), [tokens().issue(grant()), tokens().issue(granted)])


def test_somebody_elses_token_gives_nothing():
    (granted,) = tokens().read_all(Known(), [tokens().issue(grant())])
    assert grant_allowing(Grants(), key(), USER, "kms:Decrypt", {}, [granted]) == granted
    assert grant_allowing(Grants(), key(), OTHER_USER, "kms:Decrypt", {}, [granted]) is None


def test_the_largest_grant_fits_into_a_token():
    principal = "arn:aws:iam::111122223333:user/"
    principal += "u" * (256 - len(principal))
    context = {chr(0x10000 + number): "\U0001f511" * 124 for number in range(8)}
    assert len(canonical(context)) <= MAX_CONSTRAINT_BYTES < len(canonical(context | {"x": "x" * 20}))
    largest = Grant(
        scope=Scope("111122223333", "r" * 64),
        key_id=KEY_ID,
        grant_id="f" * 64,
        name="n" * 256,
        grantee_principal=principal,
        retiring_principal=principal,
        issuing_account="arn:aws-us-gov:iam::111122223333:root",
        operations=tuple(GrantOperation),
        context_equals=None,
        context_subset=context,
        created=2**63,
    )
    assert len(tokens().issue(largest)) <= MAX_TOKEN_CHARACTERS
