"""What Encrypt and the data keys have in common: the symmetric key a new ciphertext is made under, and its header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from hsmkms.core.ciphertext import KeyType, Mode, mode_for_length, pack_header
from hsmkms.core.context import canonical
from hsmkms.core.material_messages import GenerateDataKeyPairRequest, GenerateDataKeyPairWithoutPlaintextRequest
from hsmkms.core.messages import GenerateDataKeyRequest, GenerateDataKeyWithoutPlaintextRequest
from hsmkms.core.model import EncryptionAlgorithm
from hsmkms.core.operations.environment import Environment
from hsmkms.core.operations.identify import current_backing_key, resolve, usable
from hsmkms.core.operations.judge import Side, authorise, keep, kept, require_state, require_symmetric, require_usage
from hsmkms.core.operations.judgements import Usable, asked
from hsmkms.core.ports import Call
from hsmkms.core.request_members import NO_CONTEXT

_NONE: Final = KeyType.NONE

Request: TypeAlias = (
    GenerateDataKeyRequest
    | GenerateDataKeyWithoutPlaintextRequest
    | GenerateDataKeyPairRequest
    | GenerateDataKeyPairWithoutPlaintextRequest
)
"""What asks for a data key or a data key pair."""


@dataclass(slots=True)
class Sealing:
    """A key that may be encrypted under, and with what. It lives as long as the request.

    Args:
        end: The KMS key and its current backing key.
        context: The encryption context in canonical form.
    """

    end: Usable
    context: bytes

    def header(self, environment: Environment, length: int) -> bytes:
        """Return the header of a new ciphertext for a plaintext of that many bytes."""
        features = environment.token.features
        mode = mode_for_length(length, direct=features.seals_directly, padded=features.wraps_padded)
        return self._header(environment, mode, length, _NONE)

    def private_key_header(self, environment: Environment, key_type: KeyType) -> bytes:
        """Return the header of a new ciphertext that will hold a private key of that kind."""
        return self._header(environment, Mode.PRIVATE_KEY, 0, key_type)

    def _header(self, environment: Environment, mode: Mode, length: int, key_type: KeyType) -> bytes:
        backing_key, salt = self.end.backing_key, environment.entropy.salt()
        return pack_header(
            backing_key.suite, mode, self.end.key.uuid_bytes, backing_key.version, length, salt, key_type
        )


def sealing_key(
    environment: Environment, call: Call, action: str, request: Request, conditions: Mapping[str, str] = NO_CONTEXT
) -> Sealing:
    """Find the symmetric key to encrypt a data key under, and judge whether the caller may, and the key can.

    Args:
        environment: The ports.
        call: The caller.
        action: For example `kms:GenerateDataKey`.
        request: The request, checked.
        conditions: Further condition keys of the operation.

    Raises:
        KmsError: the first judgement that fails.
    """
    assert request.key_id is not None, "its constraint says that it is required"
    context = canonical(request.encryption_context)
    about = asked(call, request, action, request.key_id)
    ends = kept(environment, call, about)
    if ends is not None:
        return Sealing(ends[0], context)
    operation = action.removeprefix("kms:")
    target = resolve(environment, call, request.key_id, action)
    side = Side(request.encryption_context, EncryptionAlgorithm.SYMMETRIC_DEFAULT, request.grant_tokens, conditions)
    authorise(environment, call, action, target, side)
    require_state(target, operation)
    require_usage(target)
    require_symmetric(target, operation)
    end = usable(target, current_backing_key(target))
    keep(environment, call, about, (action, end))
    return Sealing(end, context)
