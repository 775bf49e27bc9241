"""The AWS endpoint, put together: signatures, application, listener, and what goes on beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hsmkms.core.model import Principal
from hsmkms.server.aws.authenticator import Authenticator as SignatureAuthenticator
from hsmkms.server.aws.connection import Bounds
from hsmkms.server.aws.edge import AwsEdge
from hsmkms.server.aws.last_uses import LastUses
from hsmkms.server.aws.listener import Listener, tls_files
from hsmkms.server.aws.repetitions import Repetitions
from hsmkms.server.aws.sealer import SealingToken, SecretSealer, usable_key
from hsmkms.server.catalog import Catalog
from hsmkms.server.config import Config
from hsmkms.server.identity import Authenticator
from hsmkms.server.requests import Requests
from hsmkms.server.service_keys import CREDENTIALS_KEY


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint.

    Args:
        listener: Its port.
        uses: Keeps the last uses of access keys, while it runs.
    """

    listener: Listener
    uses: LastUses


def endpoint(
    config: Config,
    catalog: Catalog,
    token: SealingToken,
    requests: Requests,
    principals: Mapping[str, Principal],
    certificates: Authenticator,
    now_us: Callable[[], int],
    *,
    shares_port: bool,
) -> Endpoint | None:
    """Return the endpoint, not listening yet, or None where the configuration has none.

    Args:
        config: The configuration.
        catalog: Has the access keys.
        token: Opens their secrets.
        requests: Carries requests out.
        principals: The principals by name.
        certificates: Makes principals of client certificates.
        now_us: The time in microseconds since 1970, UTC.
        shares_port: Whether other fronts of this machine listen on the same port.

    Raises:
        ConfigError: certificate or key cannot be used.
    """
    if config.aws.address is None:
        return None
    sealer = SecretSealer(token, catalog.deployment_id, lambda: usable_key(catalog.view.service_key(CREDENTIALS_KEY)))
    uses = LastUses(catalog.record_access_key_uses)
    signatures = SignatureAuthenticator(
        catalog.view.access_keys,
        catalog.view.require_fresh,
        principals,
        sealer.open,
        config.service.region,
        now_us,
        uses,
    )
    files = tls_files(config)
    edge = AwsEdge(
        requests,
        signatures,
        Repetitions(now_us),
        certificates if files.client_ca_file is not None else None,
        config.limits.request_timeout_s,
    )
    bounds = Bounds(config.aws.receive_timeout_s, config.aws.keep_alive_s, config.limits.max_connection_age_s)
    listener = Listener(
        config.aws.address,
        files,
        edge,
        bounds,
        max_connections=config.aws.max_connections,
        max_connections_per_address=config.aws.max_connections_per_address,
        shares_port=shares_port,
    )
    return Endpoint(listener, uses)
