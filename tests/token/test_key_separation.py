"""Key separation attacks by the service's own logged-in user, on every kind of object that the service makes.

Each one is refused, but for those at the end, which nothing can prevent: they are shown to succeed, and docs/threat-model.md names them.
NSS refuses fewer: the marks say which capability it lacks, and docs/tokens.md what that means.
"""

import contextlib
import ctypes
import itertools
import os
from ctypes import c_ulong, c_void_p

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

from hsmkms.core.ciphertext import Suite, cka_id
from hsmkms.core.material_commands import MacKeyRef, Oaep, PairSpec, PairUse
from hsmkms.hsm.constants import CKA, CKK, CKM, CKO
from hsmkms.hsm.cryptoki import Buffer, Handle, Mechanism
from hsmkms.hsm.derivations import Derivation
from hsmkms.hsm.errors import TokenError
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.key_pairs import BASE_POINTS, agreement
from hsmkms.hsm.oaep import OAEP
from hsmkms.hsm.probe import derive_in_software
from hsmkms.hsm.templates import (
    DATA_KEY_DECRYPT,
    DATA_KEY_ENCRYPT,
    DATA_PAIR_PRIVATE,
    DATA_PAIR_PUBLIC,
    PAYLOAD,
    PAYLOAD_GENERATED,
    USAGES,
    WRAPPING_KEY_UNWRAP,
    WRAPPING_KEY_WRAP,
    Room,
    Template,
    render,
)
from support.material import encrypted

DIGEST = bytes(range(32))
P256_BASE = BASE_POINTS[PAIR_KINDS[PairSpec.ECC_NIST_P256].curve]
OWN_DERIVATION = {
    Suite.AES_CBC_ENCRYPT_DATA: CKM.AES_CBC_ENCRYPT_DATA,
    Suite.SP800_108_CMAC_COUNTER: CKM.SP800_108_COUNTER_KDF,
}
KINDS = {
    "backing key": CKA.DERIVE,
    "wrapping key that wraps": CKA.WRAP,
    "wrapping key that unwraps": CKA.UNWRAP,
    "payload": None,
    "generated data key": None,
    "DEK that encrypts": CKA.ENCRYPT,
    "DEK that decrypts": CKA.DECRYPT,
}
"""Every kind of object and the one usage it has."""
EXTRACTABLE = ("payload", "generated data key", "DEK that encrypts")
"""What must be wrapped to become a ciphertext."""
READABLE = (
    (CKA.CLASS, CKO.SECRET_KEY),
    (CKA.KEY_TYPE, CKK.GENERIC_SECRET),
    (CKA.TOKEN, False),
    (CKA.PRIVATE, True),
    (CKA.SENSITIVE, False),
    (CKA.EXTRACTABLE, True),
)
AES_MECHANISMS = (0x1081, 0x1082, 0x1085, 0x1086, 0x1087)  # ECB, CBC, CBC_PAD, CTR, GCM
KEY_WRAPS = (0x2109, 0x210A, 0x1081, 0x1082, 0x1085)
MACS = (0x108A, 0x251, 0x221)  # AES-CMAC, HMAC with SHA-256 and SHA-1
DERIVATIONS = (0x1104, 0x1105, 0x393, 0x3AC)  # AES ECB and CBC encrypt-data, SHA-256 derivation, SP 800-108


