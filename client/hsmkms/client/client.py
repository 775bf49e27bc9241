"""The client: one method for each operation of the service.

Arguments are the members of the operation's request, by name; those that AWS requires have no default. They are not judged here:
the service does, with its own texts. Responses are `contract`'s dataclasses. Every method raises `KmsError` where the service
refused or failed and `ClientError` where there was no answer; how long it takes and what it tries again, `transport` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from hsmkms.client.contract import (
    NO_CONTEXT,
    OPERATIONS,
    AliasListEntry,
    CreateKeyResponse,
    DecryptResponse,
    DescribeKeyResponse,
    EncryptResponse,
    GenerateDataKeyResponse,
    GenerateDataKeyWithoutPlaintextResponse,
    GenerateRandomResponse,
    KeyListEntry,
    ListAliasesResponse,
    ListKeyRotationsResponse,
    ListKeysResponse,
    ReEncryptResponse,
    RotateKeyOnDemandResponse,
    RotationsListEntry,
    Tag,
)
from hsmkms.client.errors import UnexpectedAnswer
from hsmkms.client.profiles import Profile
from hsmkms.client.transport import Transport
from hsmkms.core import messages


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
        idempotency_key: str | None = None,
    ) -> CreateKeyResponse:
        """Create a KMS key whose material is generated on the token.

        Args:
            description: What the key is for, 8192 characters at most; not secret.
            key_usage: What the key is for (default ENCRYPT_DECRYPT).
            key_spec: Kind of key (default SYMMETRIC_DEFAULT, the only one of this version).
            origin: Where the material comes from (default AWS_KMS: the token makes it).
            tags: Tags of the key, 50 at most.
            multi_region: Multi-Region keys do not apply to this service: refused.
            custom_key_store_id: Custom key stores do not apply to this service: refused.
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
            ),
            idempotency_key,
        )
        return response

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

    def iterate_keys(self, *, limit: int | None = None) -> Iterator[KeyListEntry]:
        """Yield the account's KMS keys, page after page of at most `limit`."""
        for page in _pages(lambda marker: self.list_keys(limit=limit, marker=marker)):
            yield from page.keys

    def iterate_aliases(self, *, key_id: str | None = None, limit: int | None = None) -> Iterator[AliasListEntry]:
        """Yield the account's aliases, or those of one key, page after page of at most `limit`."""
        for page in _pages(lambda marker: self.list_aliases(key_id=key_id, limit=limit, marker=marker)):
            yield from page.aliases

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
