"""`core.ports.Token` and the reconciler's side of the token, on the pool of workers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from hsmkms.core.ciphertext import Suite
from hsmkms.core.commands import (
    Decrypt,
    DestroyBackingKeys,
    Encrypt,
    GenerateBackingKey,
    GenerateDataKey,
    KeyRef,
    ListBackingKeys,
    Outcome,
    Random,
    Result,
    Rewrap,
    Verify,
)
from hsmkms.core.errors import (
    DependencyTimeoutException,
    IncorrectKeyMaterialException,
    InvalidCiphertextException,
    InvalidImportTokenException,
    KeyUnavailableException,
    KmsError,
    KMSInternalException,
    UnsupportedOperationException,
    ValidationException,
)
from hsmkms.core.features import TokenFeatures
from hsmkms.core.frames import LENGTH
from hsmkms.core.material_commands import (
    Agree,
    Command,
    DecryptRsa,
    EncryptRsa,
    GenerateDataKeyPair,
    GenerateImportPair,
    GenerateKeyPair,
    GenerateMacKey,
    ImportKey,
    KeyPairRef,
    Mac,
    MacKeyRef,
    PairSpec,
    PairUse,
    RewrapFromRsa,
    RewrapRsa,
    RewrapToRsa,
    Sign,
    VerifyMac,
    VerifyRsa,
    VerifySignature,
)
from hsmkms.core.ports import Call, ImportedMaterial
from hsmkms.server.token.pool import UNAVAILABLE_TEXT, TokenPool

SERVICE: Final = "service"
"""In whose queue the service's own commands wait."""
GENERATION_START_S: Final = 30
"""How long the generation of a backing key may wait for the admin worker, in seconds."""

_ERRORS: Final[Mapping[Outcome, tuple[type[KmsError], str]]] = {
    Outcome.EXPIRED: (DependencyTimeoutException, "The token did not answer in time. Try again."),
    Outcome.INVALID_CIPHERTEXT: (InvalidCiphertextException, ""),
    Outcome.KEY_NOT_LOADED: (KeyUnavailableException, "The key material cannot be used just now. Try again."),
    Outcome.KEY_DAMAGED: (KeyUnavailableException, "The key material on the token is not what it was."),
    Outcome.UNAVAILABLE: (KeyUnavailableException, UNAVAILABLE_TEXT),
    Outcome.BUSY: (KeyUnavailableException, "The token is busy. Try again."),
    Outcome.PIN_REFUSED: (KeyUnavailableException, UNAVAILABLE_TEXT),
    Outcome.MISCONFIGURED: (KeyUnavailableException, UNAVAILABLE_TEXT),
    Outcome.UNSUPPORTED: (UnsupportedOperationException, "The token cannot do this."),
    Outcome.FAILED: (KMSInternalException, "The token failed."),
    Outcome.LENGTH_NOT_PROVEN: (
        UnsupportedOperationException,
        (
            "The token cannot prove the length of what this RSA key decrypts to, or cannot wrap it exactly, and what it cannot do exactly "
            "it does not do: data of 16, 24 or 32 bytes can be re-encrypted under a symmetric key, and data of any length under another "
            "RSA key, but nothing empty; or Decrypt it, and Encrypt it again."
        ),
    ),
    Outcome.TOO_LONG: (
        ValidationException,
        "The data is too long for this RSA key and EncryptionAlgorithm: use a longer key, or RSAES_OAEP_SHA_1.",
    ),
    Outcome.WRONG_MATERIAL: (
        IncorrectKeyMaterialException,
        "The key material is not the one that was imported into this key before.",
    ),
    Outcome.WRONG_LENGTH: (
        ValidationException,
        (
            "The key material does not fit the key's KeySpec: a symmetric key takes exactly 32 bytes, an asymmetric one a private key "
            "of its kind in DER PKCS#8."
        ),
    ),
    Outcome.INVALID_PUBLIC_KEY: (
        ValidationException,
        "PublicKey must be a DER SubjectPublicKeyInfo of a point on the curve of the KMS key.",
    ),
    Outcome.INVALID_IMPORT_TOKEN: (
        InvalidImportTokenException,
        "The import token is not one that this service issued for this key.",
    ),
}


_YES: Final = b"\1"


def _fields(value: bytes) -> list[bytes]:
    """Return the fields of a result, each of which stands after its length."""
    fields, position = [], 0
    while position < len(value):
        end = position + LENGTH.size + LENGTH.unpack_from(value, position)[0]
        fields.append(value[position + LENGTH.size : end])
        position = end
    return fields


def value_of(result: Result) -> bytes:
    """Return the value of a result that is OK.

    Raises:
        KmsError: the outcome is another; what the worker said of it goes into the error's detail.
    """
    if result.outcome is Outcome.OK:
        return result.value
    kind, text = _ERRORS[result.outcome]
    raise kind(text, detail=result.value.decode("utf-8", "replace"))