class Attacker:
    """The logged-in session, with functions that the service has no use for."""

    def __init__(self, session):
        self.calls = session.cryptoki
        self.found = session.found
        self.suite = session.suite
        module, handle = self.calls.module, self.calls.session
        self._copy = module.function("C_CopyObject", c_ulong, c_ulong, c_void_p, c_ulong, c_void_p)
        self._set = module.function("C_SetAttributeValue", c_ulong, c_ulong, c_void_p, c_ulong)
        self._sign_init = module.function("C_SignInit", c_ulong, c_void_p, c_ulong)
        self._ends = [
            module.function(f"C_{verb}Final", c_ulong, c_void_p, c_void_p) for verb in ("Encrypt", "Decrypt", "Sign")
        ]
        self._handle = handle
        self.made = []

    def keep(self, handle):
        self.made.append(c_ulong(handle.value.value))
        return self.made[-1]

    def clean(self):
        for handle in reversed(self.made):
            self.calls.destroy_object(handle)

    @staticmethod
    def _check(name, code):
        if code:
            raise TokenError(name, code)

    def set(self, handle, kind, value):
        template = Template(((kind, value),))
        self._check("C_SetAttributeValue", self._set(self._handle, handle, template.pointer, 1))

    def copy(self, handle, *attributes):
        template, copied = Template((*attributes, (CKA.TOKEN, False))), Handle()
        self._check("C_CopyObject", self._copy(self._handle, handle, template.pointer, template.count, copied.pointer))
        return self.keep(copied)

    def sign(self, mechanism, handle):
        self._check("C_SignInit", self._sign_init(self._handle, Mechanism(mechanism).pointer, handle))
        self._end()

    def _end(self):
        """End what was begun, or it stays active in this session; what RSA and curves do is ended in one part."""
        for function in (self.calls.encrypt, self.calls.decrypt, self.calls.sign):
            data, out = Buffer(32), Buffer(1024)
            data.put(bytes(32))
            out.make_room()
            with contextlib.suppress(TokenError):
                function(data.pointer, data.length, out.pointer, out.length_pointer)
        for end in self._ends:
            out = Buffer(64)
            out.make_room()
            end(self._handle, out.pointer, out.length_pointer)

    def start(self, init, mechanism, handle):
        """Begin to encrypt or decrypt."""
        parameter = None
        if mechanism in (0x1082, 0x1085):
            parameter = type("Iv", (ctypes.Structure,), {"_fields_": [("iv", ctypes.c_ubyte * 16)]})()
        if mechanism == CKM.AES_GCM:
            from hsmkms.hsm.sequences import Gcm

            init(Gcm().of(bytes(12)), handle)
        else:
            init(Mechanism(mechanism, parameter).pointer, handle)
        self._end()

    def value(self, handle):
        look = Template(((CKA.VALUE, Room(512)),))
        self.calls.read(handle, look)
        return look.get(CKA.VALUE)

    def wrap(self, key, target, mechanism=CKM.AES_KEY_WRAP):
        out = Buffer(4096)
        out.make_room()
        self.calls.wrap_key(Mechanism(mechanism).pointer, key, target, out.pointer, out.length_pointer)
        return out.get()

    def unwrap(self, key, wrapped, template, mechanism=CKM.AES_KEY_WRAP):
        data, handle = Buffer(512), Handle()
        data.put(wrapped)
        self.calls.unwrap_key(
            Mechanism(mechanism).pointer,
            key,
            data.pointer,
            data.length,
            template.pointer,
            template.count,
            handle.pointer,
        )
        return self.keep(handle)

    def derive(self, key, template, mechanism):
        handle = Handle()
        self.calls.derive_key(mechanism, key, template.pointer, template.count, handle.pointer)
        return self.keep(handle)

    def create(self, value, *usages):
        handle = Handle()
        template = Template(
            (
                (CKA.CLASS, CKO.SECRET_KEY),
                (CKA.KEY_TYPE, CKK.AES),
                (CKA.VALUE, value),
                (CKA.TOKEN, False),
                *((usage, True) for usage in usages),
            )
        )
        self.calls.create_object(template.pointer, template.count, handle.pointer)
        return self.keep(handle)

    def generate(self, attributes, mechanism=CKM.AES_KEY_GEN):
        handle, template = Handle(), render(attributes, self.found)
        self.calls.generate_key(Mechanism(mechanism).pointer, template.pointer, template.count, handle.pointer)
        return self.keep(handle)


@pytest.fixture
def attacker(session):
    made = Attacker(session)
    yield made
    made.clean()


