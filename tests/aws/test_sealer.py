"""Secrets of access keys: sealed under a key on the token for one access key, one principal and one deployment, and for nothing else."""

import base64
import uuid
from dataclasses import replace

import pytest

from hsmkms.core.access_keys import ID_PATTERN, AccessKeyStatus, access_key_id, secret_access_key
from hsmkms.core.ciphertext import HEADER_BYTES, Mode, Suite, parse
from hsmkms.core.commands import KeyRef
from hsmkms.core.errors import KeyUnavailableException, KMSInternalException
from hsmkms.core.model import BackingKeyState, Principal
from hsmkms.core.service_keys import ServiceKey, service_key_cka_id
from hsmkms.server.aws.sealer import SecretSealer, usable_key
from support.simulator import SimulatedToken, call_of

DEPLOYMENT = uuid.UUID("00112233-4455-4677-8899-aabbccddeeff")
ALICE = Principal("spiffe://x/alice", "111122223333", "arn:aws:iam::111122223333:user/alice")
SUITE = Suite.AES_CBC_ENCRYPT_DATA


class ServiceToken:
    """The simulated token, as the service uses it for itself."""

    def __init__(self, token):
        self.token = token
        self.features = token.features

    async def service_encrypt(self, command):
        return await self.token.encrypt(call_of(), command)

    async def service_decrypt(self, command):
        return await self.token.decrypt(call_of(), command)


async def new_sealer(*, seals_directly=True, purpose="credentials", deployment=DEPLOYMENT):
    token = SimulatedToken(seals_directly=seals_directly)
    cka_id = service_key_cka_id(deployment, purpose)
    key = KeyRef(cka_id, SUITE, await token.generate_backing_key(cka_id, SUITE))
    return SecretSealer(ServiceToken(token), deployment, lambda: key), token, key


@pytest.mark.parametrize(("seals_directly", "mode"), [(True, Mode.DIRECT), (False, Mode.ENVELOPE)])
async def test_a_secret_opens_again_and_is_nowhere_to_be_seen(seals_directly, mode):
    sealer, _, _ = await new_sealer(seals_directly=seals_directly)
    made = await sealer.make(ALICE, 7)
    key = made.access_key
    assert ID_PATTERN.fullmatch(key.access_key_id)
    assert len(made.secret) == 40
    assert len(base64.b64decode(made.secret)) == 30
    assert (key.principal, key.account, key.status, key.created) == (
        ALICE.name, ALICE.account, AccessKeyStatus.ACTIVE, 7,
    )  # fmt: skip
    assert parse(key.sealed).header.mode is mode
    assert made.secret.encode() not in key.sealed
    assert made.secret not in repr(made)
    assert await sealer.open(key) == made.secret.encode()


async def test_no_two_are_alike():
    sealer, _, _ = await new_sealer()
    made = [await sealer.make(ALICE, 7) for _ in range(20)]
    for part in ("secret", "access_key"):
        assert len({getattr(each, part) for each in made}) == 20


@pytest.mark.parametrize("change", [
    {"access_key_id": access_key_id(bytes(10))},
    {"principal": "spiffe://x/bob"},
    {"sealed": b""},
    {"sealed": b"x" * 96},
])  # fmt: skip
async def test_a_secret_that_was_moved_to_another_row_does_not_open(change):
    sealer, _, _ = await new_sealer()
    key = (await sealer.make(ALICE, 7)).access_key
    with pytest.raises(KMSInternalException, match="An internal error occurred") as refused:
        await sealer.open(replace(key, **change))
    assert "does not open" in refused.value.detail


async def test_no_changed_byte_opens():
    sealer, _, _ = await new_sealer()
    key = (await sealer.make(ALICE, 7)).access_key
    for place in (3, 8, 30, HEADER_BYTES - 1, HEADER_BYTES, len(key.sealed) - 1):
        broken = bytearray(key.sealed)
        broken[place] ^= 1
        with pytest.raises(KMSInternalException):
            await sealer.open(replace(key, sealed=bytes(broken)))


async def test_a_ciphertext_under_another_key_of_the_service_does_not_open():
    sealer, token, _ = await new_sealer()
    cka_id = service_key_cka_id(DEPLOYMENT, "service")
    other = KeyRef(cka_id, SUITE, await token.generate_backing_key(cka_id, SUITE))
    made = await SecretSealer(ServiceToken(token), DEPLOYMENT, lambda: other).make(ALICE, 7)
    with pytest.raises(KMSInternalException) as refused:
        await sealer.open(made.access_key)
    assert "another key" in refused.value.detail


async def test_another_deployment_on_the_same_token_cannot_open_it():
    sealer, token, key = await new_sealer()
    made = await sealer.make(ALICE, 7)
    with pytest.raises(KMSInternalException):
        await SecretSealer(ServiceToken(token), uuid.uuid4(), lambda: key).open(made.access_key)


async def test_while_the_token_is_away_and_without_a_key():
    sealer, token, _ = await new_sealer()
    made = await sealer.make(ALICE, 7)
    token.gone = True
    with pytest.raises(KeyUnavailableException):
        await sealer.open(made.access_key)
    with pytest.raises(KMSInternalException):
        await SecretSealer(ServiceToken(token), DEPLOYMENT, lambda: None).open(made.access_key)


def test_a_service_key_that_is_being_made_is_not_used():
    active = ServiceKey("credentials", b"c" * 20, SUITE, "t", BackingKeyState.ACTIVE, b"k" * 40)
    assert usable_key(active) == KeyRef(b"c" * 20, SUITE, b"k" * 40)
    assert usable_key(replace(active, state=BackingKeyState.CREATING, canary=b"")) is None
    assert usable_key(None) is None


@pytest.mark.parametrize("make", [access_key_id, secret_access_key])
def test_too_little_randomness_is_refused(make):
    with pytest.raises(ValueError, match="made of"):
        make(bytes(9))
