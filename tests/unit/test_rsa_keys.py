"""RSA KMS keys to encrypt with: Encrypt, Decrypt, and ReEncrypt from and to them; what is refused, when, and in which words."""

import os

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from hsmkms.core.ciphertext import Mode, parse
from hsmkms.core.commands import Rewrap, Verify
from hsmkms.core.material_commands import (
    DecryptRsa,
    EncryptRsa,
    RewrapFromRsa,
    RewrapRsa,
    RewrapToRsa,
    VerifyRsa,
)
from hsmkms.core.request_members import NO_CONTEXT
from support.deployment import BAD_CIPHERTEXT, CONTEXT, DRY_RUN, INCORRECT_KEY, Deployment, arn_of, not_authorised
from support.simulated_token import LIKE_SOFTHSM, SimulatedToken

SHA_1, SHA_256 = "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"
DATA_KEY = b"0123456789abcdef"


async def with_rsa_keys(world):
    for name in ("r", "s"):
        key_id = await world.new_key(key_spec="RSA_2048", key_usage="ENCRYPT_DECRYPT")
        setattr(world, name, key_id)
        await world.do("CreateAlias", alias_name=f"alias/{name}", target_key_id=key_id)
    world.forget()
    return world


@pytest.fixture
async def rsa(world):
    """The deployment, with two RSA keys r and s on a token that can do everything."""
    return await with_rsa_keys(world)


@pytest.fixture
async def softhsm():
    """The same, on a token that lacks what SoftHSM lacks."""
    return await with_rsa_keys(await Deployment(token=SimulatedToken(features=LIKE_SOFTHSM)).prepare())


def oaep(algorithm):
    digest = hashes.SHA1() if algorithm == SHA_1 else hashes.SHA256()
    return padding.OAEP(padding.MGF1(digest), digest, None)


async def sealed_outside(world, plaintext, algorithm=SHA_256, key_id="alias/r"):
    """Encrypt with the public key alone, as openssl does."""
    der = (await world.do("GetPublicKey", key_id=key_id)).public_key
    return serialization.load_der_public_key(der).encrypt(plaintext, oaep(algorithm))


async def opened_rsa(world, blob, algorithm=SHA_256, key_id="alias/s"):
    answer = await world.do("Decrypt", key_id=key_id, ciphertext_blob=blob, encryption_algorithm=algorithm)
    return answer.plaintext


def kinds(world):
    return [type(command) for command in world.token.asked]


# What there is


async def test_an_rsa_key_is_described_with_its_algorithms_and_its_public_key(rsa):
    described = (await rsa.do("DescribeKey", key_id="alias/r")).key_metadata
    assert (described.key_spec, described.key_usage, described.key_state) == ("RSA_2048", "ENCRYPT_DECRYPT", "Enabled")
    assert described.encryption_algorithms == (SHA_1, SHA_256)
    assert described.signing_algorithms == described.mac_algorithms == described.key_agreement_algorithms == ()
    assert described.current_key_material_id is None
    answer = await rsa.do("GetPublicKey", key_id="alias/r")
    assert (answer.key_id, answer.key_spec, answer.key_usage) == (arn_of(rsa.r), "RSA_2048", "ENCRYPT_DECRYPT")
    assert answer.encryption_algorithms == (SHA_1, SHA_256)
    assert serialization.load_der_public_key(answer.public_key).key_size == 2048
    assert answer.public_key != (await rsa.do("GetPublicKey", key_id="alias/s")).public_key
    assert not rsa.token.asked, "the token is not asked for what the catalog has"


