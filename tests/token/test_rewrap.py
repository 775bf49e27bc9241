"""The seven calls of ReEncrypt, and what becomes of them when one fails: nothing is left behind, and each is counted once."""

from ctypes import c_ulong

import pytest

from hsmkms.core.ciphertext import canary_digest
from hsmkms.hsm import rewrap as module
from hsmkms.hsm.constants import CKR
from hsmkms.hsm.errors import TokenError
from hsmkms.hsm.wrapping import Wrapping

CALLS = module._CALLS


class Faulty:
    """The session's calls, of which one of `bare` fails without reaching the token, and `destroy_object` may."""

    def __init__(self, cryptoki, fails):
        self._cryptoki = cryptoki
        self._fails = fails
        self.broken = False
        self.asked = []

    def __getattr__(self, name):
        return getattr(self._cryptoki, name)

    def bare(self, name):
        function = self._cryptoki.bare(name)

        def call(*arguments):
            self.asked.append(name)
            if len(self.asked) - 1 == self._fails:
                return int(CKR.DEVICE_ERROR)
            return function(*arguments)

        return call

    def destroy_object(self, handle):
        self._cryptoki.destroy_object(handle)
        if self.broken:
            raise TokenError("C_DestroyObject", CKR.DEVICE_REMOVED)


def counted(session):
    session.cryptoki.statistics.settle()
    return {
        name: (counters.count, dict(counters.errors)) for name, counters in session.cryptoki.statistics.calls.items()
    }


def difference(before, after, name):
    return after[name][0] - before[name][0], sum(after[name][1].values()) - sum(before[name][1].values())


@pytest.fixture
def canary(session):
    """A backing key, and how its canary is rewrapped under itself."""
    key = session.generate()
    handle = session.keys.use(key)
    digest = canary_digest(key.cka_id[:16])
    return (handle, session.suite, digest, key.canary, handle, session.suite, digest), key.canary


def test_seven_calls_are_counted_and_timed_each_as_its_own_function(session, canary):
    arguments, expected = canary
    before = counted(session)
    spent = {name: counters.nanoseconds for name, counters in session.cryptoki.statistics.calls.items()}
    for _ in range(3):
        assert session.wrapping.rewrap(*arguments) == expected
    after = counted(session)
    for name in after:
        assert difference(before, after, name) == (3 * CALLS.count(name), 0), name
        gone_by = session.cryptoki.statistics.calls[name].nanoseconds - spent[name]
        assert (gone_by > 0) == (name in CALLS)


@pytest.mark.parametrize("fails", range(len(CALLS)), ids=lambda at: f"{at + 1}-{CALLS[at]}")
@pytest.mark.parametrize("broken", [False, True], ids=["", "destruction-fails-too"])
def test_whichever_call_fails_the_rest_is_destroyed_and_all_are_counted(session, canary, fails, broken):
    arguments, expected = canary
    faulty = Faulty(session.cryptoki, fails)
    wrapping = Wrapping(faulty, session.found)
    before = counted(session)
    faulty.broken = broken
    with pytest.raises(TokenError) as raised:
        wrapping.rewrap(*arguments)
    left = (0, 1, 2, 3, 2, 1, 0)[fails]  # objects that are there, but for the one that could not be destroyed
    if broken and left:
        assert (raised.value.function, raised.value.ckr) == ("C_DestroyObject", CKR.DEVICE_REMOVED)
    else:
        assert (raised.value.function, raised.value.ckr) == (CALLS[fails], CKR.DEVICE_ERROR)
    after = counted(session)
    for name in after:
        calls, errors = difference(before, after, name)
        assert calls == CALLS[: fails + 1].count(name) + (left if name == "C_DestroyObject" else 0), name
        assert errors == (name == CALLS[fails]), name
    leftover = session.session_objects()
    assert len(leftover) == (fails >= 4), "the one object whose destruction failed is not tried again"
    for handle in leftover:
        session.cryptoki.destroy_object(c_ulong(handle))
    assert session.wrapping.rewrap(*arguments) == expected


def test_a_wrapped_key_that_is_too_long_leaves_nothing_behind(session, canary):
    (source, suite, digest, _, target, *rest), _ = canary
    with pytest.raises(ValueError, match="too long"):
        session.wrapping.rewrap(source, suite, digest, bytes(7000), target, *rest)
    assert not session.session_objects()
