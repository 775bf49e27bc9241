"""Key pairs that leave the token: data key pairs, and the pairs that key material is encrypted under on its way in.

Both are made of session objects, and their private keys are wrapped under a backing key as mode PRIVATE_KEY has it (`private_keys`).
Generating RSA keys takes seconds: the front sends these commands to the admin worker, which finds the backing key when it needs it.
"""

from __future__ import annotations

from hsmkms.core.ciphertext import derivation_digest, sealed_digest
from hsmkms.core.commands import KeyRef, Outcome
from hsmkms.core.frames import LENGTH
from hsmkms.core.material_commands import GenerateDataKeyPair, GenerateImportPair, PairSpec
from hsmkms.hsm.backing_keys import BackingKeys
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.hsm.constants import CKK
from hsmkms.hsm.errors import ItemError
from hsmkms.hsm.key_kinds import PAIR_KINDS
from hsmkms.hsm.key_pairs import KeyPairs
from hsmkms.hsm.private_keys import PrivateKeys
from hsmkms.hsm.public_keys import read_info
from hsmkms.hsm.sequences import checked
from hsmkms.hsm.templates import DATA_PAIR_PRIVATE, DATA_PAIR_PUBLIC
from hsmkms.hsm.wrapping import Wrapping


class PairSequences:
    """The commands on one session.

    Args:
        wrapping: The steps on that session.
        keys: The backing keys.
        pairs: The key pairs.
        found: What the token can do.
    """

    def __init__(self, wrapping: Wrapping, keys: BackingKeys, pairs: KeyPairs, found: Capabilities) -> None:
        self._wrapping = wrapping
        self._keys = keys
        self._pairs = pairs
        self._found = found
        self._private_keys = PrivateKeys(wrapping, found)

    def generate_data_key_pair(self, command: GenerateDataKeyPair) -> bytes:
        """Make a key pair and seal its private key. Returns the three fields of `GenerateDataKeyPair`.

        Raises:
            ItemError: the key cannot be used, the token lacks the kind of pair, or the header does not fit.
            TokenError: the token failed.
        """
        header = checked(command.header, command.destination)
        spec = pair_spec(command.spec)
        if header.key_type is not PAIR_KINDS[spec].sealed_as:
            raise ItemError(Outcome.FAILED, "a header of another kind of private key")
        digest = derivation_digest(command.header, command.context, sealed_digest(b""))
        return self._made(command.destination, digest, spec, with_plaintext=bool(command.with_plaintext))

    def generate_import_pair(self, command: GenerateImportPair) -> bytes:
        """Make an RSA key pair and wrap its private key. Returns the two fields of `GenerateImportPair`.

        Raises:
            ItemError: the service key cannot be used, or the token lacks the kind of pair.
            TokenError: the token failed.
        """
        spec = pair_spec(command.spec)
        if PAIR_KINDS[spec].key_type is not CKK.RSA:
            raise ItemError(Outcome.FAILED, f"material is imported under RSA keys, not {spec.name}")
        made = self._made(command.service, command.digest, spec, with_plaintext=False)
        return made[: -LENGTH.size]

    def _made(self, key: KeyRef, digest: bytes, spec: PairSpec, *, with_plaintext: bool) -> bytes:
        if not (self._found.makes(spec) and self._found.wraps_private(spec)):
            raise ItemError(Outcome.UNSUPPORTED, f"the token cannot make and wrap private keys of {spec.name}")
        self._keys.objects.ensure(key.cka_id)
        handle = self._keys.use(key)
        kind = PAIR_KINDS[spec]
        with self._wrapping.cryptoki.scratch() as made:
            private, public = map(made.own, self._pairs.generate_pair(kind, DATA_PAIR_PUBLIC, DATA_PAIR_PRIVATE))
            info = read_info(self._wrapping.cryptoki, public, kind)
            if not info:
                raise ItemError(Outcome.FAILED, f"the token made a pair that is no {spec.name}")
            body = self._wrapping.wrap(handle, key.suite, digest, private, self._private_keys.key_wrap)
            plaintext = self._private_keys.plaintext_of(private) if with_plaintext else b""
        return b"".join(LENGTH.pack(len(field)) + field for field in (info, body, plaintext))


def pair_spec(number: int) -> PairSpec:
    """Return the kind of key pair of that number.

    Raises:
        ItemError: FAILED: there is none.
    """
    try:
        return PairSpec(number)
    except ValueError:
        raise ItemError(Outcome.FAILED, f"unknown kind {number} of key pair") from None
