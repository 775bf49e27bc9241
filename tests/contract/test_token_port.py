"""The contract of `core.ports.Token`, for the simulator of the unit tests and for the workers on each token: one suite, so none drifts.

What the operations may rely on is here: what comes back, and with which error each refusal ends. A machine without a token fails.
"""

import os
import time
from dataclasses import replace

import pytest
import pytest_asyncio

from hsmkms.core.ciphertext import CANARY_BYTES, KeyType, Mode, Suite, canary_digest, cka_id, parse_header
from hsmkms.core.commands import KeyRef, Rewrap, Verify
from hsmkms.core.errors import (
    DependencyTimeoutException,
    InvalidCiphertextException,
    KeyUnavailableException,
    KMSInternalException,
    UnsupportedOperationException,
)
from hsmkms.core.features import TokenFeatures
from hsmkms.server.token.pool import PoolSettings, TokenPool
from hsmkms.server.token.port import WorkerToken
from hsmkms.server.token.settings import suite_of
from support.nss import make_nss_token
from support.sealing import data_key, encrypt, sealed
from support.simulator import SimulatedToken, call_of
from support.softhsm import make_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = call_of()
LENGTHS = [1, 13, 15, 16, 17, 24, 32, 100, 248, 256, 257, 264, 4095, 4096]


class Silent:
    """`PoolObserver` that nobody asks."""

    def worker_started(self, name, milliseconds):
        pass

    def worker_ended(self, name, reason):
        pass

    def statistics(self, worker, statistics):
        pass


TOKENS = {"workers on SoftHSM": make_token, "workers on NSS": make_nss_token}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["simulator", *TOKENS])
async def token(request, tmp_path_factory):
    if request.param == "simulator":
        yield SimulatedToken()
        return
    made = TOKENS[request.param](tmp_path_factory.mktemp("token-port") / "token")
    pool = TokenPool(PoolSettings(made.settings(), made.variables, workers=1, spare=False), Silent())
    try:
        description = await pool.start()
        features = TokenFeatures.from_capabilities(description.capabilities)
        yield WorkerToken(pool, suite_of(description), b"hsm-kms/contract", features)
    finally:
        await pool.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keys(token):
    """Two backing keys that every test may use and none may harm."""
    return [await generated(token) for _ in range(2)]


async def generated(token):
    identifier = cka_id(os.urandom(16), 1)
    return KeyRef(identifier, token.suite, await token.generate_backing_key(identifier, token.suite))


async def sealed_under(token, key, plaintext):
    command = encrypt(key, plaintext, padded=token.features.wraps_padded)
    return sealed(command, await token.encrypt(CALL, command))


def flipped(data, at=0):
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# What comes back


async def test_it_says_how_it_seals(token):
    assert token.suite in token.features.suites
    assert token.features.seals_directly is True


@pytest.mark.parametrize("length", LENGTHS)
async def test_what_is_encrypted_can_be_decrypted(token, keys, length):
    plaintext = os.urandom(length)
    made = await sealed_under(token, keys[0], plaintext)
    assert await token.decrypt(CALL, made.decrypt()) == plaintext


@pytest.mark.parametrize("length", LENGTHS)
async def test_what_is_rewrapped_opens_under_the_destination_alone(token, keys, length):
    plaintext = os.urandom(length)
    made = await sealed_under(token, keys[0], plaintext)
    command, header = made.rewrap(keys[1])
    moved = made.rewrapped(keys[1], header, await token.rewrap(CALL, command))
    assert moved.blob.sealed == made.blob.sealed
    assert len(moved.blob.wrapped) == len(made.blob.wrapped)
    assert moved.blob.wrapped != made.blob.wrapped
    assert await token.decrypt(CALL, moved.decrypt()) == plaintext
    with pytest.raises(InvalidCiphertextException):
        await token.verify(CALL, replace(moved.verify(), source=keys[0]))


