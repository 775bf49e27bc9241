"""What `make run` makes: certificates that fit and stay, files that only their owner can read."""

import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.fixture
def make():
    from dev_certificates import ensure_certificates

    return ensure_certificates


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_certificates_are_issued_by_the_ca_and_name_who_they_are_for(make, tmp_path):
    made = make(tmp_path / "tls")
    ca, server, client = (load(pair.certificate_file) for pair in (made.ca, made.server, made.client))
    server.verify_directly_issued_by(ca)
    client.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    (uri,) = client.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert uri.value == "spiffe://hsm-kms.local/operator"


def test_nobody_else_can_read_any_of_it(make, tmp_path):
    make(tmp_path / "tls")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()} == {0o600}


def test_a_second_run_changes_nothing(make, tmp_path):
    make(tmp_path)
    before = contents(tmp_path)
    make(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damaged", ["server.pem", "server-key.pem"])
def test_what_is_damaged_is_made_anew_and_the_rest_stays(make, tmp_path, damaged):
    make(tmp_path)
    before = contents(tmp_path)
    (tmp_path / damaged).write_text("nonsense")
    made = make(tmp_path)
    load(made.server.certificate_file).verify_directly_issued_by(load(made.ca.certificate_file))
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"server.pem", "server-key.pem"}


def test_what_expires_within_30_days_is_renewed(make, tmp_path, monkeypatch):
    import dev_certificates

    monkeypatch.setattr(dev_certificates, "LEAF_LIFETIME", timedelta(days=29))
    old = load(make(tmp_path).client.certificate_file)
    monkeypatch.setattr(dev_certificates, "LEAF_LIFETIME", timedelta(days=100))
    new = load(make(tmp_path).client.certificate_file)
    assert new.serial_number != old.serial_number
    assert new.not_valid_after_utc > datetime.now(UTC) + timedelta(days=99)


def test_a_new_ca_brings_new_certificates(make, tmp_path):
    make(tmp_path)
    (tmp_path / "ca-key.pem").unlink()
    made = make(tmp_path)
    for pair in (made.server, made.client):
        load(pair.certificate_file).verify_directly_issued_by(load(made.ca.certificate_file))


def test_what_it_writes_as_toml_is_toml():
    from dev_setup import toml

    sections = {"token": {"label": 'a "b" \\ c', "workers": 2, "environment": {"SOFTHSM2_CONF": "/x y/ä"}}}
    assert tomllib.loads(toml(sections).decode()) == sections


def test_a_lost_pin_is_said_and_never_replaced(tmp_path):
    from dev_setup import Problem, Settings, ensure_pins

    settings = Settings(tmp_path, "var", 1, 2, 3, "module")
    ensure_pins(settings)
    assert stat.S_IMODE(settings.pin_file.stat().st_mode) == 0o600
    (settings.tokens / "one").mkdir(parents=True)
    (settings.tokens / "one" / "token.object").touch()
    settings.pin_file.unlink()
    with pytest.raises(Problem, match="put it back"):
        ensure_pins(settings)
    assert not settings.pin_file.exists()
