"""Operations of the API that cannot apply to this service: refused, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn

from hsmkms.core.errors import UnsupportedOperationException
from hsmkms.core.material_messages import DecapsulateRequest, EncapsulateRequest
from hsmkms.core.messages import (
    ConnectCustomKeyStoreRequest,
    CreateCustomKeyStoreRequest,
    DeleteCustomKeyStoreRequest,
    DescribeCustomKeyStoresRequest,
    DisconnectCustomKeyStoreRequest,
    ReplicateKeyRequest,
    UpdateCustomKeyStoreRequest,
    UpdatePrimaryRegionRequest,
)
from hsmkms.core.operations.environment import Environment
from hsmkms.core.ports import Call

_NO_KEY_STORES: Final = "Custom key stores do not apply to this service: all its keys are on its own token."
_NO_REGIONS: Final = "Multi-Region keys do not apply to this service: a backing key cannot leave its token."
_NO_ML_KEM: Final = (
    "ML-KEM keys do not apply to this service: they need CKM_ML_KEM (PKCS#11 3.2), which it drives on no token. "
    "Derive a shared secret with an ECC_NIST key whose usage is KEY_AGREEMENT."
)
_REASONS: Final[Mapping[type, str]] = MappingProxyType(
    {
        ConnectCustomKeyStoreRequest: _NO_KEY_STORES,
        CreateCustomKeyStoreRequest: _NO_KEY_STORES,
        DecapsulateRequest: _NO_ML_KEM,
        DeleteCustomKeyStoreRequest: _NO_KEY_STORES,
        DescribeCustomKeyStoresRequest: _NO_KEY_STORES,
        DisconnectCustomKeyStoreRequest: _NO_KEY_STORES,
        EncapsulateRequest: _NO_ML_KEM,
        ReplicateKeyRequest: _NO_REGIONS,
        UpdateCustomKeyStoreRequest: _NO_KEY_STORES,
        UpdatePrimaryRegionRequest: _NO_REGIONS,
    }
)


async def refuse(environment: Environment, call: Call, request: Any) -> NoReturn:
    """Refuse an operation that cannot apply.

    Raises:
        UnsupportedOperationException: always; its text says why.
    """
    del environment, call
    raise UnsupportedOperationException(_REASONS[type(request)])
