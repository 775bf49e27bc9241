"""Worked examples, shown at the end of a command's help. A test parses each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, str]] = {
    "ReEncrypt": """\
move a file to another key, naming the key it is under (recommended):
  hsm-kms re-encrypt --ciphertext-blob fileb://sealed.bin --source-key-id alias/a --destination-key-id alias/b \\
      --query CiphertextBlob --output raw > moved.bin

the same as with the AWS CLI:
  hsm-kms re-encrypt --ciphertext-blob fileb://sealed.bin --source-key-id alias/a --destination-key-id alias/b \\
      --query CiphertextBlob --output text | base64 --decode > moved.bin

change the encryption context:
  hsm-kms re-encrypt --ciphertext-blob fileb://sealed.bin --destination-key-id alias/a \\
      --source-encryption-context tenant=a,purpose=b --destination-encryption-context '{"tenant": "a", "purpose": "c,d"}'

move what was encrypted outside with an RSA key's public key to a symmetric key:
  hsm-kms re-encrypt --ciphertext-blob fileb://oaep.bin --source-key-id alias/rsa \\
      --source-encryption-algorithm RSAES_OAEP_SHA_256 --destination-key-id alias/b --output raw > sealed.bin

may I? (always ends with an error, DryRunOperationException if all is well):
  hsm-kms re-encrypt --source-key-id alias/a --destination-key-id alias/b --dry-run --dry-run-modifiers IGNORE_CIPHERTEXT
""",
    "Encrypt": """\
encrypt a file of up to 4096 bytes:
  hsm-kms encrypt --key-id alias/a --plaintext fileb://secret.bin --encryption-context tenant=a \\
      --query CiphertextBlob --output raw > sealed.bin

encrypt what another program writes:
  pwgen 32 1 | hsm-kms encrypt --key-id alias/a --plaintext - --query CiphertextBlob --output text
""",
    "Decrypt": """\
  hsm-kms decrypt --ciphertext-blob fileb://sealed.bin --key-id alias/a --encryption-context tenant=a \\
      --query Plaintext --output raw > secret.bin
""",
    "GenerateDataKey": """\
a 32 byte key, in plaintext and encrypted:
  hsm-kms generate-data-key --key-id alias/a --key-spec AES_256 --encryption-context tenant=a
""",
    "GenerateDataKeyWithoutPlaintext": """\
  hsm-kms generate-data-key-without-plaintext --key-id alias/a --key-spec AES_256 --output raw > data-key.bin
""",
    "GenerateRandom": """\
  hsm-kms generate-random --number-of-bytes 32 --output raw > random.bin
""",
    "CreateKey": """\
  hsm-kms create-key --description 'Payments, production' --tags TagKey=team,TagValue=payments TagKey=tier,TagValue=1 \\
      --query KeyMetadata.KeyId --output text

an RSA key to encrypt with, one that signs, one for MACs, one whose material will be imported:
  hsm-kms create-key --key-spec RSA_3072 --key-usage ENCRYPT_DECRYPT
  hsm-kms create-key --key-spec ECC_NIST_P256 --key-usage SIGN_VERIFY
  hsm-kms create-key --key-spec HMAC_256 --key-usage GENERATE_VERIFY_MAC
  hsm-kms create-key --origin EXTERNAL

with a key policy of its own:
  hsm-kms create-key --description 'Payments, production' --policy file://policy.json
""",
    "CreateAlias": """\
  hsm-kms create-alias --alias-name alias/payments --target-key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "UpdateAlias": """\
  hsm-kms update-alias --alias-name alias/payments --target-key-id 0987dcba-09fe-87dc-65ba-ab0987654321
""",
    "DeleteAlias": """\
  hsm-kms delete-alias --alias-name alias/payments
""",
    "DescribeKey": """\
  hsm-kms describe-key --key-id alias/payments --query KeyMetadata.KeyState --output text
""",
    "EnableKey": """\
  hsm-kms enable-key --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "DisableKey": """\
  hsm-kms disable-key --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "ListKeys": """\
  hsm-kms list-keys --query 'Keys[].KeyId' --output text
""",
    "ListAliases": """\
  hsm-kms list-aliases --query 'Aliases[].[AliasName, TargetKeyId]' --output text
""",
    "RotateKeyOnDemand": """\
rotate, then move a ciphertext to the new material:
  hsm-kms rotate-key-on-demand --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
  hsm-kms re-encrypt --ciphertext-blob fileb://sealed.bin --destination-key-id alias/a --output raw > newest.bin
""",
    "CreateGrant": """\
let a service move ciphertexts of one tenant to this key, until the grant is retired or revoked:
  hsm-kms create-grant --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --name billing-tenant-a \\
      --grantee-principal arn:aws:iam::111122223333:role/billing --operations ReEncryptFrom ReEncryptTo RetireGrant \\
      --constraints 'EncryptionContextSubset={tenant=a}' --query GrantId --output text

the same constraint in JSON:
  hsm-kms create-grant --key-id 1234abcd-12ab-34cd-56ef-1234567890ab \\
      --grantee-principal arn:aws:iam::111122223333:role/billing --operations Decrypt \\
      --constraints '{"EncryptionContextSubset": {"tenant": "a"}}'
""",
    "ListGrants": """\
  hsm-kms list-grants --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --query 'Grants[].[GrantId, GranteePrincipal]' --output text
""",
    "ListRetirableGrants": """\
  hsm-kms list-retirable-grants --retiring-principal arn:aws:iam::111122223333:role/billing
""",
    "RetireGrant": """\
  hsm-kms retire-grant --grant-token file://grant-token.txt
""",
    "RevokeGrant": """\
  hsm-kms revoke-grant --key-id 1234abcd-12ab-34cd-56ef-1234567890ab \\
      --grant-id 0c237476b39f8bc44e45212e08498fbe3151305030726c0590dd8d3e9f3d6a60
""",
    "ListKeyRotations": """\
  hsm-kms list-key-rotations --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --include-key-material ALL_KEY_MATERIAL
""",
    "ScheduleKeyDeletion": """\
make a key unusable now, and destroy it in a week:
  hsm-kms schedule-key-deletion --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --pending-window-in-days 7
""",
    "CancelKeyDeletion": """\
keep it after all, and use it again:
  hsm-kms cancel-key-deletion --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
  hsm-kms enable-key --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "EnableKeyRotation": """\