@pytest.fixture
def objects(session, attacker):
    """One object of each kind, made as the service makes it."""
    found, suite = session.found, session.suite
    backing = session.keys.use(session.generate())
    wraps = attacker.derive(backing, render(WRAPPING_KEY_WRAP, found), Derivation(suite).of(DIGEST))
    unwraps = attacker.derive(backing, render(WRAPPING_KEY_UNWRAP, found), Derivation(suite).of(DIGEST))
    encrypts = attacker.generate(DATA_KEY_ENCRYPT)
    generated = attacker.generate(PAYLOAD_GENERATED, CKM.GENERIC_SECRET_KEY_GEN)
    return {
        "backing key": backing,
        "wrapping key that wraps": wraps,
        "wrapping key that unwraps": unwraps,
        "payload": attacker.unwrap(unwraps, attacker.wrap(wraps, generated), render(PAYLOAD, found)),
        "generated data key": generated,
        "DEK that encrypts": encrypts,
        "DEK that decrypts": attacker.unwrap(unwraps, attacker.wrap(wraps, encrypts), render(DATA_KEY_DECRYPT, found)),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_cannot_be_read(objects, attacker, kind):
    assert attacker.value(objects[kind]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_usages_are_what_the_template_names_and_none_can_be_added(objects, attacker, kind):
    look = Template(tuple((usage, Room(1)) for usage in USAGES))
    attacker.calls.read(objects[kind], look)
    assert [usage for usage in USAGES if look.get(usage) == b"\1"] == [u for u in USAGES if u is KINDS[kind]]
    for usage in USAGES:
        if usage is not KINDS[kind]:
            with pytest.raises(TokenError):
                attacker.set(objects[kind], usage, True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_cannot_be_weakened(objects, attacker, kind):
    for attribute, value in (
        (CKA.SENSITIVE, False),
        (CKA.EXTRACTABLE, True),
        (CKA.MODIFIABLE, True),
        (CKA.COPYABLE, True),
        (CKA.ALLOWED_MECHANISMS, AES_MECHANISMS),
    ):
        with pytest.raises(TokenError):
            attacker.set(objects[kind], attribute, value)


@pytest.mark.needs("copyable")
@pytest.mark.parametrize("kind", KINDS)
def test_an_object_cannot_be_copied_weaker_or_at_all(objects, attacker, kind):
    for attributes in (
        (),
        ((CKA.SENSITIVE, False),),
        ((CKA.EXTRACTABLE, True),),
        ((CKA.DECRYPT, True),),
        ((CKA.MODIFIABLE, True),),
    ):
        with pytest.raises(TokenError):
            attacker.copy(objects[kind], *attributes)


@pytest.mark.needs("usages_hold", "allowed_mechanisms")
@pytest.mark.parametrize("kind", KINDS)
def test_an_object_does_nothing_but_its_one_task(objects, attacker, kind):
    """Wrap-then-decrypt among it: a key that wraps or unwraps decrypts by no mechanism."""
    handle, usage = objects[kind], KINDS[kind]
    for mechanism, (init, own) in itertools.product(
        AES_MECHANISMS, ((attacker.calls.encrypt_init, CKA.ENCRYPT), (attacker.calls.decrypt_init, CKA.DECRYPT))
    ):
        if usage is own and mechanism == CKM.AES_GCM:
            continue
        with pytest.raises(TokenError):
            attacker.start(init, mechanism, handle)
    for mechanism in MACS:
        with pytest.raises(TokenError):
            attacker.sign(mechanism, handle)
    target = attacker.generate(PAYLOAD_GENERATED, CKM.GENERIC_SECRET_KEY_GEN)
    for mechanism in KEY_WRAPS:
        if usage is not CKA.WRAP or mechanism != CKM.AES_KEY_WRAP:
            with pytest.raises(TokenError):
                attacker.wrap(handle, target, mechanism)
        if usage is not CKA.UNWRAP or mechanism != CKM.AES_KEY_WRAP:
            with pytest.raises(TokenError):
                attacker.unwrap(handle, bytes(40), Template(READABLE), mechanism)
    for mechanism in DERIVATIONS:
        if usage is CKA.DERIVE and mechanism == OWN_DERIVATION[attacker.suite]:
            continue
        suite = next((suite for suite, own in OWN_DERIVATION.items() if own == mechanism), None)
        pointer = Derivation(suite).of(DIGEST) if suite else Mechanism(mechanism).pointer
        with pytest.raises(TokenError):
            attacker.derive(handle, Template((*READABLE, (CKA.VALUE_LEN, 32))), pointer)


@pytest.mark.needs("unextractable")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EXTRACTABLE])
def test_a_key_cannot_be_wrapped_under_a_known_key_nor_under_the_services_own(objects, attacker, kind):
    """And so it cannot be imported again as readable."""
    known = attacker.create(os.urandom(32), CKA.WRAP, CKA.UNWRAP)
    for mechanism in KEY_WRAPS:
        with pytest.raises(TokenError):
            attacker.wrap(known, objects[kind], mechanism)
    with pytest.raises(TokenError):
        attacker.wrap(objects["wrapping key that wraps"], objects[kind])


# What SoftHSM has no means to prevent, shown to succeed: docs/threat-model.md names each of these.


def test_not_prevented_a_readable_wrapping_key_is_derived_from_a_backing_key(objects, attacker):
    """SoftHSM has no CKA_DERIVE_TEMPLATE. It opens ciphertexts; the backing key's own value stays where it is."""
    backing, template = objects["backing key"], Template((*READABLE, (CKA.VALUE_LEN, 32)))
    derivation = Derivation(attacker.suite)
    if attacker.suite is Suite.SP800_108_CMAC_COUNTER:  # NSS does prevent it, with this derivation
        with pytest.raises(TokenError, match="KEY_FUNCTION_NOT_PERMITTED"):
            attacker.derive(backing, template, derivation.of(DIGEST))
        return
    readable = attacker.derive(backing, template, derivation.of(DIGEST))
    wrapping_key = attacker.value(readable)
    assert wrapping_key is not None
    wrapped = attacker.wrap(objects["wrapping key that wraps"], objects["payload"])
    assert len(aes_key_unwrap(wrapping_key, wrapped)) == 32


def test_not_prevented_a_ciphertext_is_unwrapped_as_readable(objects, attacker):
    """Decrypt is nothing else; whoever holds the session can do what the service can."""
    wrapped = attacker.wrap(objects["wrapping key that wraps"], objects["payload"])
    assert attacker.value(attacker.unwrap(objects["wrapping key that unwraps"], wrapped, Template(READABLE)))


@pytest.mark.parametrize("kind", EXTRACTABLE)
def test_not_prevented_what_is_extractable_is_wrapped_under_a_known_key(objects, attacker, kind):
    """A payload must be extractable to be wrapped again, and only a security officer could make wrapping keys trusted."""
    value = os.urandom(32)
    known = attacker.create(value, CKA.WRAP)
    assert len(aes_key_unwrap(value, attacker.wrap(known, objects[kind]))) == 32


def test_the_software_derivation_is_the_tokens(session, attacker):
    """The positive control of the attack above, with a key of known value."""
    value, secret = os.urandom(32), os.urandom(32)
    key = attacker.create(value, CKA.DERIVE)
    wraps = attacker.derive(key, render(WRAPPING_KEY_WRAP, session.found), Derivation(session.suite).of(DIGEST))
    target = attacker.unwrap(attacker.create(secret, CKA.UNWRAP), aes_key_wrap(secret, b"p" * 32), Template(READABLE))
    assert aes_key_unwrap(derive_in_software(session.suite, value, DIGEST), attacker.wrap(wraps, target)) == b"p" * 32


# Key pairs and HMAC keys.

RSA_PKCS, RSA_X_509, PSS, ECDSA_NUMBER = 0x1, 0x3, 0xD, 0x1041
PAIR_KINDS_MADE = {
    "private key that decrypts": (CKO.PRIVATE_KEY, {CKA.DECRYPT, CKA.UNWRAP}),
    "public key that encrypts": (CKO.PUBLIC_KEY, {CKA.ENCRYPT, CKA.WRAP}),
    "private key that signs": (CKO.PRIVATE_KEY, {CKA.SIGN}),
    "public key that verifies": (CKO.PUBLIC_KEY, {CKA.VERIFY}),
    "private key that agrees": (CKO.PRIVATE_KEY, {CKA.DERIVE}),
    "public key that agrees": (CKO.PUBLIC_KEY, set()),
    "private data key": (CKO.PRIVATE_KEY, set()),
    "public data key": (CKO.PUBLIC_KEY, set()),
    "HMAC key": (CKO.SECRET_KEY, {CKA.SIGN, CKA.VERIFY}),
}
"""Every kind of object of key pairs and HMAC keys, its class and its usages."""
CLASS_USAGES = {
    CKO.PRIVATE_KEY: (CKA.DECRYPT, CKA.SIGN, CKA.SIGN_RECOVER, CKA.UNWRAP, CKA.DERIVE),
    CKO.PUBLIC_KEY: (CKA.ENCRYPT, CKA.VERIFY, CKA.VERIFY_RECOVER, CKA.WRAP, CKA.DERIVE),
    CKO.SECRET_KEY: USAGES,
}
SECRET_PARTS = (0x123, 0x124, 0x125, 0x126, 0x127, 0x128, CKA.VALUE)
"""Of RSA the private exponent, the primes and what is made of them; of curves and HMAC the value (PKCS#11 2.40, section 2.1.2)."""
SECRETS = [kind for kind, (class_, _) in PAIR_KINDS_MADE.items() if class_ is not CKO.PUBLIC_KEY]


@pytest.fixture
def pairs(session, material, attacker):
    """One object of each kind, made as the service makes it."""
    decrypts = material.pairs.use(material.shared(), PairUse.ENCRYPT)
    signs = material.pairs.use(material.shared(PairSpec.ECC_NIST_P256, PairUse.SIGN), PairUse.SIGN)
    agrees = material.pairs.use(material.shared(PairSpec.ECC_NIST_P256, PairUse.AGREE), PairUse.AGREE)
    kind = PAIR_KINDS[PairSpec.ECC_NIST_P256]
    data = material.pairs.generate_pair(kind, DATA_PAIR_PUBLIC, DATA_PAIR_PRIVATE)
    attacker.made += data
    identifier = cka_id(os.urandom(16), 1)
    mac, _ = material.macs.use(MacKeyRef(identifier, material.macs.generate(identifier, 32, b"hsm-kms/deployment-1")))
    return {
        "private key that decrypts": decrypts.private,
        "public key that encrypts": decrypts.public,
        "private key that signs": signs.private,
        "public key that verifies": signs.public,
        "private key that agrees": agrees.private,
        "public key that agrees": agrees.public,
        "private data key": data[0],
        "public data key": data[1],
        "HMAC key": mac,
    }


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_part_of_a_key_can_be_read(pairs, attacker, kind):
    for part in SECRET_PARTS:
        look = Template(((part, Room(1024)),))
        with contextlib.suppress(TokenError):
            attacker.calls.read(pairs[kind], look)
            assert not look.get(part)


@pytest.mark.parametrize("kind", PAIR_KINDS_MADE)
def test_usages_of_a_pair_are_what_its_template_names_and_none_can_be_added(pairs, attacker, kind):
    class_, named = PAIR_KINDS_MADE[kind]
    look = Template(tuple((usage, Room(1)) for usage in CLASS_USAGES[class_]))
    attacker.calls.read(pairs[kind], look)
    assert {usage for usage in CLASS_USAGES[class_] if look.get(usage) == b"\1"} == named
    for usage in set(CLASS_USAGES[class_]) - named:
        with pytest.raises(TokenError):
            attacker.set(pairs[kind], usage, True)


@pytest.mark.parametrize("kind", SECRETS)
def test_a_private_key_cannot_be_weakened(pairs, attacker, kind):
    for attribute, value in (
        (CKA.SENSITIVE, False),
        *(() if kind == "private data key" else ((CKA.EXTRACTABLE, True),)),
        (CKA.MODIFIABLE, True),
        (CKA.COPYABLE, True),
        (CKA.ALLOWED_MECHANISMS, (RSA_PKCS,)),
    ):
        with pytest.raises(TokenError):
            attacker.set(pairs[kind], attribute, value)


@pytest.mark.needs("copyable")
@pytest.mark.parametrize("kind", PAIR_KINDS_MADE)
def test_a_key_of_a_pair_cannot_be_copied(pairs, attacker, kind):
    for attributes in ((), ((CKA.MODIFIABLE, True),)):
        with pytest.raises(TokenError):
            attacker.copy(pairs[kind], *attributes)


@pytest.mark.needs("usages_hold", "allowed_mechanisms")
@pytest.mark.parametrize("kind", SECRETS)
def test_a_private_key_does_nothing_but_its_task(pairs, attacker, kind):
    """A key that decrypts by OAEP decrypts by nothing else and signs nothing; one that signs opens nothing.

    What a public key does anybody can do without the token: SoftHSM does not confine one that encrypts to its mechanism.
    """
    handle, target = pairs[kind], attacker.generate(PAYLOAD_GENERATED, CKM.GENERIC_SECRET_KEY_GEN)
    _, named = PAIR_KINDS_MADE[kind]
    for mechanism in (RSA_PKCS, RSA_X_509, *AES_MECHANISMS):
        for init in (attacker.calls.encrypt_init, attacker.calls.decrypt_init):
            with pytest.raises(TokenError):
                attacker.start(init, mechanism, handle)
        with pytest.raises(TokenError):
            attacker.wrap(handle, target, mechanism)
        with pytest.raises(TokenError):
            attacker.unwrap(handle, bytes(256), Template(READABLE), mechanism)
    own = {CKA.SIGN: ECDSA_NUMBER} if kind == "private key that signs" else {CKA.SIGN: CKM.SHA256_HMAC}
    for mechanism in (RSA_PKCS, RSA_X_509, PSS, ECDSA_NUMBER, *MACS):
        if CKA.SIGN not in named or mechanism != own[CKA.SIGN]:
            with pytest.raises(TokenError):
                attacker.sign(mechanism, handle)
    if CKA.DERIVE not in named:
        with pytest.raises(TokenError):
            attacker.derive(handle, Template((*READABLE, (CKA.VALUE_LEN, 32))), agreement(P256_BASE).pointer)
    for mechanism in DERIVATIONS:
        with pytest.raises(TokenError):
            attacker.derive(handle, Template((*READABLE, (CKA.VALUE_LEN, 32))), Mechanism(mechanism).pointer)


@pytest.mark.needs("unextractable")
@pytest.mark.parametrize("kind", [kind for kind in SECRETS if kind != "private data key"])
def test_a_private_key_of_the_service_never_leaves_the_token(pairs, attacker, kind):
    known = attacker.create(os.urandom(32), CKA.WRAP)
    for mechanism in (*KEY_WRAPS, 0x210B):
        with pytest.raises(TokenError):
            attacker.wrap(known, pairs[kind], mechanism)


def test_not_prevented_an_oaep_ciphertext_is_unwrapped_as_readable(pairs, material, attacker):
    """As with a symmetric key: whoever holds the session can do what the service can, and Decrypt is nothing else."""
    ciphertext = encrypted(material.shared(), Oaep.SHA_1, b"a secret of an RSA key..........")
    data, handle, template = Buffer(256), Handle(), Template(READABLE)
    data.put(ciphertext)
    attacker.calls.unwrap_key(
        OAEP[Oaep.SHA_1].pointer,
        pairs["private key that decrypts"],
        data.pointer,
        data.length,
        template.pointer,
        template.count,
        handle.pointer,
    )
    assert attacker.value(attacker.keep(handle)) == b"a secret of an RSA key.........."
