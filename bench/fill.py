"""Fill a token with backing keys of one deployment, as the service would make them, but at once and without a catalog.

`python -m bench.fill WORKER_SETTINGS COUNT`, with the module's variables in the environment. `hsm-kms catalog rebuild` then makes the
catalog. CreateKey would do it too, and would take a quarter of an hour for 10,000: it searches the token twice for each.
"""

from __future__ import annotations

import sys
import uuid

from hsmkms.core.ciphertext import Suite
from hsmkms.core.service_keys import deployment_label
from hsmkms.core.startup import WorkerSettings
from hsmkms.core.statistics import WorkerStatistics
from hsmkms.hsm.constants import CKA, CKM
from hsmkms.hsm.cryptoki import Handle, Mechanism
from hsmkms.hsm.module import open_token
from hsmkms.hsm.probe import probe
from hsmkms.hsm.templates import BACKING_KEY, render

FIRST_VERSION = (1).to_bytes(4, "big")


def fill(settings: WorkerSettings, count: int) -> None:
    """Generate so many backing keys, each of a new KMS key."""
    calls = open_token(settings, WorkerStatistics()).cryptoki
    found = probe(calls)
    label = deployment_label(uuid.uuid4())
    generation = Mechanism(CKM.AES_KEY_GEN)
    for _ in range(count):
        names = ((CKA.ID, uuid.uuid4().bytes + FIRST_VERSION), (CKA.LABEL, label))
        template = render(BACKING_KEY[Suite.AES_CBC_ENCRYPT_DATA], found, extra=names)
        handle = Handle()
        calls.generate_key(generation.pointer, template.pointer, template.count, handle.pointer)


if __name__ == "__main__":
    fill(WorkerSettings.from_json(sys.argv[1].encode()), int(sys.argv[2]))