async def test_a_rewrap_under_the_same_key_is_a_new_ciphertext(token, keys):
    made = await sealed_under(token, keys[0], b"0123456789abcdef")
    command, header = made.rewrap(keys[0])
    moved = made.rewrapped(keys[0], header, await token.rewrap(CALL, command))
    assert moved.blob.wrapped != made.blob.wrapped
    assert await token.decrypt(CALL, moved.decrypt()) == b"0123456789abcdef"


async def test_verify_returns_nothing(token, keys):
    made = await sealed_under(token, keys[0], b"x")
    assert await token.verify(CALL, made.verify()) is None


@pytest.mark.parametrize("length", [1, 16, 24, 31, 32, 256, 264, 1024])
async def test_a_data_key_comes_sealed_and_in_plaintext_if_asked_for(token, keys, length):
    padded = token.features.wraps_padded
    with_it, without_it = (data_key(keys[0], length, with_plaintext=asked, padded=padded) for asked in (True, False))
    body, plaintext = await token.generate_data_key(CALL, with_it)
    assert len(plaintext) == length
    assert await token.decrypt(CALL, sealed(with_it, body).decrypt()) == plaintext
    body, nothing = await token.generate_data_key(CALL, without_it)
    assert nothing == b""
    other = await token.decrypt(CALL, sealed(without_it, body).decrypt())
    assert len(other) == length
    assert other != plaintext or length == 1


@pytest.mark.parametrize("length", [1, 32, 1024])
async def test_random_bytes_are_as_many_as_asked_for(token, length):
    one, other = await token.random(CALL, length), await token.random(CALL, length)
    assert len(one) == len(other) == length
    assert one != other or length == 1


async def test_a_canary_proves_its_key(token, keys):
    digest = canary_digest(keys[0].cka_id[:16])
    assert len(keys[0].canary) == CANARY_BYTES
    await token.verify(CALL, Verify(keys[0], digest, keys[0].canary))
    with pytest.raises(InvalidCiphertextException):
        await token.verify(CALL, Verify(keys[1], digest, keys[0].canary))


# A ciphertext that is wrong


def mutations():
    def digest(command):
        return replace(command, source_digest=flipped(command.source_digest))

    def wrapped_at(at):
        return lambda command: replace(command, wrapped=flipped(command.wrapped, at))

    def wrapped_of(length):
        return lambda command: replace(command, wrapped=(command.wrapped * 12)[:length])

    yield pytest.param(digest, id="another digest")
    for at in (0, 7, 8, -1):
        yield pytest.param(wrapped_at(at % 40), id=f"wrapped key changed at {at}")
    for length in (0, 1, 8, 16, 23, 24, 39, 41, 48, 264):
        yield pytest.param(wrapped_of(length), id=f"wrapped key of {length} bytes")


@pytest.mark.parametrize("operation", ["rewrap", "verify", "decrypt"])
@pytest.mark.parametrize("mutate", list(mutations()))
@pytest.mark.parametrize("length", [32, 300], ids=["direct", "envelope"])
async def test_a_wrong_wrapped_key_is_an_invalid_ciphertext(token, keys, operation, mutate, length):
    made = await sealed_under(token, keys[0], os.urandom(length))
    command = {"rewrap": made.rewrap(keys[1])[0], "verify": made.verify(), "decrypt": made.decrypt()}[operation]
    with pytest.raises(InvalidCiphertextException) as refused:
        await getattr(token, operation)(CALL, mutate(command))
    assert refused.value.message == ""
    await getattr(token, operation)(CALL, command)