async def test_an_algorithm_that_the_token_lacks_is_not_listed_and_refused_by_name(softhsm):
    assert (await softhsm.do("DescribeKey", key_id="alias/r")).key_metadata.encryption_algorithms == (SHA_1,)
    assert (await softhsm.do("GetPublicKey", key_id="alias/r")).encryption_algorithms == (SHA_1,)
    expected = (
        "UnsupportedOperationException",
        f"Algorithm {SHA_256} is not possible with this token. Missing: CKM_RSA_PKCS_OAEP with SHA-256. Use {SHA_1}.",
    )
    named = {"key_id": "alias/r", "encryption_algorithm": SHA_256}
    assert await softhsm.refusal("Encrypt", **named, plaintext=b"x") == expected
    assert await softhsm.refusal("Decrypt", **named, ciphertext_blob=bytes(256)) == expected
    source = {"source_key_id": "alias/r", "source_encryption_algorithm": SHA_256, "ciphertext_blob": bytes(256)}
    assert await softhsm.no_re_encrypt(**source) == expected
    to_rsa = {"destination_key_id": "alias/r", "destination_encryption_algorithm": SHA_256}
    assert await softhsm.no_re_encrypt(ciphertext_blob=softhsm.direct, **to_rsa) == expected
    assert not softhsm.token.asked


# Encrypt and Decrypt


@pytest.mark.parametrize("algorithm", [SHA_1, SHA_256])
async def test_encrypt_and_decrypt_are_inverse_and_name_no_material(rsa, algorithm):
    sealed = await rsa.do("Encrypt", key_id="alias/r", plaintext=b"secret", encryption_algorithm=algorithm)
    assert (sealed.key_id, sealed.encryption_algorithm) == (arn_of(rsa.r), algorithm)
    assert len(sealed.ciphertext_blob) == 256
    opened = await rsa.do(
        "Decrypt", key_id="alias/r", ciphertext_blob=sealed.ciphertext_blob, encryption_algorithm=algorithm
    )
    assert (opened.plaintext, opened.key_id, opened.encryption_algorithm) == (b"secret", arn_of(rsa.r), algorithm)
    assert opened.key_material_id is None
    assert kinds(rsa) == [EncryptRsa, DecryptRsa]


async def test_what_was_encrypted_outside_is_decrypted(rsa):
    assert await opened_rsa(rsa, await sealed_outside(rsa, b"from openssl"), key_id="alias/r") == b"from openssl"


@pytest.mark.parametrize(("algorithm", "longest"), [(SHA_1, 214), (SHA_256, 190)])
async def test_a_plaintext_longer_than_the_key_has_room_for_is_refused(rsa, algorithm, longest):
    request = {"key_id": "alias/r", "encryption_algorithm": algorithm}
    expected = (
        "ValidationException",
        f"Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {longest} bytes.",
    )
    for dry_run in (False, True):
        assert await rsa.refusal("Encrypt", **request, plaintext=b"x" * (longest + 1), dry_run=dry_run) == expected
    assert not rsa.token.asked
    assert await rsa.do("Encrypt", **request, plaintext=b"x" * longest)


@pytest.mark.parametrize(
    "spoil",
    [lambda blob: blob[:-1], lambda blob: blob + b"x", lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]), lambda _: b"x"],
    ids=["shorter", "longer", "changed", "one byte"],
)
async def test_a_wrong_oaep_ciphertext_is_invalid(rsa, spoil):
    blob = spoil(await sealed_outside(rsa, DATA_KEY))
    named = {"key_id": "alias/r", "encryption_algorithm": SHA_256, "ciphertext_blob": blob}
    for dry_run in (False, True):
        assert await rsa.refusal("Decrypt", **named, dry_run=dry_run) == BAD_CIPHERTEXT
    source = {"source_key_id": "alias/r", "source_encryption_algorithm": SHA_256, "ciphertext_blob": blob}
    for destination in ("alias/b", "alias/s"):
        request = source | {"destination_key_id": destination}
        request |= {"destination_encryption_algorithm": SHA_256} if destination == "alias/s" else {}
        assert await rsa.no_re_encrypt(**request) == BAD_CIPHERTEXT


