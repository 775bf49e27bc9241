"""What a token can do, as `probe` measured it, and what each finding gives the KMS.

A value of this class goes to the front in `TokenDescription.capabilities` and comes back to later workers in
`WorkerSettings.capabilities`, so that only the first worker of a service probes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from hsmkms.core.ciphertext import Suite
from hsmkms.core.material_commands import MacHash, PairSpec, Signing


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
        aes_key_unwrap_padded: The mechanism that unwraps what RFC 5649 wrapped, and wraps whole blocks of 8 bytes by it, such as
            `0x210A`, or empty.
        oaep_sha1: RSA-OAEP with SHA-1 wraps and unwraps.
        oaep_sha256: RSA-OAEP with SHA-256 wraps and unwraps.
        oaep_sha1_encrypts: RSA-OAEP with SHA-1 encrypts and decrypts data (`C_Encrypt`, `C_Decrypt`).
        oaep_sha256_encrypts: RSA-OAEP with SHA-256 encrypts and decrypts data.
        key_pairs: The kinds of key pair (`PairSpec`) that can be generated, by name, with spaces between.
        wrapped_private_keys: The kinds whose private keys `aes_key_unwrap_padded` wraps as mode PRIVATE_KEY has it (RFC 5649 of the
            PKCS#8 with fewer than 8 zeros after it), and unwraps into the same key.
        imported_key_pairs: The kinds whose private keys unwrap by RFC 5649 from any PKCS#8, and of which the public key can be had.
        unwrap_keeps_usages: An unwrapped private key has the usages of its template and no other; where not, they are set afterwards.
        signing_algorithms: The signing algorithms (`Signing`) by which software and the token check what the token signs, and the token
            refuses what is changed, by name, with spaces between.
        agreeing_key_pairs: The kinds of key pair with which the token derives the shared secrets that software derives.
        ec_points_in_der: ECDH takes the other's point only as a DER OCTET STRING.
        mac_hashes: The hashes (`MacHash`) whose HMAC is software's, by name, with spaces between.
        value_len_after_unwrap: `CKA_VALUE_LEN` of an unwrapped secret is its length, by RFC 3394 and by OAEP.
        aes_length_by_use: Where it is not: what unwraps as an AES key encrypts if it has 16, 24 or 32 bytes, and else does not, and
            the length of its key wrap tells which.
        readable_objects: A secret may be unwrapped so that its value can be read.
        created_objects: A secret may be created from a value.
        allowed_mechanisms: `CKA_ALLOWED_MECHANISMS` is accepted and holds.
        copyable: `CKA_COPYABLE` is accepted and holds.
        modifiable: `CKA_MODIFIABLE` is accepted and holds.
        derive_template: `CKA_DERIVE_TEMPLATE` is accepted, and keeps a derived key from being readable.
        unextractable: `CKA_EXTRACTABLE` = false holds: such a key is not wrapped.
        usages_hold: `CKA_DERIVE` = false holds: such a key does not derive.
        unnamed_usages_off: A usage that a template does not name is off; where not, the templates name each one.
    """

    suite_1: bool = False
    suite_2: bool = False
    known_answers: bool = False
    aes_key_wrap: bool = False
    aes_key_wrap_padded: str = ""
    aes_key_unwrap_padded: str = ""
    aes_gcm: bool = False
    gcm_nonce: str = ""
    oaep_sha1: bool = False
    oaep_sha256: bool = False
    oaep_sha1_encrypts: bool = False
    oaep_sha256_encrypts: bool = False
    key_pairs: str = ""
    wrapped_private_keys: str = ""
    imported_key_pairs: str = ""
    unwrap_keeps_usages: bool = False
    signing_algorithms: str = ""
    agreeing_key_pairs: str = ""
    ec_points_in_der: bool = False
    mac_hashes: str = ""
    value_len_after_unwrap: bool = False
    aes_length_by_use: bool = False
    readable_objects: bool = False
    created_objects: bool = False
    allowed_mechanisms: bool = False
    copyable: bool = False
    modifiable: bool = False
    derive_template: bool = False
    unextractable: bool = False
    usages_hold: bool = False
    unnamed_usages_off: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the findings by name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Capabilities:
        """Read what `to_dict` returned; names that this version does not know are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in document.items() if name in known})

    def makes(self, spec: PairSpec) -> bool:
        """Say whether the token can generate a kind of key pair."""
        return spec.name in self.key_pairs.split()

    def wraps_private(self, spec: PairSpec) -> bool:
        """Say whether the token can wrap and unwrap the private key of a kind of key pair (mode PRIVATE_KEY)."""
        return spec.name in self.wrapped_private_keys.split()

    def imports(self, spec: PairSpec) -> bool:
        """Say whether private keys of a kind of key pair can be imported."""
        return spec.name in self.imported_key_pairs.split()

    def signs(self, algorithm: Signing) -> bool:
        """Say whether the token signs and checks by an algorithm."""
        return algorithm.name in self.signing_algorithms.split()

    def agrees(self, spec: PairSpec) -> bool:
        """Say whether the token derives shared secrets with a kind of key pair."""
        return spec.name in self.agreeing_key_pairs.split()

    def macs(self, algorithm: MacHash) -> bool:
        """Say whether the token makes HMACs with a hash."""
        return algorithm.name in self.mac_hashes.split()

    def has_suite(self, suite: Suite) -> bool:
        """Say whether the token can run a suite's derivation."""
        return self.suite_1 if suite is Suite.AES_CBC_ENCRYPT_DATA else self.suite_2