@pytest.mark.parametrize("operation", ["rewrap", "verify", "decrypt"])
@pytest.mark.parametrize("length", [1, 9, 33, 255])
async def test_a_wrong_wrapped_key_of_mode_3_is_an_invalid_ciphertext(token, keys, operation, length):
    """Where the token has mode 3; an envelope where not."""
    made = await sealed_under(token, keys[0], os.urandom(length))
    command = {"rewrap": made.rewrap(keys[1])[0], "verify": made.verify(), "decrypt": made.decrypt()}[operation]
    wrapped = command.wrapped
    for wrong in (flipped(wrapped), flipped(wrapped, -1), wrapped[:-8], wrapped + bytes(8), wrapped[:1], b""):
        with pytest.raises(InvalidCiphertextException) as refused:
            await getattr(token, operation)(CALL, replace(command, wrapped=wrong))
        assert refused.value.message == ""
    await getattr(token, operation)(CALL, command)


@pytest.mark.parametrize("at", [0, 11, 12, 311, -1], ids=["nonce", "nonce end", "payload", "payload end", "tag"])
async def test_a_payload_is_bound_by_the_tag_as_well(token, keys, at):
    made = await sealed_under(token, keys[0], os.urandom(300))
    command = made.decrypt()
    with pytest.raises(InvalidCiphertextException) as refused:
        await token.decrypt(CALL, replace(command, sealed=flipped(command.sealed, at % len(command.sealed))))
    assert refused.value.message == ""


@pytest.mark.parametrize("length", [32, 300], ids=["direct", "envelope"])
@pytest.mark.parametrize("change", [lambda sealed: sealed + b"x", lambda sealed: sealed[:-1] or b"x"])
async def test_a_body_of_another_length_is_an_invalid_ciphertext(token, keys, length, change):
    made = await sealed_under(token, keys[0], os.urandom(length))
    command = made.decrypt()
    with pytest.raises(InvalidCiphertextException):
        await token.decrypt(CALL, replace(command, sealed=change(command.sealed)))


# A key that is not there, or not what it was


def commands_on(made, key, other):
    rewrap, _ = made.rewrap(other)
    return {
        "rewrap from": ("rewrap", replace(rewrap, source=key)),
        "rewrap to": ("rewrap", replace(rewrap, destination=key)),
        "verify": ("verify", replace(made.verify(), source=key)),
        "decrypt": ("decrypt", replace(made.decrypt(), source=key, header=encrypt(key, b"x" * 32).header)),
        "encrypt": ("encrypt", encrypt(key, b"x")),
        "generate_data_key": ("generate_data_key", data_key(key, 32, with_plaintext=True)),
    }


USES = ["rewrap from", "rewrap to", "verify", "decrypt", "encrypt", "generate_data_key"]


@pytest.mark.parametrize("use", USES)
async def test_an_unknown_key_is_unavailable(token, keys, use):
    unknown = KeyRef(cka_id(os.urandom(16), 1), token.suite, keys[0].canary)
    made = await sealed_under(token, keys[0], os.urandom(32))
    method, command = commands_on(made, unknown, keys[1])[use]
    with pytest.raises(KeyUnavailableException) as refused:
        await getattr(token, method)(CALL, command)
    assert refused.value.message
    assert unknown.cka_id.hex() not in refused.value.message


@pytest.mark.parametrize("use", USES)
async def test_a_key_that_did_not_make_its_canary_is_unavailable(token, keys, use):
    good = await generated(token)
    made = await sealed_under(token, keys[0], os.urandom(32))
    method, command = commands_on(made, replace(good, canary=keys[0].canary), keys[1])[use]
    with pytest.raises(KeyUnavailableException):
        await getattr(token, method)(CALL, command)


async def test_a_key_generated_anew_is_another(token):
    first = await generated(token)
    made = await sealed_under(token, first, b"x" * 32)
    second = replace(first, canary=await token.generate_backing_key(first.cka_id, token.suite))
    assert second.canary != first.canary
    with pytest.raises(InvalidCiphertextException):
        await token.verify(CALL, replace(made.verify(), source=second))
    assert await sealed_under(token, second, b"x")
    with pytest.raises(KeyUnavailableException):
        await token.verify(CALL, made.verify())