class WorkerToken:
    """The token (`core.ports.Token`), and what the reconciler needs of it.

    Args:
        pool: The workers.
        suite: The suite of new backing keys.
        label: The label of this deployment's objects.
        features: What the KMS can do with the token.
    """

    def __init__(self, pool: TokenPool, suite: Suite, label: bytes, features: TokenFeatures) -> None:
        self._pool = pool
        self._suite = suite
        self._label = label
        self._features = features
        self._import_key: KeyRef | None = None

    def use_import_key(self, key: KeyRef) -> None:
        """Wrap the private keys of import pairs under this service key; without one nothing is imported."""
        self._import_key = key

    @property
    def suite(self) -> Suite:
        """The suite of new backing keys on this token."""
        return self._suite

    @property
    def features(self) -> TokenFeatures:
        """What the KMS can do with this token."""
        return self._features

    async def rewrap(self, call: Call, command: Rewrap) -> bytes:
        """Return the new wrapped key."""
        return await self._crypto(call, command, command.source, command.destination)

    async def verify(self, call: Call, command: Verify) -> None:
        """Return if the wrapped key unwraps."""
        await self._crypto(call, command, command.source)

    async def encrypt(self, call: Call, command: Encrypt) -> bytes:
        """Return the body of the ciphertext."""
        return await self._crypto(call, command, command.destination)

    async def decrypt(self, call: Call, command: Decrypt) -> bytes:
        """Return the plaintext."""
        return await self._crypto(call, command, command.source)

    async def generate_data_key(self, call: Call, command: GenerateDataKey) -> tuple[bytes, bytes]:
        """Return the body of the ciphertext, and the data key if it was asked for, else nothing."""
        value = await self._crypto(call, command, command.destination)
        end = LENGTH.size + LENGTH.unpack_from(value)[0]
        return value[LENGTH.size : end], value[end:]

    async def random(self, call: Call, length: int) -> bytes:
        """Return random bytes."""
        return await self._crypto(call, Random(length))

    async def rewrap_to_rsa(self, call: Call, command: RewrapToRsa) -> bytes:
        """Return the OAEP ciphertext."""
        return await self._crypto(call, command, command.source, command.destination)

    async def rewrap_from_rsa(self, call: Call, command: RewrapFromRsa) -> bytes:
        """Return the ciphertext."""
        return await self._crypto(call, command, command.source, command.destination)

    async def rewrap_rsa(self, call: Call, command: RewrapRsa) -> bytes:
        """Return the OAEP ciphertext."""
        return await self._crypto(call, command, command.source, command.destination)

    async def verify_rsa(self, call: Call, command: VerifyRsa) -> None:
        """Return if the OAEP ciphertext unwraps."""
        await self._crypto(call, command, command.source)

    async def encrypt_rsa(self, call: Call, command: EncryptRsa) -> bytes:
        """Return the OAEP ciphertext."""
        return await self._crypto(call, command, command.destination)

    async def decrypt_rsa(self, call: Call, command: DecryptRsa) -> bytes:
        """Return the plaintext."""
        return await self._crypto(call, command, command.source)

    async def generate_data_key_pair(self, call: Call, command: GenerateDataKeyPair) -> tuple[bytes, bytes, bytes]:
        """Return the public key, the body of the ciphertext, and the private key if it was asked for, else nothing.

        The admin worker makes it, which takes seconds for RSA: a crypto worker would let everybody else wait.
        """
        public_key, body, plaintext = _fields(await self._aside(call, command))
        return public_key, body, plaintext

    async def sign(self, call: Call, command: Sign) -> bytes:
        """Return the signature."""
        return await self._crypto(call, command, command.key)

    async def verify_signature(self, call: Call, command: VerifySignature) -> bool:
        """Return whether the signature is valid."""
        return await self._crypto(call, command, command.key) == _YES

    async def mac(self, call: Call, command: Mac) -> bytes:
        """Return the MAC."""
        return await self._crypto(call, command, command.key)

    async def verify_mac(self, call: Call, command: VerifyMac) -> bool:
        """Return whether the MAC is valid."""
        return await self._crypto(call, command, command.key) == _YES

    async def agree(self, call: Call, command: Agree) -> bytes:
        """Return the shared secret."""
        return await self._crypto(call, command, command.key)

    async def generate_import_pair(self, call: Call, digest: bytes, spec: PairSpec) -> tuple[bytes, bytes]:
        """Return a new public key and its private key, wrapped under the service's import key."""
        command = GenerateImportPair(self._service_import_key, digest, spec)
        public_key, wrapped = _fields(await self._aside(call, command))
        return public_key, wrapped

    async def import_key(self, material: ImportedMaterial) -> bytes:
        """Make imported material a token object and return its canary or public key; at least one worker can use it then."""
        command = ImportKey(
            service=self._service_import_key,
            digest=material.digest,
            wrapped=material.wrapped,
            wrapping=material.wrapping,
            material=material.material,
            cka_id=material.cka_id,
            kind=material.kind or 0,
            suite=material.suite,
            use=material.use or 0,
            expected=material.expected,
            label=self._label,
        )
        return await self._made(command, material.cka_id, is_pair=bool(material.kind))

    @property
    def _service_import_key(self) -> KeyRef:
        if self._import_key is None:
            raise UnsupportedOperationException("This service imports no key material.")
        return self._import_key

    async def _aside(self, call: Call, command: Command) -> bytes:
        """Have the admin worker carry out what a caller waits for; it finds the backing key by itself."""
        return value_of(
            await self._pool.submit(command, principal=call.principal.arn, expiry_ns=call.expiry_ns, admin=True)
        )

    async def _crypto(self, call: Call, command: Command, *keys: KeyRef | KeyPairRef | MacKeyRef) -> bytes:
        return value_of(
            await self._pool.submit(
                command,
                principal=call.principal.arn,
                keys=[key.cka_id for key in keys],
                expiry_ns=call.expiry_ns,
            )
        )

    async def service_rewrap(self, command: Rewrap) -> bytes:
        """Return the new wrapped key, for the service's own purposes."""
        keys = [command.source.cka_id, command.destination.cka_id]
        return value_of(await self._pool.submit(command, principal=SERVICE, keys=keys))

    async def service_encrypt(self, command: Encrypt) -> bytes:
        """Return the body of the ciphertext, for the service's own purposes."""
        return value_of(await self._pool.submit(command, principal=SERVICE, keys=[command.destination.cka_id]))

    async def service_decrypt(self, command: Decrypt) -> bytes:
        """Return the plaintext, for the service's own purposes."""
        return value_of(await self._pool.submit(command, principal=SERVICE, keys=[command.source.cka_id]))

    async def generate_backing_key(self, cka_id: bytes, suite: Suite) -> bytes:
        """Generate a backing key anew and return its canary; at least one worker can use it then."""
        return await self._made(GenerateBackingKey(cka_id, suite, self._label), cka_id)

    async def generate_key_pair(self, cka_id: bytes, spec: PairSpec, use: PairUse) -> bytes:
        """Generate a key pair anew and return its public key; at least one worker can use it then."""
        return await self._made(GenerateKeyPair(cka_id, spec, use, self._label), cka_id, is_pair=True)

    async def generate_mac_key(self, cka_id: bytes, length: int) -> bytes:
        """Generate an HMAC key anew and return its canary; at least one worker can use it then."""
        return await self._made(GenerateMacKey(cka_id, length, self._label), cka_id)

    async def _made(self, command: Command, cka_id: bytes, *, is_pair: bool = False) -> bytes:
        """Have the admin worker make a token object, and return what proves it; at least one worker can use it then.

        It is not started any more after `GENERATION_START_S`: by then another front may have taken the creation up (`catalog.claims`).

        The admin worker uses what it made, without a search. Not so a key pair: NSS softokn calls a wrong signature a failure of the
        device (CKR_DEVICE_ERROR) in a process that has generated RSA keys. A crypto worker looks for it.
        """
        expiry_ns = time.monotonic_ns() + GENERATION_START_S * 1_000_000_000
        admin = self._pool.roster.admin_worker()
        proof = await self._admin(command, expiry_ns)
        # Nobody becomes the admin worker twice: who was it before and is it still has made the key, and has its handle.
        is_known = not is_pair and admin is self._pool.roster.admin_worker()
        await self._pool.keys.make_usable(cka_id, admin if is_known else None)
        return proof

    async def list_backing_keys(self) -> Sequence[tuple[bytes, bytes]]:
        """Return CKA_ID and label of every backing key on the token, whoever's it is."""
        listing = await self._admin(ListBackingKeys())
        fields = []
        position = 0
        while position < len(listing):
            end = position + 1 + listing[position]
            fields.append(listing[position + 1 : end])
            position = end
        return list(zip(fields[::2], fields[1::2], strict=True))

    async def destroy_backing_keys(self, cka_id: bytes) -> int:
        """Destroy this deployment's objects of one CKA_ID and return how many there were.

        It is not started any more after `GENERATION_START_S`: by then another front may have imported the material again.
        """
        self._pool.keys.forget(cka_id)
        expiry_ns = time.monotonic_ns() + GENERATION_START_S * 1_000_000_000
        return int.from_bytes(await self._admin(DestroyBackingKeys(cka_id, self._label), expiry_ns), "big")

    async def _admin(self, command: Command, expiry_ns: int = 0) -> bytes:
        result = await self._pool.submit(command, principal=SERVICE, admin=True, expiry_ns=expiry_ns)
        if result.outcome is Outcome.FAILED:
            # SoftHSM says GENERAL_ERROR where its folder is gone. The same request may be made again, and goes on where this one stopped.
            result = Result(Outcome.UNAVAILABLE, result.value)
        return value_of(result)