PURPOSES: Final[dict[str, str]] = {
    "suite_1": "wrapping keys by AES-CBC-ENCRYPT-DATA: symmetric KMS keys",
    "suite_2": "wrapping keys by SP 800-108 with AES-CMAC: symmetric KMS keys",
    "known_answers": "findings compared with software, not only with themselves",
    "aes_key_wrap": "RFC 3394: every ciphertext's wrapped key",
    "aes_key_wrap_padded": "RFC 5649: plaintexts of other lengths up to 255 bytes as the wrapped object (mode 3)",
    "aes_key_unwrap_padded": "RFC 5649 of whole blocks: private keys (mode 4), import by RSA_AES_KEY_WRAP",
    "aes_gcm": "plaintexts of any length up to 4096 bytes (mode 2, envelope)",
    "gcm_nonce": "who chooses the nonce of a mode 2 payload",
    "oaep_sha1": "RSAES_OAEP_SHA_1",
    "oaep_sha256": "RSAES_OAEP_SHA_256",
    "oaep_sha1_encrypts": "Encrypt and Decrypt with RSAES_OAEP_SHA_1",
    "oaep_sha256_encrypts": "Encrypt and Decrypt with RSAES_OAEP_SHA_256",
    "key_pairs": "kinds of asymmetric KMS keys",
    "wrapped_private_keys": "kinds of data key pairs (mode 4)",
    "imported_key_pairs": "kinds of asymmetric KMS keys whose material can be imported",
    "unwrap_keeps_usages": "unwrapped private keys need no second step to be confined",
    "signing_algorithms": "Sign and Verify, by algorithm",
    "agreeing_key_pairs": "DeriveSharedSecret, by kind of key",
    "ec_points_in_der": "how the other's public key is handed over in DeriveSharedSecret",
    "mac_hashes": "HMAC KMS keys",
    "value_len_after_unwrap": "the length of what an RSA key unwraps can be read",
    "aes_length_by_use": "16, 24 and 32 bytes that an RSA key unwraps can be told from other lengths",
    "readable_objects": "Decrypt of mode 1; without it, plaintexts go by mode 2",
    "created_objects": "Encrypt in mode 1, canaries, import of key material",
    "allowed_mechanisms": "a key works with its one mechanism and no other",
    "copyable": "keys cannot be copied with weaker attributes",
    "modifiable": "keys cannot be given more usages later",
    "derive_template": "no readable key can be derived from a backing key",
    "unextractable": "whoever holds the PIN cannot take backing keys out of the token by wrapping them",
    "usages_hold": "keys do nothing that their template does not name",
    "unnamed_usages_off": "usages that a template does not name are off",
}
"""What each finding gives the KMS, for `hsm-kms token info`."""