# What only a fault of the service can ask for


@pytest.mark.parametrize("method", ["encrypt", "decrypt", "generate_data_key"])
async def test_a_header_of_another_key_is_an_internal_failure(token, keys, method):
    made = await sealed_under(token, keys[0], os.urandom(32))
    foreign = encrypt(keys[1], b"x" * 32).header
    command = {
        "encrypt": encrypt(keys[0], b"x" * 32),
        "decrypt": made.decrypt(),
        "generate_data_key": data_key(keys[0], 32, with_plaintext=False),
    }[method]
    with pytest.raises(KMSInternalException) as refused:
        await getattr(token, method)(CALL, replace(command, header=foreign))
    assert refused.value.message == "The token failed."
    await getattr(token, method)(CALL, command)


async def test_a_header_of_another_length_is_an_internal_failure(token, keys):
    with pytest.raises(KMSInternalException):
        await token.encrypt(CALL, replace(encrypt(keys[0], b"x" * 32), plaintext=b"x" * 31))


async def test_a_header_in_a_mode_that_cannot_hold_the_plaintext_is_an_internal_failure(token, keys):
    command = encrypt(keys[0], b"x" * 32)
    for change in ({"mode": Mode.DIRECT_PADDED}, {"mode": Mode.PRIVATE_KEY, "length": 0, "key_type": KeyType.RSA}):
        header = replace(parse_header(command.header), **change).to_bytes()
        with pytest.raises(KMSInternalException):
            await token.encrypt(CALL, replace(command, header=header))


@pytest.mark.parametrize("length", [0, 1025])
async def test_too_many_or_no_random_bytes_are_an_internal_failure(token, length):
    with pytest.raises(KMSInternalException):
        await token.random(CALL, length)


async def test_a_suite_that_the_token_lacks_is_unsupported(token, keys):
    for suite in {Suite.AES_CBC_ENCRYPT_DATA, Suite.SP800_108_CMAC_COUNTER} - token.features.suites:
        with pytest.raises(UnsupportedOperationException):
            await token.generate_backing_key(cka_id(os.urandom(16), 1), suite)
        with pytest.raises(UnsupportedOperationException):
            await token.verify(CALL, Verify(replace(keys[0], suite=suite), bytes(32), keys[0].canary))


async def test_every_suite_that_the_token_has_makes_keys_that_work_together(token):
    identifiers = {suite: cka_id(os.urandom(16), 1) for suite in token.features.suites}
    refs = [KeyRef(one, suite, await token.generate_backing_key(one, suite)) for suite, one in identifiers.items()]
    for source in refs:
        made = await sealed_under(token, source, b"0123456789abcdef")
        for destination in refs:
            command, header = made.rewrap(destination)
            moved = made.rewrapped(destination, header, await token.rewrap(CALL, command))
            assert await token.decrypt(CALL, moved.decrypt()) == b"0123456789abcdef"


# Deadlines


async def test_a_caller_whose_deadline_has_passed_gets_a_timeout(token, keys):
    made = await sealed_under(token, keys[0], b"x" * 32)
    late = call_of(expiry_ns=time.monotonic_ns() - 1)
    with pytest.raises(DependencyTimeoutException):
        await token.verify(late, made.verify())
    in_time = call_of(expiry_ns=time.monotonic_ns() + 60 * 10**9)
    assert await token.verify(in_time, made.verify()) is None


async def test_a_source_is_proven_before_the_destination_is_used(token, keys):
    unknown = KeyRef(cka_id(os.urandom(16), 1), token.suite, keys[0].canary)
    made = await sealed_under(token, keys[0], b"x" * 32)
    wrong = replace(made.verify(), source_digest=bytes(32))
    with pytest.raises(KeyUnavailableException):
        await token.rewrap(CALL, Rewrap(wrong.source, wrong.source_digest, wrong.wrapped, unknown, bytes(32)))
