"""What a token can do, as `probe` measured it, and what each finding gives the KMS.

A value of this class goes to the front in `TokenDescription.capabilities` and comes back to later workers in
`WorkerSettings.capabilities`, so that only the first worker of a service probes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from hsmkms.core.ciphertext import Suite


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The findings of one probe.

    Args:
        suite_1: `CKM_AES_CBC_ENCRYPT_DATA` derives what software derives.
        suite_2: `CKM_SP800_108_COUNTER_KDF` with AES-CMAC derives what software derives.
        known_answers: Keys of chosen values could be created, so the findings are known answers; else they are only consistent
            with themselves.
        aes_key_wrap: `CKM_AES_KEY_WRAP` is RFC 3394.
        aes_key_wrap_padded: The mechanism that is RFC 5649, such as `0x210B`, or empty.
        aes_gcm: `CKM_AES_GCM` with a 12-byte nonce and a 16-byte tag encrypts, decrypts and refuses a changed tag.
        gcm_nonce: Who makes GCM's nonce: `caller`, `token`, or empty.
        oaep_sha1: RSA-OAEP with SHA-1 wraps and unwraps.
        oaep_sha256: RSA-OAEP with SHA-256 wraps and unwraps.
        value_len_after_unwrap: `CKA_VALUE_LEN` of an unwrapped secret is its length.
        readable_objects: A secret may be unwrapped so that its value can be read.
        created_objects: A secret may be created from a value.
        allowed_mechanisms: `CKA_ALLOWED_MECHANISMS` is accepted and holds.
        copyable: `CKA_COPYABLE` is accepted.
        modifiable: `CKA_MODIFIABLE` is accepted.
        derive_template: `CKA_DERIVE_TEMPLATE` is accepted, and keeps a derived key from being readable.
        unnamed_usages_off: A usage that a template does not name is off; where not, the templates name each one.
    """

    suite_1: bool = False
    suite_2: bool = False
    known_answers: bool = False
    aes_key_wrap: bool = False
    aes_key_wrap_padded: str = ""
    aes_gcm: bool = False
    gcm_nonce: str = ""
    oaep_sha1: bool = False
    oaep_sha256: bool = False
    value_len_after_unwrap: bool = False
    readable_objects: bool = False
    created_objects: bool = False
    allowed_mechanisms: bool = False
    copyable: bool = False
    modifiable: bool = False
    derive_template: bool = False
    unnamed_usages_off: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the findings by name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Capabilities:
        """Read what `to_dict` returned; names that this version does not know are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    def has_suite(self, suite: Suite) -> bool:
        """Say whether the token can run a suite's derivation."""
        return self.suite_1 if suite is Suite.AES_CBC_ENCRYPT_DATA else self.suite_2


PURPOSES: Final[dict[str, str]] = {
    "suite_1": "wrapping keys by AES-CBC-ENCRYPT-DATA: symmetric KMS keys",
    "suite_2": "wrapping keys by SP 800-108 with AES-CMAC: symmetric KMS keys (reserved in this version)",
    "known_answers": "findings compared with software, not only with themselves",
    "aes_key_wrap": "RFC 3394: every ciphertext's wrapped key",
    "aes_key_wrap_padded": "RFC 5649: mode 3 (reserved in this version)",
    "aes_gcm": "plaintexts of any length up to 4096 bytes (mode 2, envelope)",
    "gcm_nonce": "who chooses the nonce of a mode 2 payload",
    "oaep_sha1": "RSAES_OAEP_SHA_1",
    "oaep_sha256": "RSAES_OAEP_SHA_256",
    "value_len_after_unwrap": "the length of what an RSA key unwraps can be read",
    "readable_objects": "Decrypt of mode 1; without it, plaintexts go by mode 2",
    "created_objects": "Encrypt in mode 1, canaries, import of key material",
    "allowed_mechanisms": "a key works with its one mechanism and no other",
    "copyable": "keys cannot be copied with weaker attributes",
    "modifiable": "keys cannot be given more usages later",
    "derive_template": "no readable key can be derived from a backing key",
    "unnamed_usages_off": "usages that a template does not name are off",
}
"""What each finding gives the KMS, for `hsm-kms token info`."""
