"""The client: one method for each operation of the service.

Arguments are the members of the operation's request, by name; those that AWS requires have no default. They are not judged here:
the service does, with its own texts. Responses are `contract`'s dataclasses. Every method raises `KmsError` where the service
refused or failed and `ClientError` where there was no answer; how long it takes and what it tries again, `transport` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from hsmkms.client.bulk import (
    DecryptResult,
    EncryptResult,
    GenerateDataKeyResult,
    ReEncryptResult,
    batch,
    stream,
)
from hsmkms.client.contract import (
    NO_CONTEXT,
    OPERATIONS,
    AliasListEntry,
    CancelKeyDeletionResponse,
    CreateGrantResponse,
    CreateKeyResponse,
    DecryptResponse,
    DeleteImportedKeyMaterialResponse,
    DeriveSharedSecretResponse,
    DescribeKeyResponse,
    EncryptResponse,
    GenerateDataKeyPairResponse,
    GenerateDataKeyPairWithoutPlaintextResponse,
    GenerateDataKeyResponse,
    GenerateDataKeyWithoutPlaintextResponse,
    GenerateMacResponse,
    GenerateRandomResponse,
    GetKeyLastUsageResponse,
    GetKeyPolicyResponse,
    GetKeyRotationStatusResponse,
    GetParametersForImportResponse,
    GetPublicKeyResponse,
    GrantConstraints,
    GrantListEntry,
    ImportKeyMaterialResponse,
    KeyListEntry,
    ListAliasesResponse,
    ListGrantsResponse,
    ListKeyPoliciesResponse,
    ListKeyRotationsResponse,
    ListKeysResponse,
    ListResourceTagsResponse,
    ListRetirableGrantsResponse,
    ReEncryptResponse,
    RotateKeyOnDemandResponse,
    RotationsListEntry,
    ScheduleKeyDeletionResponse,
    SignResponse,
    Tag,
    TagListEntry,
    VerifyMacResponse,
    VerifyResponse,
)
from hsmkms.client.errors import UnexpectedAnswer
from hsmkms.client.profiles import Profile
from hsmkms.client.transport import Transport
from hsmkms.core import material_messages, messages


class Client:
    """A connection to the service; a context manager.

    It may be shared by threads; it must not be used after a fork.

    Args:
        profile: Where the service is and who calls.

    Raises:
        ProfileError: a file that the profile names cannot be used.
    """

    def __init__(self, profile: Profile) -> None:
        self._transport = Transport(profile)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; calls under way fail. It can be closed twice."""
        self._transport.close()

    def _call(self, operation: str, request: Any, idempotency_key: str | None = None) -> Any:
        return self._transport.call(OPERATIONS[operation], request, idempotency_key)

    def cancel_key_deletion(
        self,
        *,
        key_id: str,
        idempotency_key: str | None = None,
    ) -> CancelKeyDeletionResponse:
        """Keep a KMS key that is pending deletion; it is disabled then.

        Args:
            key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: CancelKeyDeletionResponse = self._call(
            "CancelKeyDeletion", messages.CancelKeyDeletionRequest(key_id=key_id), idempotency_key
        )
        return response

    def connect_custom_key_store(self) -> None:
        """Connect a custom key store: does not apply to this service, and is refused."""
        self._call("ConnectCustomKeyStore", messages.ConnectCustomKeyStoreRequest())

    def create_alias(
        self,
        *,
        alias_name: str,
        target_key_id: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Give a KMS key a second name.

        Args:
            alias_name: The alias with its prefix, for example alias/payments (7 to 256 characters).
            target_key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "CreateAlias",
            messages.CreateAliasRequest(alias_name=alias_name, target_key_id=target_key_id),
            idempotency_key,
        )

    def create_custom_key_store(self) -> None:
        """Create a custom key store: does not apply to this service, and is refused."""
        self._call("CreateCustomKeyStore", messages.CreateCustomKeyStoreRequest())

    def create_grant(
        self,
        *,
        key_id: str,
        grantee_principal: str,
        retiring_principal: str | None = None,
        operations: Sequence[str],
        constraints: GrantConstraints | None = None,
        grant_tokens: Sequence[str] = (),
        name: str | None = None,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> CreateGrantResponse:
        """Give a principal a permission on a KMS key.

        Args:
            key_id: The key: a key ID or key ARN.
            grantee_principal: ARN of who may use the grant.
            retiring_principal: ARN of who may retire the grant.
            operations: What the grant allows.
            constraints: Encryption contexts it is good for.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            name: A name that makes the request repeatable (1 to 256 characters).
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: CreateGrantResponse = self._call(
            "CreateGrant",
            messages.CreateGrantRequest(
                key_id=key_id,
                grantee_principal=grantee_principal,
                retiring_principal=retiring_principal,
                operations=tuple(operations),
                constraints=constraints,
                grant_tokens=tuple(grant_tokens),
                name=name,
                dry_run=dry_run,
            ),
            idempotency_key,
        )
        return response

    def create_key(
        self,
        *,
        description: str | None = None,
        key_usage: str | None = None,
        key_spec: str | None = None,
        origin: str | None = None,
        tags: Sequence[Tag] = (),
        multi_region: bool | None = None,
        custom_key_store_id: str | None = None,
        policy: str | None = None,
        bypass_policy_lockout_safety_check: bool | None = None,
        customer_master_key_spec: str | None = None,
        xks_key_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreateKeyResponse:
        """Create a KMS key whose material the token generates, or is imported.

        Args:
            description: What the key is for, 8192 characters at most; not secret.
            key_usage: What the key is for (default ENCRYPT_DECRYPT; required for every other kind than SYMMETRIC_DEFAULT).
            key_spec: Kind of key (default SYMMETRIC_DEFAULT).
            origin: Where the material comes from (default AWS_KMS: the token makes it; EXTERNAL: it is imported).
            tags: Tags of the key, 50 at most.
            multi_region: Multi-Region keys do not apply to this service: refused.
            custom_key_store_id: Custom key stores do not apply to this service: refused.
            policy: Key policy (default: the account's identity policies decide): an AWS policy document in JSON, 32768 bytes at most.
            bypass_policy_lockout_safety_check: Skip the check that the caller can still change the policy afterwards; dangerous.
            customer_master_key_spec: Older name of KeySpec; not both.
            xks_key_id: External key stores do not apply to this service: refused.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: CreateKeyResponse = self._call(
            "CreateKey",
            messages.CreateKeyRequest(
                description=description,
                key_usage=key_usage,
                key_spec=key_spec,
                origin=origin,
                tags=tuple(tags),
                multi_region=multi_region,
                custom_key_store_id=custom_key_store_id,
                policy=policy,
                bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
                customer_master_key_spec=customer_master_key_spec,
                xks_key_id=xks_key_id,
            ),
            idempotency_key,
        )
        return response

    def decapsulate(self) -> None:
        """Decapsulate a shared secret: needs ML-KEM, and is refused."""
        self._call("Decapsulate", material_messages.DecapsulateRequest())

    def decrypt(
        self,
        *,
        ciphertext_blob: bytes | None = None,
        encryption_context: Mapping[str, str] = NO_CONTEXT,
        grant_tokens: Sequence[str] = (),
        key_id: str | None = None,
        encryption_algorithm: str | None = None,
        dry_run: bool | None = None,
        dry_run_modifiers: Sequence[str] = (),
    ) -> DecryptResponse:
        """Decrypt a ciphertext.

        Args:
            ciphertext_blob: The ciphertext to decrypt (1 to 6144 bytes).
            encryption_context: Encryption context it was encrypted with: pairs that must be given again, exactly, to open the
                ciphertext; not secret; 8192 bytes in canonical form at most.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            key_id: The key it is encrypted under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            encryption_algorithm: Algorithm (default SYMMETRIC_DEFAULT).
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
            dry_run_modifiers: With DryRun: IGNORE_CIPHERTEXT checks the permissions alone and takes no ciphertext.
        """
        response: DecryptResponse = self._call(
            "Decrypt",
            messages.DecryptRequest(
                ciphertext_blob=ciphertext_blob,
                encryption_context=encryption_context,
                grant_tokens=tuple(grant_tokens),
                key_id=key_id,
                encryption_algorithm=encryption_algorithm,
                dry_run=dry_run,
                dry_run_modifiers=tuple(dry_run_modifiers),
            ),
        )
        return response

    def delete_alias(
        self,
        *,
        alias_name: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete an alias; the key stays.

        Args:
            alias_name: The alias with its prefix, for example alias/payments (7 to 256 characters).
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call("DeleteAlias", messages.DeleteAliasRequest(alias_name=alias_name), idempotency_key)

    def delete_custom_key_store(self) -> None:
        """Delete a custom key store: does not apply to this service, and is refused."""
        self._call("DeleteCustomKeyStore", messages.DeleteCustomKeyStoreRequest())

    def delete_imported_key_material(
        self,
        *,
        key_id: str,
        key_material_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> DeleteImportedKeyMaterialResponse:
        """Take imported material from the token; the same material can be imported again.

        Args:
            key_id: The key: a key ID or key ARN.
            key_material_id: Which material (default: the current one).
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: DeleteImportedKeyMaterialResponse = self._call(
            "DeleteImportedKeyMaterial",
            material_messages.DeleteImportedKeyMaterialRequest(key_id=key_id, key_material_id=key_material_id),
            idempotency_key,
        )
        return response

    def derive_shared_secret(
        self,
        *,
        key_id: str,
        key_agreement_algorithm: str,
        public_key: bytes,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> DeriveSharedSecretResponse:
        """Derive the secret that an elliptic-curve KMS key shares with another's public key.

        Args:
            key_id: The key: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            key_agreement_algorithm: Key agreement algorithm.
            public_key: The other's public key on the same curve, DER SubjectPublicKeyInfo.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: DeriveSharedSecretResponse = self._call(
            "DeriveSharedSecret",
            material_messages.DeriveSharedSecretRequest(
                key_id=key_id,
                key_agreement_algorithm=key_agreement_algorithm,
                public_key=public_key,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def describe_custom_key_stores(self) -> None:
        """List custom key stores: does not apply to this service, and is refused."""
        self._call("DescribeCustomKeyStores", messages.DescribeCustomKeyStoresRequest())

    def describe_key(
        self,
        *,
        key_id: str,
        grant_tokens: Sequence[str] = (),
    ) -> DescribeKeyResponse:
        """Tell what a KMS key is.

        Args:
            key_id: The key: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
        """
        response: DescribeKeyResponse = self._call(
            "DescribeKey", messages.DescribeKeyRequest(key_id=key_id, grant_tokens=tuple(grant_tokens))
        )
        return response

    def disable_key(
        self,
        *,
        key_id: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Make a KMS key unusable until it is enabled again.

        Args:
            key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call("DisableKey", messages.DisableKeyRequest(key_id=key_id), idempotency_key)

    def disable_key_rotation(
        self,
        *,
        key_id: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Let a KMS key rotate by itself no longer.

        Args:
            key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call("DisableKeyRotation", messages.DisableKeyRotationRequest(key_id=key_id), idempotency_key)

    def disconnect_custom_key_store(self) -> None:
        """Disconnect a custom key store: does not apply to this service, and is refused."""
        self._call("DisconnectCustomKeyStore", messages.DisconnectCustomKeyStoreRequest())

    def enable_key(
        self,
        *,
        key_id: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Make a disabled KMS key usable.

        Args:
            key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call("EnableKey", messages.EnableKeyRequest(key_id=key_id), idempotency_key)

    def enable_key_rotation(
        self,
        *,
        key_id: str,
        rotation_period_in_days: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Let a KMS key rotate by itself.

        Args:
            key_id: The key: a key ID or key ARN.
            rotation_period_in_days: How often, in days, 90 to 2560 (default 365).
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "EnableKeyRotation",
            messages.EnableKeyRotationRequest(key_id=key_id, rotation_period_in_days=rotation_period_in_days),
            idempotency_key,
        )

    def encapsulate(self) -> None:
        """Encapsulate a shared secret: needs ML-KEM, and is refused."""
        self._call("Encapsulate", material_messages.EncapsulateRequest())

    def encrypt(
        self,
        *,
        key_id: str,
        plaintext: bytes,
        encryption_context: Mapping[str, str] = NO_CONTEXT,
        grant_tokens: Sequence[str] = (),
        encryption_algorithm: str | None = None,
        dry_run: bool | None = None,
    ) -> EncryptResponse:
        """Encrypt up to 4,096 bytes.

        Args:
            key_id: The key to encrypt under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            plaintext: What to encrypt (1 to 4096 bytes).
            encryption_context: Encryption context: pairs that must be given again, exactly, to open the ciphertext; not secret;
                8192 bytes in canonical form at most.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            encryption_algorithm: Algorithm (default SYMMETRIC_DEFAULT).
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: EncryptResponse = self._call(
            "Encrypt",
            messages.EncryptRequest(
                key_id=key_id,
                plaintext=plaintext,
                encryption_context=encryption_context,
                grant_tokens=tuple(grant_tokens),
                encryption_algorithm=encryption_algorithm,
                dry_run=dry_run,
            ),
        )
        return response

    def generate_data_key(
        self,
        *,
        key_id: str,
        encryption_context: Mapping[str, str] = NO_CONTEXT,
        number_of_bytes: int | None = None,
        key_spec: str | None = None,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> GenerateDataKeyResponse:
        """Make a data key: in plaintext, and encrypted under a KMS key.

        Args:
            key_id: The key to encrypt the data key under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            encryption_context: Encryption context: pairs that must be given again, exactly, to open the ciphertext; not secret;
                8192 bytes in canonical form at most.
            number_of_bytes: Length of the data key, 1 to 1024 bytes; instead of KeySpec.
            key_spec: Length of the data key by name; instead of NumberOfBytes.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: GenerateDataKeyResponse = self._call(
            "GenerateDataKey",
            messages.GenerateDataKeyRequest(
                key_id=key_id,
                encryption_context=encryption_context,
                number_of_bytes=number_of_bytes,
                key_spec=key_spec,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def generate_data_key_pair(
        self,
        *,
        key_id: str,
        key_pair_spec: str,
        encryption_context: Mapping[str, str] = NO_CONTEXT,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> GenerateDataKeyPairResponse:
        """Make a key pair: its private key in plaintext, and encrypted under a KMS key.

        Args:
            key_id: The symmetric key to encrypt the private key under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048
                characters).
            key_pair_spec: Kind of key pair.
            encryption_context: Encryption context: pairs that must be given again, exactly, to open the ciphertext; not
                secret; 8192 bytes in canonical form at most.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: GenerateDataKeyPairResponse = self._call(
            "GenerateDataKeyPair",
            material_messages.GenerateDataKeyPairRequest(
                key_id=key_id,
                key_pair_spec=key_pair_spec,
                encryption_context=encryption_context,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def generate_data_key_pair_without_plaintext(
        self,
        *,
        key_id: str,
        key_pair_spec: str,
        encryption_context: Mapping[str, str] = NO_CONTEXT,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> GenerateDataKeyPairWithoutPlaintextResponse:
        """Make a key pair and return its private key only encrypted under a KMS key.

        Args:
            key_id: The symmetric key to encrypt the private key under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048
                characters).
            key_pair_spec: Kind of key pair.
            encryption_context: Encryption context: pairs that must be given again, exactly, to open the ciphertext; not
                secret; 8192 bytes in canonical form at most.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: GenerateDataKeyPairWithoutPlaintextResponse = self._call(
            "GenerateDataKeyPairWithoutPlaintext",
            material_messages.GenerateDataKeyPairWithoutPlaintextRequest(
                key_id=key_id,
                key_pair_spec=key_pair_spec,
                encryption_context=encryption_context,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def generate_data_key_without_plaintext(
        self,
        *,
        key_id: str,
        encryption_context: Mapping[str, str] = NO_CONTEXT,
        key_spec: str | None = None,
        number_of_bytes: int | None = None,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> GenerateDataKeyWithoutPlaintextResponse:
        """Make a data key and return it only encrypted under a KMS key.

        Args:
            key_id: The key to encrypt the data key under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            encryption_context: Encryption context: pairs that must be given again, exactly, to open the ciphertext; not secret;
                8192 bytes in canonical form at most.
            key_spec: Length of the data key by name; instead of NumberOfBytes.
            number_of_bytes: Length of the data key, 1 to 1024 bytes; instead of KeySpec.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: GenerateDataKeyWithoutPlaintextResponse = self._call(
            "GenerateDataKeyWithoutPlaintext",
            messages.GenerateDataKeyWithoutPlaintextRequest(
                key_id=key_id,
                encryption_context=encryption_context,
                key_spec=key_spec,
                number_of_bytes=number_of_bytes,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def generate_mac(
        self,
        *,
        message: bytes,
        key_id: str,
        mac_algorithm: str,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> GenerateMacResponse:
        """Make the MAC of a message with an HMAC KMS key.

        Args:
            message: The message (1 to 4096 bytes).
            key_id: The HMAC key: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            mac_algorithm: MAC algorithm.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: GenerateMacResponse = self._call(
            "GenerateMac",
            material_messages.GenerateMacRequest(
                message=message,
                key_id=key_id,
                mac_algorithm=mac_algorithm,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def generate_random(
        self,
        *,
        number_of_bytes: int | None = None,
        custom_key_store_id: str | None = None,
    ) -> GenerateRandomResponse:
        """Return random bytes from the token's generator.

        Args:
            number_of_bytes: How many bytes, 1 to 1024.
            custom_key_store_id: Custom key stores do not apply to this service: refused.
        """
        response: GenerateRandomResponse = self._call(
            "GenerateRandom",
            messages.GenerateRandomRequest(number_of_bytes=number_of_bytes, custom_key_store_id=custom_key_store_id),
        )
        return response

    def get_key_last_usage(
        self,
        *,
        key_id: str,
    ) -> GetKeyLastUsageResponse:
        """Tell when a KMS key was last used for a cryptographic operation.

        Args:
            key_id: The key: a key ID or key ARN.
        """
        response: GetKeyLastUsageResponse = self._call(
            "GetKeyLastUsage", messages.GetKeyLastUsageRequest(key_id=key_id)
        )
        return response

    def get_key_policy(
        self,
        *,
        key_id: str,
        policy_name: str | None = None,
    ) -> GetKeyPolicyResponse:
        """Return a KMS key's policy.

        Args:
            key_id: The key: a key ID or key ARN.
            policy_name: Name of the policy: default, the only one.
        """
        response: GetKeyPolicyResponse = self._call(
            "GetKeyPolicy", messages.GetKeyPolicyRequest(key_id=key_id, policy_name=policy_name)
        )
        return response

    def get_key_rotation_status(
        self,
        *,
        key_id: str,
    ) -> GetKeyRotationStatusResponse:
        """Tell whether and when a KMS key rotates by itself.

        Args:
            key_id: The key: a key ID or key ARN.
        """
        response: GetKeyRotationStatusResponse = self._call(
            "GetKeyRotationStatus", messages.GetKeyRotationStatusRequest(key_id=key_id)
        )
        return response

    def get_parameters_for_import(
        self,
        *,
        key_id: str,
        wrapping_algorithm: str,
        wrapping_key_spec: str,
    ) -> GetParametersForImportResponse:
        """Return what one's own key material is encrypted with to be imported: a public key and an import token, good for 24 hours.

        Args:
            key_id: The key: a key ID or key ARN.
            wrapping_algorithm: How the material will be encrypted; RSA_AES_KEY_WRAP_… for private keys.
            wrapping_key_spec: Kind of wrapping key.
        """
        response: GetParametersForImportResponse = self._call(
            "GetParametersForImport",
            material_messages.GetParametersForImportRequest(
                key_id=key_id, wrapping_algorithm=wrapping_algorithm, wrapping_key_spec=wrapping_key_spec
            ),
        )
        return response

    def get_public_key(
        self,
        *,
        key_id: str,
        grant_tokens: Sequence[str] = (),
    ) -> GetPublicKeyResponse:
        """Return the public key of an asymmetric KMS key.

        Args:
            key_id: The key: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
        """
        response: GetPublicKeyResponse = self._call(
            "GetPublicKey",
            material_messages.GetPublicKeyRequest(key_id=key_id, grant_tokens=tuple(grant_tokens)),
        )
        return response

    def import_key_material(
        self,
        *,
        key_id: str,
        import_token: bytes,
        encrypted_key_material: bytes,
        valid_to: datetime | None = None,
        expiration_model: str | None = None,
        import_type: str | None = None,
        key_material_description: str | None = None,
        key_material_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> ImportKeyMaterialResponse:
        """Give a KMS key of origin EXTERNAL its material; it is decrypted on the token.

        Args:
            key_id: The key: a key ID or key ARN.
            import_token: The import token that came with the public key.
            encrypted_key_material: The material, encrypted under the public key.
            valid_to: When the material expires, within 365 days.
            expiration_model: Whether the material expires (default KEY_MATERIAL_EXPIRES, which needs ValidTo).
            import_type: Whether the material is new to the key (the default for a key that never had any) or was imported
                before.
            key_material_description: What the material is, 256 characters at most; not secret.
            key_material_id: Which material this is; not with NEW_KEY_MATERIAL.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: ImportKeyMaterialResponse = self._call(
            "ImportKeyMaterial",
            material_messages.ImportKeyMaterialRequest(
                key_id=key_id,
                import_token=import_token,
                encrypted_key_material=encrypted_key_material,
                valid_to=valid_to,
                expiration_model=expiration_model,
                import_type=import_type,
                key_material_description=key_material_description,
                key_material_id=key_material_id,
            ),
            idempotency_key,
        )
        return response

    def list_aliases(
        self,
        *,
        key_id: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> ListAliasesResponse:
        """List the account's aliases.

        Args:
            key_id: Only aliases of this key: a key ID or key ARN.
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
        """
        response: ListAliasesResponse = self._call(
            "ListAliases", messages.ListAliasesRequest(key_id=key_id, limit=limit, marker=marker)
        )
        return response

    def list_grants(
        self,
        *,
        limit: int | None = None,
        marker: str | None = None,
        key_id: str,
        grant_id: str | None = None,
        grantee_principal: str | None = None,
    ) -> ListGrantsResponse:
        """List a KMS key's grants.

        Args:
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
            key_id: The key: a key ID or key ARN.
            grant_id: Only this grant.
            grantee_principal: Only grants to this principal.
        """
        response: ListGrantsResponse = self._call(
            "ListGrants",
            messages.ListGrantsRequest(
                limit=limit, marker=marker, key_id=key_id, grant_id=grant_id, grantee_principal=grantee_principal
            ),
        )
        return response

    def list_key_policies(
        self,
        *,
        key_id: str,
        limit: int | None = None,
        marker: str | None = None,
    ) -> ListKeyPoliciesResponse:
        """List the names of a KMS key's policies: there is one, default.

        Args:
            key_id: The key: a key ID or key ARN.
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
        """
        response: ListKeyPoliciesResponse = self._call(
            "ListKeyPolicies", messages.ListKeyPoliciesRequest(key_id=key_id, limit=limit, marker=marker)
        )
        return response

    def list_key_rotations(
        self,
        *,
        key_id: str,
        include_key_material: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> ListKeyRotationsResponse:
        """List a KMS key's rotations.

        Args:
            key_id: The key: a key ID or key ARN.
            include_key_material: ALL_KEY_MATERIAL adds the first material (default ROTATIONS_ONLY).
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
        """
        response: ListKeyRotationsResponse = self._call(
            "ListKeyRotations",
            messages.ListKeyRotationsRequest(
                key_id=key_id, include_key_material=include_key_material, limit=limit, marker=marker
            ),
        )
        return response

    def list_keys(
        self,
        *,
        limit: int | None = None,
        marker: str | None = None,
    ) -> ListKeysResponse:
        """List the account's KMS keys.

        Args:
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
        """
        response: ListKeysResponse = self._call("ListKeys", messages.ListKeysRequest(limit=limit, marker=marker))
        return response

    def list_resource_tags(
        self,
        *,
        key_id: str,
        limit: int | None = None,
        marker: str | None = None,
    ) -> ListResourceTagsResponse:
        """List a KMS key's tags.

        Args:
            key_id: The key: a key ID or key ARN.
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
        """
        response: ListResourceTagsResponse = self._call(
            "ListResourceTags", messages.ListResourceTagsRequest(key_id=key_id, limit=limit, marker=marker)
        )
        return response

    def put_key_policy(
        self,
        *,
        key_id: str,
        policy_name: str | None = None,
        policy: str,
        bypass_policy_lockout_safety_check: bool | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Replace a KMS key's policy.

        Args:
            key_id: The key: a key ID or key ARN.
            policy_name: Name of the policy: default, the only one.
            policy: The key policy: an AWS policy document in JSON, 32768 bytes at most.
            bypass_policy_lockout_safety_check: Skip the check that the caller can still change the policy afterwards; dangerous.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "PutKeyPolicy",
            messages.PutKeyPolicyRequest(
                key_id=key_id,
                policy_name=policy_name,
                policy=policy,
                bypass_policy_lockout_safety_check=bypass_policy_lockout_safety_check,
            ),
            idempotency_key,
        )

    def re_encrypt(
        self,
        *,
        ciphertext_blob: bytes | None = None,
        source_encryption_context: Mapping[str, str] = NO_CONTEXT,
        source_key_id: str | None = None,
        destination_key_id: str,
        destination_encryption_context: Mapping[str, str] = NO_CONTEXT,
        source_encryption_algorithm: str | None = None,
        destination_encryption_algorithm: str | None = None,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
        dry_run_modifiers: Sequence[str] = (),
    ) -> ReEncryptResponse:
        """Decrypt a ciphertext and encrypt it again, inside the token.

        Args:
            ciphertext_blob: The ciphertext to re-encrypt (1 to 6144 bytes).
            source_encryption_context: Encryption context of the source: pairs that must be given again, exactly, to open the
                ciphertext; not secret; 8192 bytes in canonical form at most.
            source_key_id: The key it is encrypted under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            destination_key_id: The key to encrypt it under: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            destination_encryption_context: Encryption context of the result: pairs that must be given again, exactly, to open the
                ciphertext; not secret; 8192 bytes in canonical form at most.
            source_encryption_algorithm: Algorithm of the source (default SYMMETRIC_DEFAULT).
            destination_encryption_algorithm: Algorithm of the result (default SYMMETRIC_DEFAULT).
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
            dry_run_modifiers: With DryRun: IGNORE_CIPHERTEXT checks the permissions alone and takes no ciphertext.
        """
        response: ReEncryptResponse = self._call(
            "ReEncrypt",
            messages.ReEncryptRequest(
                ciphertext_blob=ciphertext_blob,
                source_encryption_context=source_encryption_context,
                source_key_id=source_key_id,
                destination_key_id=destination_key_id,
                destination_encryption_context=destination_encryption_context,
                source_encryption_algorithm=source_encryption_algorithm,
                destination_encryption_algorithm=destination_encryption_algorithm,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
                dry_run_modifiers=tuple(dry_run_modifiers),
            ),
        )
        return response

    def list_retirable_grants(
        self,
        *,
        limit: int | None = None,
        marker: str | None = None,
        retiring_principal: str,
    ) -> ListRetirableGrantsResponse:
        """List the grants of all keys that a principal may retire.

        Args:
            limit: Most items to return, 1 to 1000.
            marker: NextMarker of the page before.
            retiring_principal: ARN of the retiring principal.
        """
        response: ListRetirableGrantsResponse = self._call(
            "ListRetirableGrants",
            messages.ListRetirableGrantsRequest(limit=limit, marker=marker, retiring_principal=retiring_principal),
        )
        return response

    def replicate_key(self) -> None:
        """Replicate a multi-Region key: does not apply to this service, and is refused."""
        self._call("ReplicateKey", messages.ReplicateKeyRequest())

    def retire_grant(
        self,
        *,
        grant_token: str | None = None,
        key_id: str | None = None,
        grant_id: str | None = None,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """End a grant, as its retiring principal or its grantee: by its token, or by key and grant id.

        Args:
            grant_token: The grant's token.
            key_id: ARN of the key, with GrantId.
            grant_id: The grant, with KeyId.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "RetireGrant",
            messages.RetireGrantRequest(grant_token=grant_token, key_id=key_id, grant_id=grant_id, dry_run=dry_run),
            idempotency_key,
        )

    def revoke_grant(
        self,
        *,
        key_id: str,
        grant_id: str,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """End a grant, as the key's administrator.

        Args:
            key_id: The key: a key ID or key ARN.
            grant_id: The grant.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "RevokeGrant",
            messages.RevokeGrantRequest(key_id=key_id, grant_id=grant_id, dry_run=dry_run),
            idempotency_key,
        )

    def rotate_key_on_demand(
        self,
        *,
        key_id: str,
        idempotency_key: str | None = None,
    ) -> RotateKeyOnDemandResponse:
        """Give a KMS key new material now; older ciphertexts stay readable.

        Args:
            key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: RotateKeyOnDemandResponse = self._call(
            "RotateKeyOnDemand", messages.RotateKeyOnDemandRequest(key_id=key_id), idempotency_key
        )
        return response

    def schedule_key_deletion(
        self,
        *,
        key_id: str,
        pending_window_in_days: int | None = None,
        idempotency_key: str | None = None,
    ) -> ScheduleKeyDeletionResponse:
        """Destroy a KMS key and all its material after a waiting period.

        Args:
            key_id: The key: a key ID or key ARN.
            pending_window_in_days: Waiting period in days, 7 to 30 (default 30).
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        response: ScheduleKeyDeletionResponse = self._call(
            "ScheduleKeyDeletion",
            messages.ScheduleKeyDeletionRequest(key_id=key_id, pending_window_in_days=pending_window_in_days),
            idempotency_key,
        )
        return response

    def sign(
        self,
        *,
        key_id: str,
        message: bytes,
        message_type: str | None = None,
        grant_tokens: Sequence[str] = (),
        signing_algorithm: str,
        dry_run: bool | None = None,
    ) -> SignResponse:
        """Sign a message, or its digest, with an asymmetric KMS key.

        Args:
            key_id: The key to sign with: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            message: The message, or its digest (1 to 4096 bytes).
            message_type: What the message is (default RAW: the message itself; DIGEST: its hash).
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            signing_algorithm: Signing algorithm.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: SignResponse = self._call(
            "Sign",
            material_messages.SignRequest(
                key_id=key_id,
                message=message,
                message_type=message_type,
                grant_tokens=tuple(grant_tokens),
                signing_algorithm=signing_algorithm,
                dry_run=dry_run,
            ),
        )
        return response

    def tag_resource(
        self,
        *,
        key_id: str,
        tags: Sequence[Tag],
        idempotency_key: str | None = None,
    ) -> None:
        """Add tags to a KMS key, or change their values.

        Args:
            key_id: The key: a key ID or key ARN.
            tags: The tags, 50 at most.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call("TagResource", messages.TagResourceRequest(key_id=key_id, tags=tuple(tags)), idempotency_key)

    def untag_resource(
        self,
        *,
        key_id: str,
        tag_keys: Sequence[str],
        idempotency_key: str | None = None,
    ) -> None:
        """Take tags from a KMS key.

        Args:
            key_id: The key: a key ID or key ARN.
            tag_keys: Keys of the tags.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "UntagResource", messages.UntagResourceRequest(key_id=key_id, tag_keys=tuple(tag_keys)), idempotency_key
        )

    def update_alias(
        self,
        *,
        alias_name: str,
        target_key_id: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Point an alias to another KMS key.

        Args:
            alias_name: The alias with its prefix, for example alias/payments (7 to 256 characters).
            target_key_id: The key: a key ID or key ARN.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "UpdateAlias",
            messages.UpdateAliasRequest(alias_name=alias_name, target_key_id=target_key_id),
            idempotency_key,
        )

    def update_custom_key_store(self) -> None:
        """Change a custom key store: does not apply to this service, and is refused."""
        self._call("UpdateCustomKeyStore", messages.UpdateCustomKeyStoreRequest())

    def update_key_description(
        self,
        *,
        key_id: str,
        description: str,
        idempotency_key: str | None = None,
    ) -> None:
        """Change a KMS key's description.

        Args:
            key_id: The key: a key ID or key ARN.
            description: What the key is for, 8192 characters at most; not secret.
            idempotency_key: Makes the call repeatable for 24 hours; made anew for each call if it is not given.
        """
        self._call(
            "UpdateKeyDescription",
            messages.UpdateKeyDescriptionRequest(key_id=key_id, description=description),
            idempotency_key,
        )

    def update_primary_region(self) -> None:
        """Move a multi-Region key's primary Region: does not apply to this service, and is refused."""
        self._call("UpdatePrimaryRegion", messages.UpdatePrimaryRegionRequest())

    def verify(
        self,
        *,
        key_id: str,
        message: bytes,
        message_type: str | None = None,
        signature: bytes,
        signing_algorithm: str,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> VerifyResponse:
        """Check a signature with an asymmetric KMS key.

        Args:
            key_id: The key that signed: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            message: The message, or its digest (1 to 4096 bytes).
            message_type: What the message is (default RAW: the message itself; DIGEST: its hash).
            signature: The signature.
            signing_algorithm: Signing algorithm.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: VerifyResponse = self._call(
            "Verify",
            material_messages.VerifyRequest(
                key_id=key_id,
                message=message,
                message_type=message_type,
                signature=signature,
                signing_algorithm=signing_algorithm,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def verify_mac(
        self,
        *,
        message: bytes,
        key_id: str,
        mac_algorithm: str,
        mac: bytes,
        grant_tokens: Sequence[str] = (),
        dry_run: bool | None = None,
    ) -> VerifyMacResponse:
        """Check the MAC of a message with an HMAC KMS key.

        Args:
            message: The message (1 to 4096 bytes).
            key_id: The HMAC key: a key ID, key ARN, alias/NAME or alias ARN (1 to 2048 characters).
            mac_algorithm: MAC algorithm.
            mac: The MAC.
            grant_tokens: Grant tokens, 10 at most, each 1 to 8192 characters.
            dry_run: Check permissions and parameters without doing it; the answer is always an error.
        """
        response: VerifyMacResponse = self._call(
            "VerifyMac",
            material_messages.VerifyMacRequest(
                message=message,
                key_id=key_id,
                mac_algorithm=mac_algorithm,
                mac=mac,
                grant_tokens=tuple(grant_tokens),
                dry_run=dry_run,
            ),
        )
        return response

    def batch_re_encrypt(self, entries: Sequence[messages.ReEncryptRequest]) -> tuple[ReEncryptResult, ...]:
        """Re-encrypt many ciphertexts, in batches of up to 1,000.

        Args:
            entries: The requests, any number; each is judged as if it were a call.

        Returns:
            One result for each entry, in their order.
        """
        return batch(self._transport, "BatchReEncrypt", entries, ReEncryptResult)

    def stream_re_encrypt(self, entries: Iterable[messages.ReEncryptRequest]) -> Iterator[ReEncryptResult]:
        """Re-encrypt any number of ciphertexts, and yield results as they come, in any order.

        The stream ends when every entry has its result, or when nobody iterates any more (close the iterator, or drop it).

        Args:
            entries: The requests; taken in the thread that iterates, when fewer than 256 are under way.
        """
        return stream(self._transport, "StreamReEncrypt", entries, ReEncryptResult)

    def batch_encrypt(self, entries: Sequence[messages.EncryptRequest]) -> tuple[EncryptResult, ...]:
        """Encrypt many plaintexts, in batches of up to 1,000.

        Args:
            entries: The requests, any number; each is judged as if it were a call.

        Returns:
            One result for each entry, in their order.
        """
        return batch(self._transport, "BatchEncrypt", entries, EncryptResult)

    def batch_decrypt(self, entries: Sequence[messages.DecryptRequest]) -> tuple[DecryptResult, ...]:
        """Decrypt many ciphertexts, in batches of up to 1,000.

        Args:
            entries: The requests, any number; each is judged as if it were a call.

        Returns:
            One result for each entry, in their order.
        """
        return batch(self._transport, "BatchDecrypt", entries, DecryptResult)

    def batch_generate_data_key(
        self, entries: Sequence[messages.GenerateDataKeyRequest]
    ) -> tuple[GenerateDataKeyResult, ...]:
        """Make many data keys, in batches of up to 1,000.

        Args:
            entries: The requests, any number; each is judged as if it were a call.

        Returns:
            One result for each entry, in their order.
        """
        return batch(self._transport, "BatchGenerateDataKey", entries, GenerateDataKeyResult)

    def iterate_keys(self, *, limit: int | None = None) -> Iterator[KeyListEntry]:
        """Yield the account's KMS keys, page after page of at most `limit`."""
        for page in _pages(lambda marker: self.list_keys(limit=limit, marker=marker)):
            yield from page.keys

    def iterate_aliases(self, *, key_id: str | None = None, limit: int | None = None) -> Iterator[AliasListEntry]:
        """Yield the account's aliases, or those of one key, page after page of at most `limit`."""
        for page in _pages(lambda marker: self.list_aliases(key_id=key_id, limit=limit, marker=marker)):
            yield from page.aliases

    def iterate_grants(
        self, *, key_id: str, grantee_principal: str | None = None, limit: int | None = None
    ) -> Iterator[GrantListEntry]:
        """Yield a KMS key's grants, or those to one principal, page after page of at most `limit`."""
        for page in _pages(
            lambda marker: self.list_grants(
                key_id=key_id, grantee_principal=grantee_principal, limit=limit, marker=marker
            )
        ):
            yield from page.grants

    def iterate_retirable_grants(
        self, *, retiring_principal: str, limit: int | None = None
    ) -> Iterator[GrantListEntry]:
        """Yield the grants that a principal may retire, page after page of at most `limit`."""
        for page in _pages(
            lambda marker: self.list_retirable_grants(retiring_principal=retiring_principal, limit=limit, marker=marker)
        ):
            yield from page.grants

    def iterate_resource_tags(self, *, key_id: str, limit: int | None = None) -> Iterator[TagListEntry]:
        """Yield a KMS key's tags, page after page of at most `limit`."""
        for page in _pages(lambda marker: self.list_resource_tags(key_id=key_id, limit=limit, marker=marker)):
            yield from page.tags

    def iterate_key_policies(self, *, key_id: str, limit: int | None = None) -> Iterator[str]:
        """Yield the names of a KMS key's policies, page after page of at most `limit`."""
        for page in _pages(lambda marker: self.list_key_policies(key_id=key_id, limit=limit, marker=marker)):
            yield from page.policy_names

    def iterate_key_rotations(
        self, *, key_id: str, include_key_material: str | None = None, limit: int | None = None
    ) -> Iterator[RotationsListEntry]:
        """Yield a KMS key's rotations, oldest first, page after page of at most `limit`."""
        for page in _pages(
            lambda marker: self.list_key_rotations(
                key_id=key_id, include_key_material=include_key_material, limit=limit, marker=marker
            )
        ):
            yield from page.rotations


class _Page(Protocol):
    @property
    def next_marker(self) -> str | None: ...


PageT = TypeVar("PageT", bound=_Page)


def _pages(fetch: Callable[[str | None], PageT]) -> Iterator[PageT]:
    marker: str | None = None
    while True:
        page = fetch(marker)
        yield page
        if page.next_marker is None:
            return
        if page.next_marker == marker:
            raise UnexpectedAnswer("the service gave the same page marker twice")
        marker = page.next_marker