new material every half year:
  hsm-kms enable-key-rotation --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --rotation-period-in-days 180
""",
    "DisableKeyRotation": """\
  hsm-kms disable-key-rotation --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "GetKeyPolicy": """\
get the policy into a file, change it, put it back:
  hsm-kms get-key-policy --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --query Policy --output text > policy.json
""",
    "PutKeyPolicy": """\
  hsm-kms put-key-policy --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --policy file://policy.json
""",
    "ListKeyPolicies": """\
  hsm-kms list-key-policies --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "GetKeyRotationStatus": """\
  hsm-kms get-key-rotation-status --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --query NextRotationDate --output text
""",
    "GetKeyLastUsage": """\
  hsm-kms get-key-last-usage --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --query KeyLastUsage
""",
    "UpdateKeyDescription": """\
  hsm-kms update-key-description --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --description 'payments, until 2030'
""",
    "TagResource": """\
  hsm-kms tag-resource --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --tags TagKey=team,TagValue=payments
""",
    "UntagResource": """\
  hsm-kms untag-resource --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --tag-keys team
""",
    "ListResourceTags": """\
  hsm-kms list-resource-tags --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --query 'Tags[].[TagKey, TagValue]' --output text
""",
    "GetPublicKey": """\
  hsm-kms get-public-key --key-id alias/rsa --query PublicKey --output raw > public.der
""",
    "GenerateDataKeyPair": """\
  hsm-kms generate-data-key-pair --key-id alias/a --key-pair-spec ECC_NIST_P256 --encryption-context tenant=a
""",
    "GenerateDataKeyPairWithoutPlaintext": """\
make a key pair now, and open its private key where it is needed:
  hsm-kms generate-data-key-pair-without-plaintext --key-id alias/a --key-pair-spec RSA_3072 \\
      --query PrivateKeyCiphertextBlob --output raw > private.sealed
  hsm-kms decrypt --ciphertext-blob fileb://private.sealed --query Plaintext --output raw > private.der
""",
    "Sign": """\
sign a file, by its digest if it has more than 4096 bytes:
  hsm-kms sign --key-id alias/signer --message fileb://message.bin --signing-algorithm ECDSA_SHA_256 \\
      --query Signature --output raw > signature.bin
  openssl dgst -sha256 -binary large.bin | hsm-kms sign --key-id alias/signer --message - --message-type DIGEST \\
      --signing-algorithm ECDSA_SHA_256 --query Signature --output raw > signature.bin
""",
    "Verify": """\
  hsm-kms verify --key-id alias/signer --message fileb://message.bin --signing-algorithm ECDSA_SHA_256 \\
      --signature fileb://signature.bin
""",
    "GenerateMac": """\
  hsm-kms generate-mac --key-id alias/mac --message fileb://message.bin --mac-algorithm HMAC_SHA_256 \\
      --query Mac --output raw > mac.bin
""",
    "VerifyMac": """\
  hsm-kms verify-mac --key-id alias/mac --message fileb://message.bin --mac-algorithm HMAC_SHA_256 --mac fileb://mac.bin
""",
    "DeriveSharedSecret": """\
  hsm-kms derive-shared-secret --key-id alias/agreement --key-agreement-algorithm ECDH --public-key fileb://theirs.der \\
      --query SharedSecret --output raw > secret.bin
""",
    "GetParametersForImport": """\
  hsm-kms get-parameters-for-import --key-id 1234abcd-12ab-34cd-56ef-1234567890ab \\
      --wrapping-algorithm RSAES_OAEP_SHA_256 --wrapping-key-spec RSA_4096
""",
    "ImportKeyMaterial": """\
with what get-parameters-for-import gave, and material encrypted under its public key:
  hsm-kms import-key-material --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --import-token fileb://import-token.bin \\
      --encrypted-key-material fileb://material.sealed --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE

for a while:
  hsm-kms import-key-material --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --import-token fileb://import-token.bin \\
      --encrypted-key-material fileb://material.sealed --valid-to 2027-01-01T00:00:00Z
""",
    "DeleteImportedKeyMaterial": """\
  hsm-kms delete-imported-key-material --key-id 1234abcd-12ab-34cd-56ef-1234567890ab
""",
    "Encapsulate": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms encapsulate
""",
    "Decapsulate": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms decapsulate
""",
    "ConnectCustomKeyStore": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms connect-custom-key-store
""",
    "CreateCustomKeyStore": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms create-custom-key-store
""",
    "DeleteCustomKeyStore": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms delete-custom-key-store
""",
    "DescribeCustomKeyStores": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms describe-custom-key-stores
""",
    "DisconnectCustomKeyStore": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms disconnect-custom-key-store
""",
    "ReplicateKey": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms replicate-key
""",
    "UpdateCustomKeyStore": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms update-custom-key-store
""",
    "UpdatePrimaryRegion": """\
the answer is always UnsupportedOperationException, with the reason:
  hsm-kms update-primary-region
""",
}
"""By the operation's name."""
