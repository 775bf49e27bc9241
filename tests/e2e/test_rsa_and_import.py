"""RSA keys and imported material as their owners use them: with the openssl program and `cryptography` on the other side."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from hsmkms.client import Client, errors
from hsmkms.client.contract import GetParametersForImportResponse
from hsmkms.core.import_tokens import Parameters
from support.bad_oaep import bad_ciphertexts

pytestmark = pytest.mark.every_token

SHA_1, SHA_256 = "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"
HASHES = {SHA_1: ("sha1", hashes.SHA1()), SHA_256: ("sha256", hashes.SHA256())}
POSSIBLE = {"SoftHSM": (SHA_1,), "NSS": (SHA_1, SHA_256)}
WRAPPINGS = {
    "SoftHSM": (SHA_1, "RSA_AES_KEY_WRAP_SHA_1"),
    "NSS": (SHA_1, SHA_256, "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"),
}
NO_EXPIRY = "KEY_MATERIAL_DOES_NOT_EXPIRE"
CONTEXT = {"tenant": "blue"}
CRAFTED = 108
"""Wrong ciphertexts over the network, six of each kind; the thousand are in tests/token."""


class OpenSsl:
    """The openssl program, with files in a folder.

    Args:
        folder: For its files; keys and plaintexts are the test's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, *arguments: str, **files: bytes) -> bytes:
        """Run it where these files are, and return what it wrote to `out`, or else to standard output."""
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        out = self._folder / "out"
        out.unlink(missing_ok=True)
        done = subprocess.run(["openssl", *arguments], cwd=self._folder, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return out.read_bytes() if out.exists() else done.stdout

    def encrypt(self, public_key: bytes, plaintext: bytes, digest: str, mask: str = "") -> bytes:
        """Encrypt by OAEP."""
        options = [f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{mask or digest}"]
        return self._pkeyutl("-encrypt", "-pubin", options, key=public_key, plain=plaintext)

    def decrypt(self, private_key: bytes, ciphertext: bytes, digest: str) -> bytes:
        """Decrypt by OAEP."""
        options = [f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}"]
        return self._pkeyutl("-decrypt", "-inkey", options, key=private_key, plain=ciphertext)

    def _pkeyutl(self, what: str, kind: str, options: list[str], **files: bytes) -> bytes:
        pubin = [kind] if kind == "-pubin" else []
        all_options = [part for option in ["rsa_padding_mode:oaep", *options] for part in ("-pkeyopt", option)]
        key = ["-inkey", "key", "-keyform", "DER"]
        return self.run("pkeyutl", what, *pubin, *key, *all_options, "-in", "plain", "-out", "out", **files)

    def new_rsa_key(self, bits: int) -> bytes:
        """Make an RSA key; return its private key as DER PKCS#8."""
        self.run("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{bits}", "-out", "new.pem")
        return self.run("pkcs8", "-topk8", "-nocrypt", "-in", "new.pem", "-outform", "DER", "-out", "out")

    def wrap(self, wrapping: str, public_key: bytes, material: bytes) -> bytes:
        """Encrypt key material for import, as AWS documents it, by any wrapping algorithm."""
        digest = "sha256" if wrapping.endswith("SHA_256") else "sha1"
        if wrapping.startswith("RSAES_OAEP"):
            return self.encrypt(public_key, material, digest)
        one_time = self.run("rand", "32")
        wrap_pad = ["enc", "-id-aes256-wrap-pad", "-K", one_time.hex(), "-iv", "A65959A6"]
        wrapped = self.run(*wrap_pad, "-in", "material", "-out", "out", material=material)
        return self.encrypt(public_key, one_time, digest) + wrapped


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSsl:
    return OpenSsl(tmp_path)


def public_of(client: Client, key_id: str) -> bytes:
    return client.get_public_key(key_id=key_id).public_key


def loaded(public_key: bytes) -> rsa.RSAPublicKey:
    key = serialization.load_der_public_key(public_key)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def opened(client: Client, blob: bytes, context: dict[str, str] | None = None) -> bytes:
    return client.decrypt(ciphertext_blob=blob, encryption_context=context or {}).plaintext


def opened_rsa(client: Client, key_id: str, blob: bytes, algorithm: str = SHA_1) -> bytes:
    return client.decrypt(key_id=key_id, ciphertext_blob=blob, encryption_algorithm=algorithm).plaintext


def moved_from_rsa(client: Client, key_id: str, blob: bytes, algorithm: str = SHA_1) -> bytes:
    return client.re_encrypt(
        ciphertext_blob=blob,
        source_key_id=key_id,
        source_encryption_algorithm=algorithm,
        destination_key_id="alias/destination",
        destination_encryption_context=CONTEXT,
    ).ciphertext_blob


def parameters(client: Client, key_id: str, wrapping: str = SHA_1) -> GetParametersForImportResponse:
    return client.get_parameters_for_import(key_id=key_id, wrapping_algorithm=wrapping, wrapping_key_spec="RSA_2048")


def import_into(client: Client, key_id: str, token: bytes, encrypted: bytes) -> str | None:
    """Import for ever; return the material's id."""
    answer = client.import_key_material(
        key_id=key_id, import_token=token, encrypted_key_material=encrypted, expiration_model=NO_EXPIRY
    )
    return answer.key_material_id


@pytest.fixture(scope="module")
def rsa_key(client: Client) -> str:
    """An RSA_2048 key that the token made."""
    return client.create_key(key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT").key_metadata.arn


@pytest.fixture(scope="module")
def new_key(client: Client) -> Callable[..., str]:
    """Make a key of origin EXTERNAL, and return its ARN."""
    return lambda **members: client.create_key(origin="EXTERNAL", **members).key_metadata.arn


# RSA keys of the token.


def test_only_what_the_token_can_do_is_listed_and_the_rest_is_refused_by_its_mechanism(
    client: Client, rsa_key: str, token_name: str
) -> None:
    assert client.describe_key(key_id=rsa_key).key_metadata.encryption_algorithms == POSSIBLE[token_name]
    assert client.get_public_key(key_id=rsa_key).encryption_algorithms == POSSIBLE[token_name]
    for algorithm in HASHES:
        if algorithm in POSSIBLE[token_name]:
            blob = client.encrypt(key_id=rsa_key, plaintext=b"x", encryption_algorithm=algorithm).ciphertext_blob
            assert opened_rsa(client, rsa_key, blob, algorithm) == b"x"
            continue
        for call in (
            lambda: client.encrypt(key_id=rsa_key, plaintext=b"x", encryption_algorithm=SHA_256),
            lambda: opened_rsa(client, rsa_key, bytes(256), SHA_256),
            lambda: moved_from_rsa(client, rsa_key, bytes(256), SHA_256),
        ):
            with pytest.raises(errors.UnsupportedOperationException) as refused:
                call()
            assert refused.value.message == (
                "Algorithm RSAES_OAEP_SHA_256 is not possible with this token. "
                "Missing: CKM_RSA_PKCS_OAEP with SHA-256. Use RSAES_OAEP_SHA_1."
            )


@pytest.mark.parametrize("length", [16, 24, 32])
def test_what_openssl_and_cryptography_encrypt_moves_to_a_symmetric_key(
    client: Client, openssl: OpenSsl, rsa_key: str, token_name: str, length: int
) -> None:
    public_key = public_of(client, rsa_key)
    for algorithm in POSSIBLE[token_name]:
        digest, hashing = HASHES[algorithm]
        plaintext = os.urandom(length)
        oaep = padding.OAEP(padding.MGF1(hashing), hashing, None)
        for blob in (openssl.encrypt(public_key, plaintext, digest), loaded(public_key).encrypt(plaintext, oaep)):
            assert opened_rsa(client, rsa_key, blob, algorithm) == plaintext
            assert opened(client, moved_from_rsa(client, rsa_key, blob, algorithm), CONTEXT) == plaintext


def test_what_java_makes_by_default_is_refused_and_what_the_document_names_works(
    client: Client, openssl: OpenSsl, rsa_key: str, token_name: str
) -> None:
    """OAEPWithSHA-256AndMGF1Padding has MGF1 with SHA-1 unless an OAEPParameterSpec says otherwise (docs/tokens.md)."""
    public_key, plaintext = public_of(client, rsa_key), os.urandom(32)
    by_default = openssl.encrypt(public_key, plaintext, "sha256", mask="sha1")
    for algorithm in POSSIBLE[token_name]:
        for call in (opened_rsa, moved_from_rsa):
            with pytest.raises(errors.InvalidCiphertextException) as refused:
                call(client, rsa_key, by_default, algorithm)
            assert refused.value.message == ""
    by_sha1 = openssl.encrypt(public_key, plaintext, "sha1", mask="sha1")
    assert opened(client, moved_from_rsa(client, rsa_key, by_sha1), CONTEXT) == plaintext
    if SHA_256 in POSSIBLE[token_name]:
        by_specification = openssl.encrypt(public_key, plaintext, "sha256", mask="sha256")
        assert opened(client, moved_from_rsa(client, rsa_key, by_specification, SHA_256), CONTEXT) == plaintext


def test_whatever_is_wrong_with_an_oaep_ciphertext_there_is_one_answer(client: Client, rsa_key: str) -> None:
    makers = list(bad_ciphertexts(loaded(public_of(client, rsa_key))).values())
    calls = (
        lambda bad: opened_rsa(client, rsa_key, bad),
        lambda bad: moved_from_rsa(client, rsa_key, bad),
        lambda bad: client.re_encrypt(
            ciphertext_blob=bad,
            source_key_id=rsa_key,
            source_encryption_algorithm=SHA_1,
            destination_key_id=rsa_key,
            destination_encryption_algorithm=SHA_1,
        ),
    )
    answers = set()
    for number in range(CRAFTED):
        with pytest.raises(errors.KmsError) as refused:
            calls[number // len(makers) % len(calls)](makers[number % len(makers)]())
        answers.add((type(refused.value), refused.value.message))
    assert answers == {(errors.InvalidCiphertextException, "")}


# Imported material.


def test_symmetric_material_that_openssl_wrapped_is_imported_and_used(
    client: Client, openssl: OpenSsl, new_key: Callable[..., str], token_name: str
) -> None:
    material = openssl.run("rand", "32")
    for wrapping in WRAPPINGS[token_name]:
        key_id = new_key()
        given = parameters(client, key_id, wrapping)
        encrypted = openssl.wrap(wrapping, given.public_key, material)
        material_id = import_into(client, key_id, given.import_token, encrypted)
        now = client.describe_key(key_id=key_id).key_metadata
        assert (now.key_state, now.origin, now.expiration_model) == ("Enabled", "EXTERNAL", NO_EXPIRY)
        assert now.current_key_material_id == material_id

        for plaintext in (os.urandom(32), b"an envelope, since 29 bytes."):
            blob = client.encrypt(key_id=key_id, plaintext=plaintext, encryption_context=CONTEXT).ciphertext_blob
            assert opened(client, blob, CONTEXT) == plaintext
            to_it = client.re_encrypt(
                ciphertext_blob=client.encrypt(key_id="alias/source", plaintext=plaintext).ciphertext_blob,
                destination_key_id=key_id,
            )
            assert opened(client, to_it.ciphertext_blob) == plaintext
            from_it = client.re_encrypt(
                ciphertext_blob=blob, source_encryption_context=CONTEXT, destination_key_id="alias/destination"
            )
            assert opened(client, from_it.ciphertext_blob) == plaintext

    client.delete_imported_key_material(key_id=key_id)
    with pytest.raises(errors.KMSInvalidStateException, match="is pending import"):
        opened(client, blob, CONTEXT)
    assert import_into(client, key_id, given.import_token, encrypted) == material_id, "the same again"
    assert opened(client, blob, CONTEXT) == plaintext


def test_what_the_token_cannot_unwrap_is_refused_by_name(
    client: Client, new_key: Callable[..., str], token_name: str
) -> None:
    key_id = new_key()
    for wrapping in WRAPPINGS["NSS"]:
        if wrapping in WRAPPINGS[token_name]:
            assert parameters(client, key_id, wrapping).import_token
            continue
        with pytest.raises(errors.UnsupportedOperationException, match="SHA-256") as refused:
            parameters(client, key_id, wrapping)
        assert refused.value.message.startswith(
            f"WrappingAlgorithm {wrapping} is not possible with this token. Missing: "
        )


@pytest.mark.parametrize("bits", [2048, 4096])
def test_an_rsa_private_key_that_openssl_wrapped_is_imported_and_used(
    client: Client, openssl: OpenSsl, new_key: Callable[..., str], token_name: str, bits: int
) -> None:
    private_key = openssl.new_rsa_key(bits)
    wrapping = WRAPPINGS[token_name][-1]
    key_id = new_key(key_spec=f"RSA_{bits}", key_usage="ENCRYPT_DECRYPT")
    given = parameters(client, key_id, wrapping)
    import_into(client, key_id, given.import_token, openssl.wrap(wrapping, given.public_key, private_key))
    public_key = public_of(client, key_id)
    assert public_key == openssl.run(
        "pkey", "-inform", "DER", "-in", "private", "-pubout", "-outform", "DER", private=private_key
    )

    for algorithm in POSSIBLE[token_name]:
        digest, _ = HASHES[algorithm]
        plaintext = os.urandom(32)
        blob = openssl.encrypt(public_key, plaintext, digest)
        assert opened_rsa(client, key_id, blob, algorithm) == plaintext
        assert opened(client, moved_from_rsa(client, key_id, blob, algorithm), CONTEXT) == plaintext
        sealed = client.encrypt(key_id="alias/source", plaintext=plaintext, encryption_context=CONTEXT)
        moved = client.re_encrypt(
            ciphertext_blob=sealed.ciphertext_blob,
            source_encryption_context=CONTEXT,
            destination_key_id=key_id,
            destination_encryption_algorithm=algorithm,
        )
        assert openssl.decrypt(private_key, moved.ciphertext_blob, digest) == plaintext


def test_each_wrong_import_has_its_own_error_and_leaves_nothing(
    client: Client, openssl: OpenSsl, new_key: Callable[..., str]
) -> None:
    key_id, other = new_key(), new_key()
    given, others = parameters(client, key_id), parameters(client, other)
    again = parameters(client, key_id)
    right = openssl.run("rand", "32")

    def refusal(
        error: type[errors.KmsError], token: bytes, material: bytes, public_key: bytes = given.public_key
    ) -> str:
        with pytest.raises(error) as refused:
            import_into(client, key_id, token, openssl.wrap(SHA_1, public_key, material))
        assert type(refused.value) is error
        return refused.value.message

    for length in (16, 24, 31, 33):
        message = refusal(errors.ValidationException, given.import_token, os.urandom(length))
        assert "32 bytes" in message
    not_ours = "The import token is not one that this service issued."
    invalid = errors.InvalidImportTokenException
    assert refusal(invalid, b"none at all", right) == not_ours
    assert refusal(invalid, others.import_token, right, others.public_key) == "The import token is for another KMS key."
    clear, private = _split(given.import_token)
    altered = "The import token is not one that this service issued for this key."
    assert refusal(invalid, clear[:-1] + bytes([clear[-1] ^ 1]) + private, right) == altered
    assert refusal(invalid, given.import_token[:-1] + bytes([given.import_token[-1] ^ 1]), right) == altered
    expired = _of_the_past(clear) + private
    assert "has expired: call GetParametersForImport again" in refusal(
        errors.ExpiredImportTokenException, expired, right
    )
    not_under_it = refusal(errors.InvalidCiphertextException, again.import_token, right)
    assert not_under_it == "", "one token's material, another's public key"
    assert client.describe_key(key_id=key_id).key_metadata.key_state == "PendingImport"

    import_into(client, key_id, given.import_token, openssl.wrap(SHA_1, given.public_key, right))
    blob = client.encrypt(key_id=key_id, plaintext=b"kept").ciphertext_blob
    another = errors.IncorrectKeyMaterialException
    assert "not the one that was imported" in refusal(another, given.import_token, os.urandom(32))
    assert opened(client, blob) == b"kept"


def _split(token: bytes) -> tuple[bytes, bytes]:
    """Return the clear part of an import token, and the private key wrapped in it."""
    length = len(Parameters(bytes(16), 1, 1, 0, bytes(16)).to_bytes())  # type: ignore[arg-type]
    return token[:length], token[length:]


def _of_the_past(clear: bytes) -> bytes:
    """Return the clear part of an import token that expired in 1970: its u64 expiry stands before its salt."""
    return clear[:-24] + (1).to_bytes(8, "big") + clear[-16:]


# Data key pairs.


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256"])
def test_a_data_key_pair_is_whole_in_the_clear_after_decrypt_and_after_re_encrypt(
    client: Client, token_name: str, spec: str
) -> None:
    named = {"key_id": "alias/source", "key_pair_spec": spec, "encryption_context": CONTEXT}
    if (token_name, spec) == ("NSS", "ECC_NIST_P256"):
        with pytest.raises(errors.UnsupportedOperationException, match="KeyPairSpec ECC_NIST_P256 is not possible"):
            client.generate_data_key_pair(**named)
        return
    shown = client.generate_data_key_pair(**named)
    hidden = client.generate_data_key_pair_without_plaintext(**named)
    assert opened(client, shown.private_key_ciphertext_blob, CONTEXT) == shown.private_key_plaintext
    for made in (shown, hidden):
        moved = client.re_encrypt(
            ciphertext_blob=made.private_key_ciphertext_blob,
            source_encryption_context=CONTEXT,
            destination_key_id="alias/destination",
        )
        plaintext = opened(client, moved.ciphertext_blob)
        assert plaintext == opened(client, made.private_key_ciphertext_blob, CONTEXT)
        private = serialization.load_der_private_key(plaintext, None)
        assert isinstance(private, rsa.RSAPrivateKey if spec.startswith("RSA") else ec.EllipticCurvePrivateKey)
        public = private.public_key()
        der, info = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        assert public.public_bytes(der, info) == made.public_key
    assert shown.public_key != hidden.public_key
