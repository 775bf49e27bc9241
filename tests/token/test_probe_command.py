"""`hsm-kms token probe`: what any token can do, without a configuration, without changing it, and with one attempt at the PIN."""

import hashlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from hsmkms.core.features import TokenFeatures
from hsmkms.hsm.capabilities import PURPOSES
from hsmkms.server import token_report
from support.softhsm import PIN, SPY, make_folder

PROGRAM = [sys.executable, "-m", "hsmkms.server.cli", "token", "probe"]
QUIET = {name: value for name, value in os.environ.items() if not name.startswith(("SOFTHSM2_", "NSS_"))}


def options(token, **changes):
    known = {"module": token.module, "pin_file": token.pin_file, "token_label": token.label, **changes}
    named = [f"--{name.replace('_', '-')}={value}" for name, value in known.items() if value is not None]
    return [*named, *(f"--environment={name}={value}" for name, value in token.variables.items())]


def probe(*arguments):
    return subprocess.run(
        [*PROGRAM, *arguments],
        capture_output=True,
        text=True,
        env=QUIET,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )


def refusal(*arguments):
    done = probe(*arguments)
    assert done.returncode != 0
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def digest_of(folder):
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_it_shows_what_the_worker_finds_and_what_that_gives(token, in_process):
    done = probe(*options(token, token_label=None), "--output=json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["token_label"] == token.label
    assert answer["capabilities"] == in_process.found.to_dict()
    assert answer["kms"] == token_report.as_document(TokenFeatures.from_capabilities(answer["capabilities"]))
    assert {entry["for"] for entry in answer["kms"]["missing"]} >= {"CreateKey", "Encrypt, Decrypt"}


def test_the_table_has_every_finding_and_the_four_directions(softhsm):
    before = digest_of(softhsm.folder)
    done = probe(*options(softhsm))
    assert done.returncode == 0, done.stderr
    for name in PURPOSES:
        assert re.search(rf"^{name} ", done.stdout, re.MULTILINE)
    for direction in ("sym -> sym", "sym -> RSA", "RSA -> sym", "RSA -> RSA"):
        assert f"ReEncrypt {direction}" in done.stdout
    assert "SM2PKE: needs an SM2 encryption mechanism" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 140
    changed = {file for file, value in digest_of(softhsm.folder).items() if before.get(file) != value}
    # SoftHSM writes token.object anew at each login; nothing else on any token is touched, and nothing is added.
    assert {file.name for file in changed} <= {"token.object", "start.lock"}


def test_each_mistake_is_told_in_one_line(softhsm, tmp_path):
    assert "no PKCS#11 module at /nowhere.so" in refusal(*options(softhsm, module="/nowhere.so"))
    assert "is not a PKCS#11 module" in refusal(*options(softhsm, module="/etc/hostname"))
    assert f"no token 'other' in {softhsm.module}; its tokens: " in refusal(*options(softhsm, token_label="other"))
    assert "PIN file /nowhere: No such file" in refusal(*options(softhsm, pin_file="/nowhere"))
    assert "is needed: give --pin-file" in refusal(*options(softhsm, pin_file=None))
    assert "'x' is not NAME=VALUE" in refusal(*options(softhsm), "--environment=x")
    readable = tmp_path / "pin"
    readable.write_text(PIN)
    readable.chmod(0o644)
    assert "chmod 600" in refusal(*options(softhsm, pin_file=readable))


def test_an_environment_that_does_not_do_is_told(softhsm):
    wrong = [
        option
        for option in options(softhsm)
        if "=SOFTHSM2_CONF=" not in option and "=NSS_SHIM_PARAMETERS=" not in option
    ]
    assert "check what it needs in its environment" in refusal(*wrong, "--environment=SOFTHSM2_CONF=/nowhere")


def test_several_tokens_want_a_name_and_none_is_told(tmp_path):
    folder = make_folder(tmp_path / "softhsm")
    assert "no token in " in refusal(*options(folder, token_label=None))
    for label in ("one", "two"):
        folder.init(label)
    assert "2 tokens in " in (text := refusal(*options(folder, token_label=None)))
    assert "--token-label ('one', 'two')" in text
    assert probe(*options(folder, token_label="two"), "--output=json").returncode == 0


def test_a_wrong_pin_is_tried_once(token, tmp_path):
    assert Path(SPY).is_file(), f"this test needs OpenSC's spy at {SPY} (apt install opensc)"
    pin, log = tmp_path / "pin", tmp_path / "spy.log"
    pin.touch(mode=0o600)
    pin.write_text("not the PIN")
    spied = (f"--environment=PKCS11SPY={token.module}", f"--environment=PKCS11SPY_OUTPUT={log}")
    text = refusal(*options(token, module=SPY, pin_file=pin), *spied)
    assert "refused the PIN: correct the PIN, then start again (it is not tried twice)" in text
    assert "not the PIN" not in text
    assert len(re.findall(r"^\d+: C_Login$", log.read_text(errors="replace"), re.MULTILINE)) == 1


def test_it_asks_for_the_pin_on_a_terminal(softhsm):
    """And does not show it."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [*PROGRAM, *options(softhsm, pin_file=None), "--output=json"], QUIET)
    shown = b""
    while b"PIN of token" not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, PIN.encode() + b"\n")
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert PIN.encode() not in shown
    assert b'"suites"' in shown
