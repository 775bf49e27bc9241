"""AWS clients for tests: access keys of a deployment, boto3, raw signed requests over HTTPS.

access_key = make_access_key(service, "operator")
kms = boto_client(service, access_key)
answer = post(service, access_key, "ListKeys", {})
"""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from support.service import REGION, Service

CONTENT_TYPE = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class AccessKey:
    """An access key and its secret."""

    access_key_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What the endpoint answered.

    Args:
        status: HTTP's.
        headers: By their names in lower case.
        body: The body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """Status and name of an error."""
        return self.status, self.document["__type"]


def make_access_key(service: Service, name: str) -> AccessKey:
    """Make an access key for the principal `spiffe://test/NAME`, as an operator does."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hsmkms.server.cli", "credentials", "create", "--output", "json"),
            *("--principal", f"spiffe://test/{name}", "--config", str(service.deployment.config_file)),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)["AccessKey"]
    return AccessKey(made["AccessKeyId"], made["SecretAccessKey"])


def url(service: Service) -> str:
    """The endpoint's URL."""
    return f"https://{service.aws_address}"


def boto_client(service: Service, access_key: AccessKey, name: str = "kms", **changes: Any) -> Any:
    """Return a boto3 client that knows nothing but the endpoint, the authority and the access key."""
    settings: dict[str, Any] = {
        "region_name": REGION,
        "endpoint_url": url(service),
        "verify": str(service.deployment.authority.certificate_file),
        "aws_access_key_id": access_key.access_key_id,
        "aws_secret_access_key": access_key.secret,
        "config": Config(retries={"max_attempts": 3, "mode": "standard"}, connect_timeout=5, read_timeout=20),
        **changes,
    }
    return boto3.session.Session().client(name, **settings)


def environment(service: Service, access_key: AccessKey) -> dict[str, str]:
    """Return the environment variables that AWS's tools read."""
    return {
        "AWS_ENDPOINT_URL_KMS": url(service),
        "AWS_ENDPOINT_URL_STS": url(service),
        "AWS_CA_BUNDLE": str(service.deployment.authority.certificate_file),
        "AWS_ACCESS_KEY_ID": access_key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": access_key.secret,
        "AWS_DEFAULT_REGION": REGION,
    }


def signed_headers(
    service: Service,
    access_key: AccessKey,
    body: bytes,
    headers: Mapping[str, str],
    *,
    region: str = REGION,
    name: str = "kms",
    path: str = "/",
) -> dict[str, str]:
    """Return headers with botocore's signature of a request."""
    request = AWSRequest("POST", url(service) + path, headers={"Host": service.aws_address, **headers}, data=body)
    SigV4Auth(Credentials(access_key.access_key_id, access_key.secret), name, region).add_auth(request)
    return dict(request.headers.items())


def target(operation: str) -> dict[str, str]:
    """Return the headers that name an operation."""
    return {"Content-Type": CONTENT_TYPE, "X-Amz-Target": f"TrentService.{operation}"}


def post(
    service: Service, access_key: AccessKey, operation: str, document: Any, *, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send a request, signed; `document` is JSON's, or bytes as they are."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    sent = signed_headers(service, access_key, body, target(operation) if headers is None else headers)
    return send(service, body, sent)


def tls(service: Service) -> ssl.SSLContext:
    """Return a client's side of TLS, that trusts the deployment's authority alone."""
    return ssl.create_default_context(cafile=service.deployment.authority.certificate_file)


def send(
    service: Service,
    body: bytes,
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    path: str = "/",
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send a request as it is, on a connection of its own."""
    connection = http.client.HTTPSConnection(service.aws_address, timeout=20, context=context or tls(service))
    try:
        connection.request(method, path, body, dict(headers))
        return read(connection.getresponse())
    finally:
        connection.close()


def read(response: http.client.HTTPResponse) -> Answer:
    """Read an answer to its end."""
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
