"""What Encrypt and the data keys have in common: the symmetric key a new ciphertext is made under, and its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hsmkms.core.ciphertext import Header, KeyType, Mode, mode_for_length
from hsmkms.core.commands import KeyRef
from hsmkms.core.context import canonical
from hsmkms.core.model import BackingKey, EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, current_backing_key, reference, resolve
from hsmkms.core.operations.judge import Side, authorise, require_state, require_symmetric, require_usage
from hsmkms.core.ports import Call
from hsmkms.core.request_members import NO_CONTEXT


@dataclass(frozen=True, slots=True)
class Sealing:
    """A key that may be encrypted under, and with what.

    Args:
        target: The KMS key.
        backing_key: Its current backing key.
        context: The encryption context in canonical form.
    """

    target: NamedKey
    backing_key: BackingKey
    context: bytes

    @property
    def reference(self) -> KeyRef:
        """How a command names the backing key."""
        return reference(self.target.key, self.backing_key)

    def header(self, environment: Environment, length: int) -> bytes:
        """Return the header of a new ciphertext for a plaintext of that many bytes."""
        features = environment.token.features
        mode = mode_for_length(length, direct=features.seals_directly, padded=features.wraps_padded)
        return self._header(environment, mode, length)

    def private_key_header(self, environment: Environment, key_type: KeyType) -> bytes:
        """Return the header of a new ciphertext that will hold a private key of that kind."""
        return self._header(environment, Mode.PRIVATE_KEY, 0, key_type)

    def _header(self, environment: Environment, mode: Mode, length: int, key_type: KeyType = KeyType.NONE) -> bytes:
        return Header(
            self.backing_key.suite,
            mode,
            self.target.key.uuid_bytes,
            self.backing_key.version,
            length,
            environment.entropy.salt(),
            key_type,
        ).to_bytes()


def sealing_key(
    environment: Environment,
    call: Call,
    action: str,
    key_id: str | None,
    encryption_context: Mapping[str, str],
    grant_tokens: tuple[str, ...],
    conditions: Mapping[str, str] = NO_CONTEXT,
) -> Sealing:
    """Find the symmetric key to encrypt a data key under, and judge whether the caller may, and the key can.

    Args:
        environment: The ports.
        call: The caller.
        action: For example `kms:GenerateDataKey`.
        key_id: KeyId of the request, checked to be there.
        encryption_context: EncryptionContext of the request.
        grant_tokens: GrantTokens of the request.
        conditions: Further condition keys of the operation.

    Raises:
        KmsError: the first judgement that fails.
    """
    assert key_id is not None, "its constraint says that it is required"
    operation = action.removeprefix("kms:")
    context = canonical(encryption_context)
    target = resolve(environment, call, key_id, action)
    algorithm = EncryptionAlgorithm.SYMMETRIC_DEFAULT
    authorise(environment, call, action, target, Side(encryption_context, algorithm, grant_tokens, conditions))
    require_state(target, operation)
    require_usage(target)
    require_symmetric(target, operation)
    return Sealing(target, current_backing_key(target), context)
