"""Suite 2 by known answer on a token that has it: NSS softokn, session objects only, without a database.

Suite 2 stays reserved for ciphertexts; what is shown is that its derivation is right, and that the probe tells tokens apart.
"""

import json
import subprocess
import sys
from pathlib import Path

SOFTOKN = "/usr/lib/x86_64-linux-gnu/libsoftokn3.so"

PROBE = """
import ctypes, json, sys
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm.cryptoki import Cryptoki, Module
from hsmkms.hsm.probe import probe

class InitializeArgs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("create", "destroy", "lock", "unlock")] + [
        ("flags", ctypes.c_ulong), ("library_parameters", ctypes.c_char_p), ("reserved", ctypes.c_void_p)]

module = Module(sys.argv[1])
parameters = b"configdir='' certPrefix='' keyPrefix='' secmod='' flags=readOnly,noCertDB,noModDB,forceOpen,optimizeSpace"
arguments = InitializeArgs(flags=2, library_parameters=parameters)
assert module.function("C_Initialize", ctypes.c_void_p)(ctypes.addressof(arguments)) == 0
session = ctypes.c_ulong()
open_session = module.function("C_OpenSession", ctypes.c_ulong, ctypes.c_ulong, *[ctypes.c_void_p] * 3)
assert open_session(1, 6, None, None, ctypes.addressof(session)) == 0
print(json.dumps(probe(Cryptoki(module, session.value, WorkerStatistics())).to_dict()))
"""


def test_nss_derives_by_suite_2_what_software_derives():
    assert Path(SOFTOKN).is_file(), f"this test needs NSS at {SOFTOKN} (apt install libnss3)"
    done = subprocess.run([sys.executable, "-c", PROBE, SOFTOKN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["known_answers"]
    assert found["suite_2"]
    assert found["aes_key_wrap_padded"] == "0x210B"
    assert found["oaep_sha256"]
    assert not found["allowed_mechanisms"], "accepted, and not enforced"
