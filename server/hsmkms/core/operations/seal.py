"""What Encrypt and the data keys have in common: the key a new ciphertext is made under, and its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hsmkms.core.ciphertext import Header, mode_for_length, require_supported
from hsmkms.core.commands import KeyRef
from hsmkms.core.context import canonical
from hsmkms.core.model import BackingKey, EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import NamedKey, current_backing_key, reference, resolve
from hsmkms.core.operations.judge import Side, authorise, require_algorithm, require_state, require_usage
from hsmkms.core.ports import Call


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
        mode = mode_for_length(length, direct=environment.token.seals_directly)
        require_supported(self.backing_key.suite, mode)
        return Header(
            self.backing_key.suite,
            mode,
            self.target.key.uuid_bytes,
            self.backing_key.version,
            length,
            environment.entropy.salt(),
        ).to_bytes()


def sealing_key(
    environment: Environment,
    call: Call,
    action: str,
    key_id: str | None,
    encryption_context: Mapping[str, str],
    grant_tokens: tuple[str, ...],
    algorithm: EncryptionAlgorithm = EncryptionAlgorithm.SYMMETRIC_DEFAULT,
) -> Sealing:
    """Find the key to encrypt under, and judge whether the caller may, and the key can.

    Args:
        environment: The ports.
        call: The caller.
        action: For example `kms:Encrypt`.
        key_id: KeyId of the request, checked to be there.
        encryption_context: EncryptionContext of the request.
        grant_tokens: GrantTokens of the request.
        algorithm: The algorithm asked for.

    Raises:
        KmsError: the first judgement that fails.
    """
    assert key_id is not None, "its constraint says that it is required"
    context = canonical(encryption_context)
    target = resolve(environment, call, key_id, action)
    authorise(environment, call, action, target, Side(encryption_context, algorithm, grant_tokens))
    require_state(target, action.removeprefix("kms:"))
    require_usage(target)
    require_algorithm(target, algorithm)
    return Sealing(target, current_backing_key(target), context)
