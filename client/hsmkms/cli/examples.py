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
    "ListKeyRotations": """\
  hsm-kms list-key-rotations --key-id 1234abcd-12ab-34cd-56ef-1234567890ab --include-key-material ALL_KEY_MATERIAL
""",
}
"""By the operation's name."""
