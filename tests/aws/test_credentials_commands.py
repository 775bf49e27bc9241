"""What `hsm-kms credentials` says and refuses, as far as it needs no token (tests/e2e/test_credentials.py has the rest)."""

import asyncio
import json

import pytest

from hsmkms.cli.exits import CommandFailed, ExitCode
from hsmkms.cli.main import new_program
from hsmkms.core.access_keys import AccessKey, AccessKeyStatus
from hsmkms.server import config, log
from hsmkms.server.catalog import open_catalog
from hsmkms.server.operator_commands import add_commands

NAME = "spiffe://test/payments"
PRINCIPAL = '[[principals]]\nname = "{}"\narn = "arn:aws:iam::{}:role/payments"\n'
CONFIG = """
[tls]
certificate_file = "x"
private_key_file = "x"
client_ca_file = "x"
[token]
module = "/there/is/none.so"
label = "x"
pin_file = "pin"
[catalog]
url = "sqlite:///{}"
"""


class Desk:
    """An operator's desk: a configuration, a catalog, no token."""

    def __init__(self, folder, capsys):
        self.file = folder / "hsm-kms.toml"
        self.url = f"sqlite:///{folder / 'catalog.db'}"
        self.capsys = capsys
        self.configure(PRINCIPAL.format(NAME, "111122223333"))

    def configure(self, principals):
        self.file.write_text(CONFIG.format(self.url.removeprefix("sqlite:///")) + principals)

    def put(self, *keys):
        async def work():
            catalog = open_catalog(self.url, partition="aws", clock_us=lambda: 1, monotonic=lambda: 0.0)
            for key in keys:
                await catalog.create_access_key(key)
            await catalog.close()

        asyncio.run(work())

    def run(self, *words):
        program = new_program()
        add_commands(program.commands)
        arguments = program.parser.parse_args(["credentials", *words, "--config", str(self.file)])
        assert arguments.run(arguments) == ExitCode.OK
        return self.capsys.readouterr().out

    def refusal(self, *words):
        with pytest.raises(CommandFailed) as refused:
            self.run(*words)
        return refused.value.code, refused.value.message


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(log, "configure", lambda level, form: None)  # it would keep this test's standard error for ever
    return Desk(tmp_path, capsys)


def key_of(letter, **changes):
    values = {"principal": NAME, "status": AccessKeyStatus.ACTIVE, "created": 1_700_000_000_000_000} | changes
    return AccessKey(f"AKIA{letter * 16}", "111122223333", sealed=b"sealed", **values)


def test_a_list_says_whose_keys_are_refused_and_when_which_was_used(desk):
    assert desk.run("list").splitlines() == ["ACCESS KEY  STATUS  CREATED  LAST USED  SERVICE  PRINCIPAL"]
    desk.put(
        key_of("A"),
        key_of("B", last_used=1_700_000_060_000_000, last_service="sts", status=AccessKeyStatus.INACTIVE),
        key_of("C", principal="spiffe://test/gone"),
    )
    created, gone = "2023-11-14T22:13:20+00:00", "spiffe://test/gone (not in the configuration: refused)"
    rows = [line.split() for line in desk.run("list").splitlines()[1:]]
    assert rows == [
        [key_of("C").access_key_id, "Active", created, "never", "-", *gone.split()],
        [key_of("A").access_key_id, "Active", created, "never", "-", NAME],
        [key_of("B").access_key_id, "Inactive", created, "2023-11-14T22:14:20+00:00", "sts", NAME],
    ]
    (entry,) = json.loads(desk.run("list", "--principal", "spiffe://test/gone", "--output", "json"))[
        "AccessKeyMetadata"
    ]
    assert entry == {
        "UserName": "spiffe://test/gone",
        "Arn": None,
        "AccessKeyId": key_of("C").access_key_id,
        "Status": "Active",
        "CreateDate": created,
        "LastUsedDate": None,
        "LastUsedService": None,
    }


def test_a_principal_that_moved_to_another_account_has_lost_its_keys(desk):
    desk.put(key_of("A"))
    desk.configure(PRINCIPAL.format(NAME, "444455556666"))
    assert "not in the configuration: refused" in desk.run("list")


def test_an_access_key_is_disabled_enabled_and_deleted_without_the_token(desk):
    desk.put(key_of("A"))
    identity = ("--access-key-id", key_of("A").access_key_id)
    desk.run("disable", *identity)
    assert "Inactive" in desk.run("list")
    desk.run("enable", *identity)
    assert "Inactive" not in desk.run("list")
    desk.run("delete", *identity)
    assert len(desk.run("list").splitlines()) == 1
    assert desk.refusal("enable", *identity) == (
        ExitCode.CONFIGURATION, f"The Access Key with id {identity[1]} cannot be found.",
    )  # fmt: skip


def test_what_is_refused_before_the_token_is_asked(desk):
    assert desk.refusal("create", "--principal", "spiffe://test/payment") == (
        ExitCode.USAGE, f"the configuration has no principal spiffe://test/payment: did you mean {NAME}?",
    )  # fmt: skip
    assert desk.refusal("rotate", "--principal", NAME)[1].endswith("use hsm-kms credentials create")
    assert "not AKIA" in desk.refusal("delete", "--access-key-id", "akia" + "a" * 16)[1]
    for name in ("", "a]", "a\nb", "#"):
        assert "--profile" in desk.refusal("create", "--principal", NAME, "--profile", name)[1]
    desk.put(key_of("A"), key_of("B"))
    assert desk.refusal("create", "--principal", NAME) == (
        ExitCode.CONFIGURATION, "Cannot exceed quota for AccessKeysPerUser: 2",
    )  # fmt: skip
    assert "delete the one that is not used" in desk.refusal("rotate", "--principal", NAME)[1]
    assert len(config.load(desk.file).principals) == 1


def test_a_token_that_is_not_there_leaves_no_access_key(desk):
    code, text = desk.refusal("create", "--principal", NAME)
    assert code == ExitCode.CONFIGURATION
    assert text.startswith("token: ")
    assert "AKIA" not in desk.run("list")
