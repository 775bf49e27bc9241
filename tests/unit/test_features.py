"""What a probe's findings give the KMS, and how what is missing is named."""

import itertools
from dataclasses import fields
from uuid import UUID

import pytest

from hsmkms.core import specs
from hsmkms.core.ciphertext import Suite
from hsmkms.core.directions import directions
from hsmkms.core.features import TokenFeatures
from hsmkms.core.material_commands import MacHash, PairSpec, Signing
from hsmkms.core.model import (
    DataKeyPairSpec,
    EncryptionAlgorithm,
    KeyAgreementAlgorithm,
    KeySpec,
    KeyState,
    KeyUsage,
    KmsKey,
    MacAlgorithm,
    MultiRegionKind,
    Origin,
    Scope,
    SigningAlgorithm,
    WrappingAlgorithm,
)
from hsmkms.core.startup import TokenDescription
from hsmkms.hsm.capabilities import Capabilities
from hsmkms.server.config import ConfigError
from hsmkms.server.token.settings import suite_of

PAIRS = " ".join(pair.name for pair in PairSpec)
EVERYTHING = {field.name: PAIRS if field.type == "str" else True for field in fields(Capabilities)} | {
    "mac_hashes": " ".join(one.name for one in MacHash),
    "signing_algorithms": " ".join(one.name for one in Signing),
    "aes_key_wrap_padded": "0x210B",
    "aes_key_unwrap_padded": "0x210B",
}
NOBODY_HAS = {
    "SM2", "SM2PKE", "SM2DSA", "ML_DSA_44", "ML_DSA_65", "ML_DSA_87", "ML_DSA_SHAKE_256", "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024",
    "ED25519_PH_SHA_512", "RSAES_PKCS1_V1_5",
}  # fmt: skip
KINDS = {
    "key_specs": KeySpec, "key_pair_specs": DataKeyPairSpec, "encryption_algorithms": EncryptionAlgorithm,
    "signing_algorithms": SigningAlgorithm, "mac_algorithms": MacAlgorithm, "key_agreement_algorithms": KeyAgreementAlgorithm,
    "wrapping_algorithms": WrappingAlgorithm,
}  # fmt: skip


def features(**changes):
    return TokenFeatures.from_capabilities({**EVERYTHING, **changes})


def everything_of(found):
    return {str(one) for kind in KINDS for one in getattr(found, kind)}


def test_a_token_that_can_everything_gives_everything_that_this_version_drives():
    found = features()
    every = {str(one) for kind in KINDS.values() for one in kind}
    assert everything_of(found) == every - NOBODY_HAS
    assert found.needs.keys() == NOBODY_HAS
    assert (found.seals_directly, found.wraps_padded, found.proves_lengths, found.proves_aes_lengths) == (True,) * 4
    assert found.imported_specs == {KeySpec.SYMMETRIC_DEFAULT} | {KeySpec[pair.name] for pair in PairSpec}


def test_a_token_that_can_nothing_gives_nothing_and_names_a_need_for_everything():
    found = TokenFeatures.from_capabilities({})
    assert not found.suites
    assert everything_of(found) == set()
    assert not found.imported_specs
    for kind in KINDS.values():
        for one in kind:
            assert found.needs[str(one)], one
    assert not any(direction.possible for direction in directions(found))


@pytest.mark.parametrize(
    "found", [features(), features(oaep_sha1=False, mac_hashes="SHA_256"), TokenFeatures.from_capabilities({})]
)
def test_an_algorithm_is_possible_where_it_is_one_of_the_possible_algorithms(found):
    every = {str(one) for kind in KINDS.values() for one in kind}
    for spec, usage in itertools.product(KeySpec, KeyUsage):
        key = KmsKey(
            Scope("111122223333", "eu-central-1"), str(UUID(int=1)), KeyState.ENABLED, "", spec, usage, Origin.AWS_KMS,
            MultiRegionKind.SINGLE, 0, {}, 1, 1,
        )  # fmt: skip
        possible = specs.possible_algorithms(key, found)
        assert {one for one in every if specs.is_possible(one, key, found)} == set(possible), (spec, usage)
        assert usage in specs.USAGES[spec] or not set(possible) - {*KeyAgreementAlgorithm}