async def test_symmetric_default_does_not_go_with_an_rsa_key(rsa):
    expected = (
        "InvalidKeyUsageException",
        f"Algorithm SYMMETRIC_DEFAULT and key spec RSA_2048 are incompatible: use {SHA_1} or {SHA_256}.",
    )
    assert await rsa.refusal("Encrypt", key_id="alias/r", plaintext=b"x") == expected
    assert await rsa.no_re_encrypt(destination_key_id="alias/r") == expected
    assert await rsa.refusal("Decrypt", key_id="alias/r", ciphertext_blob=rsa.blob) == INCORRECT_KEY


async def test_sm2_is_refused_by_the_mechanism_that_is_missing(rsa):
    missing = "Missing: an SM2 encryption mechanism (a vendor's: PKCS#11 has no standard one"
    for operation, request in (
        ("Encrypt", {"key_id": "alias/r", "plaintext": b"x", "encryption_algorithm": "SM2PKE"}),
        ("Encrypt", {"key_id": "alias/a", "plaintext": b"x", "encryption_algorithm": "SM2PKE"}),
        ("Decrypt", {"key_id": "alias/r", "ciphertext_blob": b"x", "encryption_algorithm": "SM2PKE"}),
        (
            "ReEncrypt",
            {
                "ciphertext_blob": rsa.direct,
                "destination_key_id": "alias/r",
                "destination_encryption_algorithm": "SM2PKE",
            },
        ),
    ):
        code, text = await rsa.refusal(operation, **request)
        assert code == "UnsupportedOperationException"
        assert missing in text
    assert not rsa.token.asked


async def test_an_rsa_key_makes_no_data_keys(rsa):
    for operation, size in (
        ("GenerateDataKey", {"key_spec": "AES_256"}),
        ("GenerateDataKeyWithoutPlaintext", {"number_of_bytes": 16}),
        ("GenerateDataKeyPair", {"key_pair_spec": "RSA_2048"}),
    ):
        assert await rsa.refusal(operation, key_id="alias/r", **size) == (
            "InvalidKeyUsageException",
            (
                f"{arn_of(rsa.r)} key spec is RSA_2048 which is not valid for {operation}; "
                "use a key whose key spec is SYMMETRIC_DEFAULT."
            ),
        )


# ReEncrypt


FROM = {"source_key_id": "alias/r", "source_encryption_algorithm": SHA_256}
TO = {"destination_key_id": "alias/s", "destination_encryption_algorithm": SHA_1}


async def test_from_symmetric_to_rsa(rsa):
    answer = await rsa.re_encrypt(ciphertext_blob=rsa.direct, **TO)
    assert kinds(rsa) == [RewrapToRsa]
    assert (answer.source_key_id, answer.key_id) == (arn_of(rsa.a), arn_of(rsa.s))
    assert (answer.source_encryption_algorithm, answer.destination_encryption_algorithm) == ("SYMMETRIC_DEFAULT", SHA_1)
    assert answer.source_key_material_id == rsa.material(rsa.a)
    assert answer.destination_key_material_id is None
    assert len(answer.ciphertext_blob) == 256
    assert await opened_rsa(rsa, answer.ciphertext_blob, SHA_1) == DATA_KEY


async def test_from_rsa_to_symmetric(rsa):
    blob = await sealed_outside(rsa, DATA_KEY)
    answer = await rsa.re_encrypt(ciphertext_blob=blob, **FROM, destination_encryption_context=CONTEXT)
    assert kinds(rsa) == [RewrapFromRsa]
    assert (answer.source_key_id, answer.key_id) == (arn_of(rsa.r), arn_of(rsa.b))
    assert (answer.source_encryption_algorithm, answer.destination_encryption_algorithm) == (
        SHA_256,
        "SYMMETRIC_DEFAULT",
    )
    assert answer.source_key_material_id is None
    assert answer.destination_key_material_id == rsa.material(rsa.b)
    header = parse(answer.ciphertext_blob).header
    assert (header.mode, header.length) == (Mode.DIRECT, len(DATA_KEY))
    assert await rsa.opened(answer.ciphertext_blob, CONTEXT) == DATA_KEY
    assert rsa.counted.current == 1


