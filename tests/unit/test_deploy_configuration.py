"""deploy/hsm-kms.toml is a configuration that the service takes, and it has every setting that there is."""

import re
import tomllib
from pathlib import Path

from hsmkms.server import config

FILE = Path(__file__).resolve().parents[2] / "deploy" / "hsm-kms.toml"


def test_the_service_takes_it():
    assert config.load(FILE).token.label == "hsm-kms"


def test_it_has_every_setting():
    text = re.sub(r"(?m)^# (\w+ = )", r"\1", FILE.read_text())
    there = {section: set(settings) for section, settings in tomllib.loads(text).items()}
    wanted = {name: set(field.annotation.model_fields) for name, field in config.Config.model_fields.items()}
    assert there == wanted


def test_what_it_calls_the_default_is_the_default():
    stated, defaults = config.load(FILE), config.Config.model_fields
    for section in ("limits", "log", "service"):
        assert getattr(stated, section) == defaults[section].default
