"""Workers whose token library has leaked enough are replaced under load, and nobody notices."""

from __future__ import annotations

import os
from pathlib import Path

from support.load import Load, callers, make_keys, re_encrypting_and_reading, seal
from support.service import eventually, make_deployment, running

CLIENTS = 16
REPLACED = 4


def test_workers_are_replaced_under_load_without_an_error(tmp_path: Path) -> None:
    deployment = make_deployment(tmp_path)
    deployment.settings = {"token": {"replace_after_objects": 3000}}
    deployment.write_config()
    with running(deployment) as service:
        first = service.wait_for_workers(4)
        operator = make_keys(service)
        sealed = [seal(operator, os.urandom(length)) for length in (32, 100)]
        with Load(callers(service, CLIENTS, re_encrypting_and_reading, sealed)) as load:
            eventually(
                lambda: service.metric("hsm_kms_worker_ends_total", reason="replaced") >= REPLACED,
                40,
                f"the replacement of {REPLACED} workers under load",
            )
        load.assert_no_errors()
        now = eventually(lambda: len(workers := service.workers()) == 4 and workers, 10, "the full number of workers")
        crypto = {name for name in first if name.startswith("crypto")}
        assert not crypto & set(now), "a worker of the start is still there"
        assert service.metric("hsm_kms_worker_ends_total", reason="died") == 0
        assert service.metric("hsm_kms_worker_ends_total", reason="killed") == 0
        print(f"{load.count()} re-encryptions, {service.metric('hsm_kms_worker_ends_total')} workers replaced")