async def test_from_rsa_to_rsa_and_to_the_same_key(rsa):
    blob = await sealed_outside(rsa, b"any length")
    answer = await rsa.re_encrypt(ciphertext_blob=blob, **FROM, **TO)
    assert kinds(rsa) == [RewrapRsa]
    assert answer.source_key_material_id is answer.destination_key_material_id is None
    assert await opened_rsa(rsa, answer.ciphertext_blob, SHA_1) == b"any length"
    same = {"destination_key_id": "alias/r", "destination_encryption_algorithm": SHA_256}
    again = await rsa.re_encrypt(ciphertext_blob=blob, **FROM, **same)
    assert again.ciphertext_blob != blob
    assert await opened_rsa(rsa, again.ciphertext_blob, key_id="alias/r") == b"any length"


async def test_from_symmetric_to_symmetric_keeps_the_mode_of_a_private_key(rsa):
    pair = await rsa.do("GenerateDataKeyPair", key_id="alias/a", key_pair_spec="ECC_NIST_P256")
    answer = await rsa.re_encrypt(ciphertext_blob=pair.private_key_ciphertext_blob)
    before, after = parse(pair.private_key_ciphertext_blob).header, parse(answer.ciphertext_blob).header
    assert (after.mode, after.key_type) == (before.mode, before.key_type)
    assert (rsa.token.asked[-1].mode, rsa.token.asked[-1].key_type) == (Mode.PRIVATE_KEY, before.key_type)
    assert await rsa.opened(answer.ciphertext_blob) == pair.private_key_plaintext


async def test_an_envelope_or_a_private_key_is_refused_before_anything_is_unwrapped(rsa):
    for dry_run in (False, True):
        code, text = await rsa.no_re_encrypt(**TO, dry_run=dry_run)
        assert code == "UnsupportedOperationException"
        assert text == (
            "The ciphertext is an envelope, whose plaintext cannot move to an RSA key without leaving the token "
            "(data keys and other plaintexts of 16 to 256 bytes, a multiple of 8, can): "
            f"Decrypt it, and Encrypt the plaintext under {arn_of(rsa.s)}."
        )
    assert not rsa.token.asked
    pair = await rsa.do("GenerateDataKeyPair", key_id="alias/a", key_pair_spec="ECC_NIST_P256")
    rsa.forget()
    code, text = await rsa.no_re_encrypt(ciphertext_blob=pair.private_key_ciphertext_blob, **TO)
    assert code == "UnsupportedOperationException"
    assert text.startswith("The ciphertext holds the private key of a data key pair")
    assert not rsa.token.asked


async def test_a_payload_too_long_for_the_key_is_refused_before_anything_is_unwrapped(rsa):
    blob = await rsa.sealed(b"x" * 216, "alias/a")
    rsa.forget()
    for algorithm, longest in ((SHA_1, 214), (SHA_256, 190)):
        request = {"destination_key_id": "alias/s", "destination_encryption_algorithm": algorithm}
        assert await rsa.no_re_encrypt(ciphertext_blob=blob, **request) == (
            "ValidationException",
            f"Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {longest} bytes.",
        )
    assert not rsa.token.asked


async def test_from_rsa_to_rsa_the_token_finds_what_is_too_long(rsa):
    blob = await sealed_outside(rsa, b"x" * 191, SHA_1)
    source = {"source_key_id": "alias/r", "source_encryption_algorithm": SHA_1}
    request = {"destination_key_id": "alias/s", "destination_encryption_algorithm": SHA_256}
    for dry_run in (False, True):
        assert await rsa.no_re_encrypt(ciphertext_blob=blob, **source, **request, dry_run=dry_run) == (
            "ValidationException",
            f"Algorithm {SHA_256} and key spec RSA_2048 cannot encrypt data larger than 190 bytes.",
        )


