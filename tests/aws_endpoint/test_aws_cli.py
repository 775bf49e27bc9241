"""The AWS CLI, unmodified: a program that knows the environment's variables and nothing else of this service."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aws_endpoint.clients import recorded
from support.aws import AccessKey, environment
from support.service import Service

AWS = Path(sys.executable).with_name("aws")


class Cli:
    """`aws`, as a user in a shell has it.

    Args:
        service: The service.
        access_key: The user's.
        folder: Where it runs.
    """

    def __init__(self, service: Service, access_key: AccessKey, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.environment = {
            **kept, **environment(service, access_key), "AWS_CONFIG_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "PATH": f"{AWS.parent}:{os.environ['PATH']}",
        }  # fmt: skip
        self.folder = folder

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(AWS), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, cwd=self.folder, timeout=60, check=False
        )

    def ok(self, *arguments: str) -> str:
        done = self.run("kms", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def shell(self, command: str) -> None:
        """Run a command line as it stands in AWS's documentation."""
        words = ["bash", "-e", "-o", "pipefail", "-c", command]
        done = subprocess.run(
            words, capture_output=True, text=True, env=self.environment, cwd=self.folder, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def aws(service: Service, operator: AccessKey, tmp_path: Path) -> Cli:
    return Cli(service, operator, tmp_path)


def test_it_does_what_a_client_does(aws: Cli, service: Service, nobody: AccessKey) -> None:
    with recorded("awscli") as did:
        new = ("create-key", "--query", "KeyMetadata.KeyId", "--output", "text")
        source, destination = aws.ok(*new, "--tags", "TagKey=team,TagValue=a"), aws.ok(*new)
        did("create")
        (aws.folder / "ExamplePlaintextFile").write_bytes(bytes(range(256)))
        aws.shell(
            f"aws kms encrypt --key-id {source} --plaintext fileb://ExamplePlaintextFile --encryption-context tenant=blue "
            "--query CiphertextBlob --output text | base64 --decode > ExampleEncryptedFile"
        )
        did("encrypt")
        aws.shell(
            "aws kms re-encrypt --ciphertext-blob fileb://ExampleEncryptedFile --source-key-id "
            f"{source} --destination-key-id {destination} --source-encryption-context tenant=blue "
            "--destination-encryption-context tenant=green --query CiphertextBlob --output text | base64 --decode > ExampleReEncryptedFile"
        )
        aws.shell(
            f"aws kms decrypt --ciphertext-blob fileb://ExampleReEncryptedFile --key-id {destination} --encryption-context tenant=green "
            "--query Plaintext --output text | base64 --decode | cmp - ExamplePlaintextFile"
        )
        did("re-encrypt")
        made = json.loads(aws.ok("generate-data-key", "--key-id", source, "--key-spec", "AES_256"))
        assert len(base64.b64decode(made["Plaintext"])) == 32
        made = json.loads(aws.ok("generate-data-key-without-plaintext", "--key-id", source, "--number-of-bytes", "24"))
        assert "Plaintext" not in made
        did("data keys")
        assert aws.ok("rotate-key-on-demand", "--key-id", source, "--query", "KeyId", "--output", "text").endswith(
            source
        )
        aws.shell("aws kms decrypt --ciphertext-blob fileb://ExampleEncryptedFile --encryption-context tenant=blue")
        did("rotate")
        pair = aws.ok(*new, "--key-spec", "RSA_2048", "--key-usage", "ENCRYPT_DECRYPT")
        (aws.folder / "ShortPlaintextFile").write_bytes(bytes(range(32)))
        aws.shell(
            f"aws kms encrypt --key-id {source} --plaintext fileb://ShortPlaintextFile --encryption-context tenant=blue "
            "--query CiphertextBlob --output text | base64 --decode > ShortEncryptedFile"
        )
        aws.shell(
            "aws kms re-encrypt --ciphertext-blob fileb://ShortEncryptedFile --source-encryption-context tenant=blue "
            f"--destination-key-id {pair} --destination-encryption-algorithm RSAES_OAEP_SHA_1 "
            "--query CiphertextBlob --output text | base64 --decode > RsaEncryptedFile"
        )
        aws.shell(
            f"aws kms re-encrypt --ciphertext-blob fileb://RsaEncryptedFile --source-key-id {pair} "
            f"--source-encryption-algorithm RSAES_OAEP_SHA_1 --destination-key-id {destination} "
            "--destination-encryption-context tenant=green --query CiphertextBlob --output text | base64 --decode > BackFile"
        )
        aws.shell(
            "aws kms decrypt --ciphertext-blob fileb://BackFile --encryption-context tenant=green "
            "--query Plaintext --output text | base64 --decode | cmp - ShortPlaintextFile"
        )
        did("re-encrypt RSA")
        denied = Cli(service, nobody, aws.folder).run("kms", "describe-key", "--key-id", source)
        assert denied.returncode != 0
        assert (
            "An error occurred (AccessDeniedException) when calling the DescribeKey operation: User: arn:aws:iam::"
            in denied.stderr
        )
        did("deny")
        unknown = aws.run("kms", "describe-key", "--key-id", "alias/nobody-has-this")
        assert (
            "(NotFoundException) when calling the DescribeKey operation: Alias arn:aws:kms:eu-central-1:"
            in unknown.stderr
        )
        did("error")


def test_sts_says_who_one_is(aws: Cli) -> None:
    done = aws.run("sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    assert done.stdout.strip().endswith(":user/operator"), done.stderr
