"""deploy/hsm-kms.toml is a configuration that the service takes, and it has every setting that there is."""

import re
import tomllib
import typing
from pathlib import Path

import pytest

from hsmkms.core.policy.decision import decide, default_key_policy
from hsmkms.core.policy.documents import PolicyKind, parse_policy
from hsmkms.core.policy.evaluate import Facts
from hsmkms.server import config

FILE = Path(__file__).resolve().parents[2] / "deploy" / "hsm-kms.toml"


def test_the_service_takes_it():
    assert config.load(FILE).token.label == "hsm-kms"


def test_it_has_every_setting():
    text = re.sub(r"(?m)^# (\w+ = )", r"\1", FILE.read_text())
    tables = {name: table[0] if isinstance(table, list) else table for name, table in tomllib.loads(text).items()}
    there = {section: set(settings) for section, settings in tables.items()}
    wanted = {name: set(section(field).model_fields) for name, field in config.Config.model_fields.items()}
    assert there == wanted


def section(field):
    """Return the model of a section's table, or of the tables of a list."""
    return typing.get_args(field.annotation)[0] if typing.get_origin(field.annotation) is tuple else field.annotation


def test_what_it_calls_the_default_is_the_default():
    stated, defaults = config.load(FILE), config.Config.model_fields
    for section in ("limits", "log", "service", "aws"):
        assert getattr(stated, section) == defaults[section].default


def test_its_policies_are_identity_policies():
    files = [file for entry in config.load(FILE).principals for file in entry.policy_files]
    assert sorted(files) == sorted(FILE.parent.glob("policies/*.json"))
    for file in files:
        parse_policy(file.read_text(), PolicyKind.IDENTITY)


@pytest.mark.parametrize(
    ("who", "action", "alias", "allowed"),
    [
        ("payments", "kms:ReEncryptFrom", "alias/payments", True),
        ("payments", "kms:ReEncryptTo", "alias/payments-2027", True),
        ("payments", "kms:Decrypt", "alias/payments", True),
        ("payments", "kms:ReEncryptTo", "alias/archive", False),
        ("payments", "kms:PutKeyPolicy", "alias/payments", False),
        ("administrator", "kms:PutKeyPolicy", "alias/payments", True),
        ("administrator", "kms:ScheduleKeyDeletion", "alias/payments", True),
        ("administrator", "kms:Decrypt", "alias/payments", False),
        ("administrator", "kms:ReEncryptFrom", "alias/payments", False),
    ],
)
def test_its_principals_may_do_what_it_says(who, action, alias, allowed):
    (entry,) = (entry for entry in config.load(FILE).principals if entry.name.endswith(who))
    service = config.load(FILE).service
    key = f"arn:{service.partition}:kms:{service.region}:{entry.account}:key/1"
    facts = Facts(entry.arn, entry.account, action, key, entry.account, {"kms:resourcealiases": (alias,)})
    decision = decide(
        facts,
        key_policy=parse_policy(default_key_policy(service.partition, entry.account), PolicyKind.KEY),
        identity_policies=[parse_policy(file.read_text(), PolicyKind.IDENTITY) for file in entry.policy_files],
    )
    assert decision.allowed is allowed


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("example.org/payments", "example.org/administrator", "is there twice"),
        (":role/payments", ":user/administrator", "with different tags or policy_files"),
        (":role/payments", ":group/payments", "pattern"),
    ],
    ids=["a name twice", "an ARN with other policies", "no principal's ARN"],
)
def test_a_table_of_principals_that_is_ambiguous_is_refused(tmp_path, old, new, wrong):
    file = tmp_path / "hsm-kms.toml"
    file.write_text(FILE.read_text().replace(old, new))
    with pytest.raises(config.ConfigError, match=rf"principals.*{wrong}"):
        config.load(file)


TOKENS = sorted((FILE.parent / "tokens").glob("*.toml"))


def test_there_is_a_configuration_for_each_token():
    names = {"softhsm", "nss", "luna", "nshield", "aws-cloudhsm", "utimaco", "yubihsm2", "tpm2"}
    assert {file.stem for file in TOKENS} == names


@pytest.mark.parametrize("file", TOKENS, ids=lambda file: file.stem)
def test_the_service_takes_a_tokens_configuration(file):
    token = config.load(file).token
    assert token.module.is_absolute()
    assert token.pin_path() == Path("/etc/hsm-kms/pin")


@pytest.mark.parametrize("file", TOKENS, ids=lambda file: file.stem)
def test_a_tokens_configuration_says_whether_it_was_tried_and_what_the_probe_is_expected_to_find(file):
    head = file.read_text().partition("[token]")[0]
    tried = file.stem in ("softhsm", "nss")
    assert ("# Tried: yes." in head) == tried
    assert ("# NOT TRIED: " in head) != tried
    assert tried or "Source: " in head
    assert re.search("(?i)what the probe (is expected to find|finds)", head)
    assert tried or "hsm-kms token probe --module " in head