@pytest.mark.parametrize("length", [1, 15, 16, 24, 32, 40, 56, 190])
async def test_a_length_that_cannot_be_proven_or_wrapped_exactly_is_refused(rsa, softhsm, length):
    for world, algorithm in ((rsa, SHA_256), (softhsm, SHA_1)):
        blob = await sealed_outside(world, b"p" * length, algorithm)
        source = {"source_key_id": "alias/r", "source_encryption_algorithm": algorithm, "ciphertext_blob": blob}
        provable = length in (16, 24, 32) if world is softhsm else length % 8 == 0 and length >= 16
        for dry_run in (True, False):
            if provable and not dry_run:
                assert await world.opened((await world.re_encrypt(**source)).ciphertext_blob) == b"p" * length
                continue
            refused = await world.no_re_encrypt(**source, dry_run=dry_run)
            assert refused == DRY_RUN if provable else refused[0] == "UnsupportedOperationException"


@pytest.mark.parametrize("empty_to", ["alias/b", "alias/s"])
async def test_an_empty_payload_is_refused(rsa, empty_to):
    blob = await sealed_outside(rsa, b"")
    request = {"destination_key_id": empty_to}
    request |= {"destination_encryption_algorithm": SHA_256} if empty_to == "alias/s" else {}
    code, _ = await rsa.no_re_encrypt(ciphertext_blob=blob, **FROM, **request)
    assert code == "UnsupportedOperationException"


async def test_a_dry_run_judges_the_ciphertext_on_the_token(rsa):
    blob = await sealed_outside(rsa, DATA_KEY)
    assert await rsa.no_re_encrypt(ciphertext_blob=rsa.direct, **TO, dry_run=True) == DRY_RUN
    assert kinds(rsa) == [Verify]
    for destination in ({}, TO):
        assert await rsa.no_re_encrypt(ciphertext_blob=blob, **FROM, **destination, dry_run=True) == DRY_RUN
    rsa.forget()
    named = {"key_id": "alias/r", "encryption_algorithm": SHA_256}
    assert await rsa.refusal("Decrypt", **named, ciphertext_blob=blob, dry_run=True) == DRY_RUN
    assert await rsa.refusal("Encrypt", **named, plaintext=b"x", dry_run=True) == DRY_RUN
    assert kinds(rsa) == [VerifyRsa]
    damaged = rsa.direct[:-1] + bytes([rsa.direct[-1] ^ 1])
    assert await rsa.no_re_encrypt(ciphertext_blob=damaged, **TO, dry_run=True) == BAD_CIPHERTEXT
    assert rsa.environment.uses.last(rsa.r) is None, "a dry run is no use"


async def test_ignore_ciphertext_judges_rsa_keys_without_the_token(rsa):
    modifiers = {"dry_run": True, "dry_run_modifiers": ("IGNORE_CIPHERTEXT",)}
    assert await rsa.refusal("ReEncrypt", **FROM, **TO, **modifiers) == DRY_RUN
    named = {"key_id": "alias/r", "encryption_algorithm": SHA_256}
    assert await rsa.refusal("Decrypt", **named, **modifiers) == DRY_RUN
    assert not rsa.token.asked


async def test_a_context_on_an_asymmetric_side_is_refused_by_name(rsa):
    blob = await sealed_outside(rsa, DATA_KEY)

    def text(key_id, member):
        return "ValidationException", (
            f"{arn_of(key_id)} key spec is RSA_2048, whose ciphertexts have no encryption context: "
            f"leave {member} out, or use a key whose key spec is SYMMETRIC_DEFAULT."
        )

    source = await rsa.no_re_encrypt(ciphertext_blob=blob, **FROM, source_encryption_context=CONTEXT)
    assert source == text(rsa.r, "SourceEncryptionContext")
    destination = await rsa.no_re_encrypt(ciphertext_blob=rsa.direct, **TO, destination_encryption_context=CONTEXT)
    assert destination == text(rsa.s, "DestinationEncryptionContext")
    named = {"key_id": "alias/r", "encryption_algorithm": SHA_256, "encryption_context": CONTEXT}
    assert await rsa.refusal("Encrypt", **named, plaintext=b"x") == text(rsa.r, "EncryptionContext")
    assert await rsa.refusal("Decrypt", **named, ciphertext_blob=blob) == text(rsa.r, "EncryptionContext")
    assert not rsa.token.asked