@pytest.mark.parametrize(
    ("changes", "lost", "need"),
    [
        ({"oaep_sha256": False}, {"RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_256"}, "CKM_RSA_PKCS_OAEP with SHA-256"),
        ({"oaep_sha1": False}, {"RSAES_OAEP_SHA_1", "RSA_AES_KEY_WRAP_SHA_1"}, "CKM_RSA_PKCS_OAEP with SHA-1"),
        ({"aes_gcm": False}, {"SYMMETRIC_DEFAULT"}, "CKM_AES_GCM"),
        ({"aes_key_unwrap_padded": ""}, {"RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"}, "RFC 5649"),
        ({"mac_hashes": "SHA_224 SHA_256 SHA_384"}, {"HMAC_512", "HMAC_SHA_512"}, "CKM_SHA512_HMAC"),
        (
            {"key_pairs": PAIRS.replace("ECC_NIST_EDWARDS25519", "")},
            {"ECC_NIST_EDWARDS25519", "ED25519_SHA_512"},
            "CKM_EC_EDWARDS_KEY_PAIR_GEN",
        ),
        ({"signing_algorithms": "ECDSA_SHA_256"}, {"RSASSA_PSS_SHA_256"}, "CKM_RSA_PKCS_PSS for RSASSA_PSS_SHA_256"),
        ({"agreeing_key_pairs": ""}, {"ECDH"}, "CKM_ECDH1_DERIVE"),
        ({"key_pairs": PAIRS.replace("ECC_NIST_P384", "")}, {"ECC_NIST_P384", "ECDSA_SHA_384"}, "P-384"),
    ],
)
def test_what_is_missing_costs_what_needs_it_and_is_named(changes, lost, need):
    found = features(**changes)
    for name in lost:
        kinds = [kind for kind, values in KINDS.items() if name in values.__members__.values()]
        assert any(name not in getattr(found, kind) for kind in kinds), name
        assert need in found.needs[name]
    if not lost & {"SYMMETRIC_DEFAULT", "RSASSA_PSS_SHA_256"}:
        assert everything_of(features()) - everything_of(found) <= lost


def test_what_key_pairs_are_lacking_in_shows_in_data_key_pairs_and_import_alone():
    found = features(wrapped_private_keys="RSA_2048", imported_key_pairs="RSA_2048")
    assert found.key_specs == features().key_specs
    assert found.key_pair_specs == {DataKeyPairSpec.RSA_2048}
    assert found.imported_specs == {KeySpec.SYMMETRIC_DEFAULT, KeySpec.RSA_2048}
    assert "of a private key" in found.needs["ECC_NIST_P256"]


def test_without_an_import_pair_nothing_is_imported():
    found = features(wrapped_private_keys="ECC_NIST_P256")
    assert found.wrapping_algorithms == frozenset()
    assert found.imported_specs == frozenset()


def test_sm2_is_refused_by_the_name_of_what_is_missing():
    """No standard mechanism, and no vendor's that could be tried: in CreateKey as in the algorithm."""
    for name in ("SM2", "SM2PKE"):
        text = specs.missing(features(), name)
        assert "SM2" in text
        assert "a vendor's: PKCS#11 has no standard one" in text
    assert KeySpec.SM2 not in features().key_specs
    assert EncryptionAlgorithm.SM2PKE not in features().encryption_algorithms


def payloads(found):
    return [direction.payloads for direction in directions(found)]


def test_the_directions_say_which_lengths_go():
    both = "by RSAES_OAEP_SHA_1 and RSAES_OAEP_SHA_256"
    assert payloads(features()) == [
        "1 to 4096 bytes",
        f"1 to 256 bytes but not 8, as far as the RSA key goes, {both}",
        f"1 to 256 bytes but not 8, {both}",
        f"1 to 256 bytes, as far as the RSA keys go, {both}",
    ]
    like_softhsm = features(aes_key_wrap_padded="", value_len_after_unwrap=False, oaep_sha256=False)
    assert payloads(like_softhsm)[1:3] == [
        "multiples of 8 from 16 to 256 bytes, as far as the RSA key goes, by RSAES_OAEP_SHA_1",
        "16, 24 and 32 bytes, by RSAES_OAEP_SHA_1",
    ]
    untold = features(value_len_after_unwrap=False, aes_length_by_use=False)
    assert payloads(untold)[2] == "needs a true CKA_VALUE_LEN after C_UnwrapKey"
    assert not directions(untold)[2].possible
    unread = features(readable_objects=False)
    assert not unread.seals_directly
    assert not unread.wraps_padded
    assert [direction.possible for direction in directions(unread)] == [True, False, False, True]


def description(**changes):
    return TokenDescription("module", "library", "label", "1", "model", "maker", None, {**EVERYTHING, **changes})


def test_the_suite_is_the_one_that_is_there_or_the_preferred_one_or_the_second():
    first, second = Suite.AES_CBC_ENCRYPT_DATA, Suite.SP800_108_CMAC_COUNTER
    assert suite_of(description()) is second
    assert suite_of(description(), 1) is first
    assert suite_of(description(), 2) is second
    assert suite_of(description(suite_2=False)) is first
    with pytest.raises(
        ConfigError, match=r"token\.suite: label cannot derive by CKM_SP800_108.*suites that it has: 1\)"
    ):
        suite_of(description(suite_2=False), 2)
    with pytest.raises(ConfigError, match="neither CKM_AES_CBC_ENCRYPT_DATA nor CKM_SP800_108"):
        suite_of(description(suite_1=False, suite_2=False))
