"""Key pairs that sign and agree, HMAC keys, and data key pairs: what they do, and what is refused in which words."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from hsmkms.core.ciphertext import KeyType, Mode, parse
from hsmkms.core.material_commands import Agree, Sign, VerifyMac, VerifySignature
from hsmkms.core.model import KeyState
from support.deployment import BAD_CIPHERTEXT, CONTEXT, DRY_RUN, Deployment, arn_of
from support.simulated_token import LIKE_SOFTHSM, SimulatedToken

MESSAGE = b"the message"
ECDSA = {
    "ECC_NIST_P256": "ECDSA_SHA_256",
    "ECC_NIST_P384": "ECDSA_SHA_384",
    "ECC_NIST_P521": "ECDSA_SHA_512",
    "ECC_SECG_P256K1": "ECDSA_SHA_256",
}
RSA = [f"RSASSA_{scheme}_SHA_{size}" for scheme in ("PSS", "PKCS1_V1_5") for size in (256, 384, 512)]


async def signer(world, spec="ECC_NIST_P256"):
    return await world.new_key(key_spec=spec, key_usage="SIGN_VERIFY")


def digest(algorithm, message=MESSAGE):
    return hashlib.new("sha" + algorithm[-3:], message).digest()


async def public_key(world, key_id):
    return serialization.load_der_public_key((await world.do("GetPublicKey", key_id=key_id)).public_key)


def verify_outside(public, algorithm, signature):
    """Check a signature with the public key alone, as openssl does; raise if it is wrong."""
    if algorithm.startswith("ED25519"):
        public.verify(signature, MESSAGE)
        return
    hash_of_it = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}[algorithm[-3:]]()
    if algorithm.startswith("ECDSA"):
        public.verify(signature, MESSAGE, ec.ECDSA(hash_of_it))
    elif "PSS" in algorithm:
        pss = padding.PSS(padding.MGF1(hash_of_it), hash_of_it.digest_size)
        public.verify(signature, MESSAGE, pss, hash_of_it)
    else:
        public.verify(signature, MESSAGE, padding.PKCS1v15(), hash_of_it)


# Signing

CASES = [*ECDSA.items(), *(("RSA_2048", algorithm) for algorithm in RSA)]


@pytest.mark.parametrize(("spec", "algorithm"), CASES, ids=[f"{spec} {algorithm}" for spec, algorithm in CASES])
async def test_a_signature_is_valid_here_and_outside_of_the_message_and_of_its_digest(world, spec, algorithm):
    key_id = await signer(world, spec)
    public = await public_key(world, key_id)
    request = {"key_id": key_id, "signing_algorithm": algorithm}
    forms = ({"message": MESSAGE}, {"message": digest(algorithm), "message_type": "DIGEST"})
    for form in forms:
        signed = await world.do("Sign", **request, **form)
        assert (signed.key_id, signed.signing_algorithm) == (arn_of(key_id), algorithm)
        verify_outside(public, algorithm, signed.signature)
        for other in forms:
            answer = await world.do("Verify", **request, **other, signature=signed.signature)
            assert (answer.signature_valid, answer.key_id, answer.signing_algorithm) == (
                True,
                arn_of(key_id),
                algorithm,
            )


async def test_the_token_gets_the_digest_and_never_the_message(world):
    key_id = await signer(world)
    request = {"key_id": key_id, "signing_algorithm": "ECDSA_SHA_256", "message": MESSAGE}
    signed = await world.do("Sign", **request)
    await world.do("Verify", **request, signature=signed.signature)
    sign, verify = world.token.asked
    assert (type(sign), type(verify)) == (Sign, VerifySignature)
    assert sign.message == verify.message == digest("ECDSA_SHA_256")


async def test_ed25519_signs_the_message_itself(world):
    key_id = await signer(world, "ECC_NIST_EDWARDS25519")
    request = {"key_id": key_id, "signing_algorithm": "ED25519_SHA_512", "message": MESSAGE}
    signed = await world.do("Sign", **request)
    verify_outside(await public_key(world, key_id), "ED25519_SHA_512", signed.signature)
    assert (await world.do("Verify", **request, signature=signed.signature)).signature_valid
    assert {command.message for command in world.token.asked} == {MESSAGE}
    assert await world.refusal("Sign", **request, message_type="DIGEST") == (
        "ValidationException",
        "MessageType DIGEST does not go with algorithm ED25519_SHA_512: use RAW.",
    )
    prehashed = request | {"signing_algorithm": "ED25519_PH_SHA_512"}
    assert await world.refusal("Sign", **prehashed) == (
        "ValidationException",
        "MessageType RAW does not go with algorithm ED25519_PH_SHA_512: use DIGEST.",
    )
    too_short = prehashed | {"message_type": "DIGEST", "message": bytes(32)}
    assert await world.refusal("Sign", **too_short) == (
        "ValidationException",
        "Digest is invalid length for algorithm ED25519_PH_SHA_512.",
    )


INVALID = ("KMSInvalidSignatureException", "")


async def test_a_wrong_signature_is_told_with_an_error_of_its_own(world):
    key_id, other = await signer(world), await signer(world)
    request = {"key_id": key_id, "signing_algorithm": "ECDSA_SHA_256", "message": MESSAGE}
    signature = (await world.do("Sign", **request)).signature
    for wrong in (
        {"message": MESSAGE + b"!"},
        {"key_id": other},
        {"signature": signature[:-1] + bytes([signature[-1] ^ 1])},
        {"signature": b"no signature at all"},
    ):
        for dry_run in (False, True):
            verify = request | {"signature": signature} | wrong
            assert await world.refusal("Verify", **verify, dry_run=dry_run) == INVALID


@pytest.mark.parametrize("algorithm", ["ECDSA_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512"])
@pytest.mark.parametrize("off_by", [-1, 1])
async def test_a_digest_has_the_length_of_its_algorithm(world, algorithm, off_by):
    key_id = await signer(world, "ECC_NIST_P256" if algorithm.startswith("ECDSA") else "RSA_2048")
    request = {"key_id": key_id, "signing_algorithm": algorithm, "message_type": "DIGEST"}
    expected = ("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
    message = bytes(int(algorithm[-3:]) // 8 + off_by)
    assert await world.refusal("Sign", **request, message=message) == expected
    assert await world.refusal("Verify", **request, message=message, signature=b"x") == expected
    assert not world.token.asked


async def test_what_is_refused_of_signing(world):
    key_id = await signer(world)
    request = {"key_id": key_id, "message": MESSAGE, "signing_algorithm": "ECDSA_SHA_256"}
    assert await world.refusal("Sign", **request | {"signing_algorithm": "RSASSA_PSS_SHA_256"}) == (
        "InvalidKeyUsageException",
        "Algorithm RSASSA_PSS_SHA_256 and key spec ECC_NIST_P256 are incompatible: use ECDSA_SHA_256.",
    )
    assert await world.refusal("Sign", **request | {"key_id": "alias/a"}) == (
        "InvalidKeyUsageException",
        (
            f"{arn_of(world.a)} key usage is ENCRYPT_DECRYPT which is not valid for this operation; "
            "use a key whose usage is SIGN_VERIFY."
        ),
    )
    code, text = await world.refusal("Sign", **request, message_type="EXTERNAL_MU")
    assert (code, text.startswith("MessageType EXTERNAL_MU is for ML-DSA keys alone, which need CKM_ML_DSA")) == (
        "ValidationException",
        True,
    )
    for algorithm, missing in (
        ("SM2DSA", "an SM2 signature mechanism"),
        ("ML_DSA_SHAKE_256", "CKM_ML_DSA (PKCS#11 3.2)"),
    ):
        code, text = await world.refusal("Sign", **request | {"signing_algorithm": algorithm})
        assert code == "UnsupportedOperationException"
        assert f"Missing: {missing}" in text
    assert not world.token.asked
    world.change(key_id, state=KeyState.DISABLED)
    assert await world.refusal("Sign", **request) == ("DisabledException", f"{arn_of(key_id)} is disabled.")


async def test_the_conditions_that_signing_is_authorised_with(world):
    key_id = await signer(world)
    world.forget()
    await world.do("Sign", key_id=key_id, message=MESSAGE, signing_algorithm="ECDSA_SHA_256", grant_tokens=("t",))
    (asked,) = world.authorizer.asked
    assert (asked.action, asked.grant_tokens) == ("kms:Sign", ("t",))
    assert asked.conditions == {"kms:SigningAlgorithm": "ECDSA_SHA_256", "kms:MessageType": "RAW"}


async def test_a_key_spec_that_the_token_lacks_is_refused_by_the_mechanism():
    world = await Deployment(token=SimulatedToken(features=LIKE_SOFTHSM)).prepare()
    code, text = await world.refusal("CreateKey", key_spec="ECC_NIST_EDWARDS25519", key_usage="SIGN_VERIFY")
    assert code == "UnsupportedOperationException"
    assert text.startswith(
        "KeySpec ECC_NIST_EDWARDS25519 is not possible with this token. "
        "Missing: CKM_EC_EDWARDS_KEY_PAIR_GEN (PKCS#11 3.0) of Ed25519. Use SYMMETRIC_DEFAULT or RSA_2048"
    )


# HMAC keys


@pytest.mark.parametrize("size", [224, 256, 384, 512])
async def test_a_mac_is_valid_for_its_message_and_for_no_other(world, size):
    key_id = await world.new_key(customer_master_key_spec=f"HMAC_{size}", key_usage="GENERATE_VERIFY_MAC")
    described = (await world.do("DescribeKey", key_id=key_id)).key_metadata
    assert (described.key_spec, described.mac_algorithms) == (f"HMAC_{size}", (f"HMAC_SHA_{size}",))
    assert described.encryption_algorithms == ()
    request = {"key_id": key_id, "mac_algorithm": f"HMAC_SHA_{size}", "message": MESSAGE}
    made = await world.do("GenerateMac", **request)
    assert (len(made.mac), made.key_id, made.mac_algorithm) == (size // 8, arn_of(key_id), f"HMAC_SHA_{size}")
    value = world.token._mac_keys[world.catalog.keys[key_id].cka_id(1)]
    assert made.mac == hmac.digest(value, MESSAGE, f"sha{size}")
    answer = await world.do("VerifyMac", **request, mac=made.mac)
    assert (answer.mac_valid, answer.key_id) == (True, arn_of(key_id))
    wrong = ("KMSInvalidMacException", "")
    assert await world.refusal("VerifyMac", **request | {"message": b"other"}, mac=made.mac) == wrong
    for mac in (made.mac[:-1], made.mac + b"x", b"x"):
        for dry_run in (False, True):
            assert await world.refusal("VerifyMac", **request, mac=mac, dry_run=dry_run) == wrong


async def test_what_is_refused_of_macs(world):
    key_id = await world.new_key(key_spec="HMAC_256", key_usage="GENERATE_VERIFY_MAC")
    request = {"key_id": key_id, "message": MESSAGE}
    assert await world.refusal("GenerateMac", **request, mac_algorithm="HMAC_SHA_512") == (
        "InvalidKeyUsageException",
        "Algorithm HMAC_SHA_512 and key spec HMAC_256 are incompatible: use HMAC_SHA_256.",
    )
    code, _ = await world.refusal("GenerateMac", key_id="alias/a", message=b"m", mac_algorithm="HMAC_SHA_256")
    assert code == "InvalidKeyUsageException"
    code, text = await world.refusal("GetPublicKey", key_id=key_id)
    assert (code, "only asymmetric keys have a public key" in text) == ("UnsupportedOperationException", True)


# Agreement


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"])
async def test_two_keys_derive_one_secret(world, spec):
    ours, theirs = [await world.new_key(key_spec=spec, key_usage="KEY_AGREEMENT") for _ in range(2)]
    publics = [(await world.do("GetPublicKey", key_id=key_id)).public_key for key_id in (ours, theirs)]
    request = {"key_agreement_algorithm": "ECDH"}
    ours_secret = await world.do("DeriveSharedSecret", key_id=ours, public_key=publics[1], **request)
    theirs_secret = await world.do("DeriveSharedSecret", key_id=theirs, public_key=publics[0], **request)
    assert ours_secret.shared_secret == theirs_secret.shared_secret
    assert len(ours_secret.shared_secret) == {"6": 32, "4": 48, "1": 66}[spec[-1]]
    assert (ours_secret.key_id, ours_secret.key_origin) == (arn_of(ours), "AWS_KMS")
    assert "shared_secret" not in repr(ours_secret)


async def test_the_others_public_key_must_be_one_on_the_same_curve(world):
    key_id = await world.new_key(key_spec="ECC_NIST_P256", key_usage="KEY_AGREEMENT")
    for private in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        der = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for public in (der, der[:-1], b"x"):
            request = {"key_id": key_id, "key_agreement_algorithm": "ECDH", "public_key": public}
            for dry_run in (False, True):
                assert (await world.refusal("DeriveSharedSecret", **request, dry_run=dry_run))[
                    0
                ] == "ValidationException"
    code, text = await world.refusal(
        "DeriveSharedSecret", key_id=await signer(world), key_agreement_algorithm="ECDH", public_key=b"x"
    )
    assert (code, text.endswith("use a key whose usage is KEY_AGREEMENT.")) == ("InvalidKeyUsageException", True)


# Dry runs


async def test_a_dry_run_never_succeeds_and_is_no_use(world):
    key_id = await signer(world)
    mac_key = await world.new_key(key_spec="HMAC_256", key_usage="GENERATE_VERIFY_MAC")
    agreeing = await world.new_key(key_spec="ECC_NIST_P256", key_usage="KEY_AGREEMENT")
    sign = {"key_id": key_id, "message": MESSAGE, "signing_algorithm": "ECDSA_SHA_256"}
    mac = {"key_id": mac_key, "message": MESSAGE, "mac_algorithm": "HMAC_SHA_256"}
    signature, made = (await world.do("Sign", **sign)).signature, (await world.do("GenerateMac", **mac)).mac
    agree = {"key_id": agreeing, "key_agreement_algorithm": "ECDH"}
    agree["public_key"] = (await world.do("GetPublicKey", key_id=agreeing)).public_key
    last = [world.environment.uses.last(one) for one in (key_id, mac_key, agreeing)]
    world.clock.us += 1
    world.forget()
    for operation, request in (
        ("Sign", sign),
        ("Verify", sign | {"signature": signature}),
        ("GenerateMac", mac),
        ("VerifyMac", mac | {"mac": made}),
        ("DeriveSharedSecret", agree),
    ):
        assert await world.refusal(operation, **request, dry_run=True) == DRY_RUN
    assert [type(command) for command in world.token.asked] == [VerifySignature, VerifyMac, Agree]
    assert last == [world.environment.uses.last(one) for one in (key_id, mac_key, agreeing)]


# Data key pairs

KINDS = {
    "RSA_2048": KeyType.RSA,
    "ECC_NIST_P256": KeyType.EC,
    "ECC_NIST_P384": KeyType.EC,
    "ECC_NIST_P521": KeyType.EC,
    "ECC_SECG_P256K1": KeyType.EC,
    "ECC_NIST_EDWARDS25519": KeyType.EDWARDS,
}


@pytest.mark.parametrize(("spec", "kind"), KINDS.items())
async def test_a_data_key_pair_comes_sealed_and_in_plaintext_if_asked_for(world, spec, kind):
    request = {"key_id": "alias/a", "key_pair_spec": spec, "encryption_context": CONTEXT}
    made = await world.do("GenerateDataKeyPair", **request)
    assert (made.key_id, made.key_pair_spec, made.key_material_id) == (arn_of(world.a), spec, world.material(world.a))
    header = parse(made.private_key_ciphertext_blob).header
    assert (header.mode, header.key_type, header.length) == (Mode.PRIVATE_KEY, kind, 0)
    private = serialization.load_der_private_key(made.private_key_plaintext, None)
    public = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert made.public_key == public
    opened = await world.do("Decrypt", ciphertext_blob=made.private_key_ciphertext_blob, encryption_context=CONTEXT)
    assert opened.plaintext == made.private_key_plaintext
    assert "private_key_plaintext" not in repr(made)
    hidden = await world.do("GenerateDataKeyPairWithoutPlaintext", **request)
    blob = hidden.private_key_ciphertext_blob
    assert not hasattr(hidden, "private_key_plaintext")
    assert world.token.asked[-1].with_plaintext == 0
    opened = await world.do("Decrypt", ciphertext_blob=blob, encryption_context=CONTEXT)
    loaded = serialization.load_der_private_key(opened.plaintext, None)
    assert isinstance(loaded, rsa.RSAPrivateKey) == spec.startswith("RSA")
    assert await world.refusal("Decrypt", ciphertext_blob=blob) == BAD_CIPHERTEXT
    assert await world.refusal("Decrypt", ciphertext_blob=blob[:-8], encryption_context=CONTEXT) == BAD_CIPHERTEXT
    assert await world.refusal("Decrypt", ciphertext_blob=blob, encryption_context=CONTEXT, dry_run=True) == DRY_RUN


@pytest.mark.parametrize("spec", ["SM2", "ML_KEM_512"])
async def test_a_data_key_pair_that_no_token_makes_is_refused_by_the_mechanism(world, spec):
    code, text = await world.refusal("GenerateDataKeyPair", key_id="alias/a", key_pair_spec=spec)
    assert code == "UnsupportedOperationException"
    assert text.startswith(f"KeyPairSpec {spec} is not possible with this token. Missing: ")
    assert not world.token.asked


async def test_a_data_key_pair_is_authorised_with_its_kind(world):
    await world.do("GenerateDataKeyPair", key_id="alias/a", key_pair_spec="ECC_NIST_P256", encryption_context=CONTEXT)
    (asked,) = world.authorizer.asked
    assert asked.conditions == {"kms:DataKeyPairSpec": "ECC_NIST_P256"}
    assert asked.encryption_context == CONTEXT


# Rotation


async def test_key_pairs_and_hmac_keys_do_not_rotate(world):
    mac_key = await world.new_key(key_spec="HMAC_256", key_usage="GENERATE_VERIFY_MAC")
    for key_id, spec in ((await signer(world), "ECC_NIST_P256"), (mac_key, "HMAC_256")):
        for operation in (
            "EnableKeyRotation",
            "DisableKeyRotation",
            "GetKeyRotationStatus",
            "RotateKeyOnDemand",
            "ListKeyRotations",
        ):
            assert await world.refusal(operation, key_id=key_id) == (
                "UnsupportedOperationException",
                (
                    f"{arn_of(key_id)} key spec is {spec} which is not valid for this operation: "
                    "only symmetric encryption keys rotate."
                ),
            )