async def test_a_key_of_another_usage_is_no_source_and_no_destination(rsa):
    signer = await rsa.new_key(key_spec="RSA_2048", key_usage="SIGN_VERIFY")
    source = {"source_key_id": signer, "source_encryption_algorithm": SHA_256, "ciphertext_blob": bytes(256)}
    assert await rsa.no_re_encrypt(**source) == INCORRECT_KEY
    expected = (
        "InvalidKeyUsageException",
        (
            f"{arn_of(signer)} key usage is SIGN_VERIFY which is not valid for this operation; "
            "use a key whose usage is ENCRYPT_DECRYPT."
        ),
    )
    to_signer = {"destination_key_id": signer, "destination_encryption_algorithm": SHA_256}
    assert await rsa.no_re_encrypt(ciphertext_blob=rsa.direct, **to_signer) == expected
    assert await rsa.refusal("Encrypt", key_id=signer, plaintext=b"x", encryption_algorithm=SHA_256) == expected


async def test_both_sides_are_authorised_each_with_its_algorithm(rsa):
    blob = await sealed_outside(rsa, DATA_KEY)
    rsa.forget()
    await rsa.re_encrypt(ciphertext_blob=blob, **FROM, **TO)
    source, destination = rsa.authorizer.asked
    assert (source.action, source.encryption_algorithm) == ("kms:ReEncryptFrom", SHA_256)
    assert (destination.action, destination.encryption_algorithm) == ("kms:ReEncryptTo", SHA_1)
    assert source.encryption_context == destination.encryption_context == NO_CONTEXT
    rsa.authorizer.denied.add("kms:ReEncryptTo")
    refused = await rsa.no_re_encrypt(ciphertext_blob=rsa.blob, **TO)
    assert refused == not_authorised("kms:ReEncryptTo", arn_of(rsa.s)), "nothing is told of the ciphertext before"


async def test_no_plaintext_is_in_any_command_of_a_re_encrypt(rsa):
    plaintext = os.urandom(32)
    direct, outside = await rsa.sealed(plaintext, "alias/a"), await sealed_outside(rsa, plaintext)
    rsa.forget()
    await rsa.re_encrypt(ciphertext_blob=direct)
    await rsa.re_encrypt(ciphertext_blob=direct, **TO)
    await rsa.re_encrypt(ciphertext_blob=outside, **FROM)
    await rsa.re_encrypt(ciphertext_blob=outside, **FROM, **TO)
    assert kinds(rsa) == [Rewrap, RewrapToRsa, RewrapFromRsa, RewrapRsa]
    for command in rsa.token.asked:
        values = [getattr(command, name) for name in command.__slots__]
        assert not any(plaintext in value for value in values if isinstance(value, bytes))


async def test_a_use_is_noted_with_both_keys(rsa):
    await rsa.re_encrypt(ciphertext_blob=rsa.direct, **TO)
    assert {rsa.environment.uses.last(key).operation for key in (rsa.a, rsa.s)} == {"ReEncrypt"}


@pytest.mark.parametrize(("spec", "modulus", "lengths"), [("RSA_3072", 384, (342, 318)), ("RSA_4096", 512, (470, 446))])
async def test_larger_keys_take_larger_payloads(world, spec, modulus, lengths):
    key_id = await world.new_key(key_spec=spec, key_usage="ENCRYPT_DECRYPT")
    for algorithm, longest in zip((SHA_1, SHA_256), lengths, strict=True):
        request = {"key_id": key_id, "encryption_algorithm": algorithm}
        assert len((await world.do("Encrypt", **request, plaintext=b"x" * longest)).ciphertext_blob) == modulus
        code, text = await world.refusal("Encrypt", **request, plaintext=b"x" * (longest + 1))
        assert text == f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {longest} bytes."
        assert code == "ValidationException"
