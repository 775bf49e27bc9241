"""AWS's SDKs for JavaScript, Java, Rust and Go, unmodified: each does what a client does, and its answers are looked at twice,
by the program itself and from here."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aws_endpoint.clients import CONTEXT, recorded
from clients.programs import BUILD_S, PROGRAMS, Program
from clients.programs import environment as bare_environment
from support.aws import AccessKey, environment
from support.service import ACCOUNT, REGION, Service
from support.tap import tapped

pytestmark = pytest.mark.long

LETTER = "Grüße, 世界"
PROTOCOLS = {"application/x-amz-json-1.1": "AWS JSON 1.1", "application/x-amz-json-1.0": "AWS JSON 1.0"}
RUN_S = 120


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    """A built program."""
    built: Program = request.param
    built.prepare()
    return built


class Runner:
    """Runs a program as a user does, who has an access key.

    Args:
        program: The program.
        service: The service.
        folder: Where it runs.
    """

    def __init__(self, program: Program, service: Service, folder: Path) -> None:
        self.program, self.service, self.folder = program, service, folder

    def run(self, access_key: AccessKey, *arguments: str, url: str | None = None) -> list[tuple[str, str]]:
        """Return each step with what it saw; all of them went well.

        Args:
            access_key: The user's.
            arguments: The program's.
            url: The endpoint, if it is not the service's own.
        """
        variables = environment(self.service, access_key)
        del variables["AWS_CA_BUNDLE"]
        variables |= self.program.trusting(self.service.deployment.authority.certificate_file)
        variables |= {"AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
        variables |= {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        if url is not None:
            variables["AWS_ENDPOINT_URL_KMS"] = url
        done = subprocess.run(
            [*self.program.command(), *arguments],
            cwd=self.folder, env=bare_environment(**variables), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=RUN_S, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == 0, f"{lines[-1:]}\n{done.stderr[-4000:]}"
        assert all(line["ok"] for line in lines)
        return [(line["step"], line["what"]) for line in lines]


@pytest.mark.timeout(BUILD_S + 300)
def test_it_does_what_a_client_does(
    program: Program,
    service: Service,
    kms: Any,
    operator: AccessKey,
    nobody: AccessKey,
    rsa_key_id: str,
    tmp_path: Path,
) -> None:
    runner = Runner(program, service, tmp_path)
    with (
        tapped(service) as tap,
        recorded(
            program.client, program.version, "make test-long", lambda: protocol(tap.headers("content-type"))
        ) as did,
    ):
        steps = iter(runner.run(operator, "steps", rsa_key_id))
        step, both = next(steps)
        source, destination = both.split()
        assert step == "create"
        did("create")
        assert next(steps) == ("describe", "source Enabled SYMMETRIC_DEFAULT ENCRYPT_DECRYPT")
        step, sealed = next(steps)
        assert step == "encrypt"
        assert opened(kms, sealed, CONTEXT) == (source, LETTER)
        assert next(steps) == ("decrypt", LETTER)
        did("encrypt")
        step, moved = next(steps)
        assert step == "re-encrypt"
        assert opened(kms, moved, {"purpose": "archive"}) == (destination, LETTER)
        did("re-encrypt")
        assert next(steps) == ("data key", "32")
        assert next(steps) == ("data key without plaintext", "24")
        did("data keys")
        assert next(steps) == ("rotate", "ON_DEMAND")
        newest = kms.describe_key(KeyId=source)["KeyMetadata"]["CurrentKeyMaterialId"]
        assert next(steps) == ("newest material", newest)
        did("rotate")
        assert next(steps) == ("alias", "0")
        assert next(steps) == ("tags", "cost=")
        assert next(steps) == ("list", f"{source} {destination}")
        missing = f"Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/nobody-has-this is not found."
        error = next(steps)
        assert error == ("error", missing)
        assert next(steps) == ("RSA", LETTER)
        did("re-encrypt RSA")
        assert list(steps) == []
        ((step, denied),) = runner.run(nobody, "deny", source, url=tap.url)
        assert step == "deny"
        assert denied.startswith(
            f"AccessDeniedException User: arn:aws:iam::{ACCOUNT}:user/nobody is not authorized to perform: kms:Encrypt"
        )
        did("deny")
        did("error")
        (user_agent,) = tap.headers(
            "user-agent"
        )  # its version is no evidence: releases for JavaScript name their predecessor
        assert user_agent.startswith(f"{program.agent}/")


def opened(kms: Any, ciphertext: str, context: dict[str, str]) -> tuple[str, str]:
    """Return the key and the plaintext of a ciphertext, as boto3 sees them."""
    answer = kms.decrypt(CiphertextBlob=base64.b64decode(ciphertext), EncryptionContext=context)
    return answer["KeyId"], answer["Plaintext"].decode()


def protocol(content_types: set[str]) -> str:
    """Return the name of the one protocol that a client spoke."""
    (content_type,) = content_types
    return PROTOCOLS[content_type]
