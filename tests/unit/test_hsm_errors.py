"""The table from return values to outcomes has a place for each one, and only data can be the caller's fault."""

import pytest

from hsmkms.core.commands import Outcome
from hsmkms.hsm.constants import CKR, ckr_name
from hsmkms.hsm.errors import (
    AMBIGUOUS,
    OUTCOMES,
    TAKES_CALLERS_DATA,
    ItemError,
    TokenError,
    is_ambiguous,
    outcome_of,
    retires,
)


def test_every_return_value_has_exactly_one_outcome():
    assert set(OUTCOMES) == {int(ckr) for ckr in CKR} - {0}
    assert Outcome.OK not in OUTCOMES.values()


@pytest.mark.parametrize("ckr", CKR)
def test_only_unwrap_and_decrypt_can_blame_the_ciphertext(ckr):
    for function in ("C_DeriveKey", "C_WrapKey", "C_DestroyObject", "C_Encrypt", "C_EncryptInit", "C_DecryptInit"):
        error = TokenError(function, ckr)
        assert outcome_of(error) is not Outcome.INVALID_CIPHERTEXT
        assert not is_ambiguous(error)
        assert retires(error)


def test_ambiguity_is_confined_to_what_takes_a_callers_data():
    for function in TAKES_CALLERS_DATA:
        assert all(is_ambiguous(TokenError(function, ckr)) for ckr in (*AMBIGUOUS, 0x80000001))
        for ckr in (CKR.DEVICE_ERROR, CKR.TOKEN_NOT_PRESENT, CKR.SESSION_HANDLE_INVALID, CKR.DEVICE_MEMORY):
            assert not is_ambiguous(TokenError(function, ckr))


def test_names_are_the_standards():
    assert ckr_name(CKR.DEVICE_ERROR) == "CKR_DEVICE_ERROR"
    assert ckr_name(0x80000002) == "CKR_0x80000002"
    assert str(TokenError("C_UnwrapKey", CKR.GENERAL_ERROR)) == "C_UnwrapKey: CKR_GENERAL_ERROR"


def test_an_item_error_costs_no_worker():
    assert not retires(ItemError(Outcome.INVALID_CIPHERTEXT, ""))
    assert retires(ValueError())
