"""`hsm-kms serve --fronts N`: several front processes on one port of one machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.service import Service, eventually, make_deployment, running, with_workers


def serving(service: Service) -> dict[int, dict[str, object]]:
    """The last `serving` line of each front."""
    return {line["front"]: line for line in list(service.log) if line.get("event") == "serving"}


def workers(service: Service) -> set[tuple[int, str]]:
    """The workers that were ever ready, by front and name."""
    return {(line["front"], line["worker"]) for line in list(service.log) if line.get("event") == "token worker ready"}


def is_alive(pid: object) -> bool:
    assert isinstance(pid, int)
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_fronts_share_a_port_and_a_catalog_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    deployment = with_workers(make_deployment(tmp_path), 3)
    with running(deployment, "--fronts", "2") as service:
        eventually(lambda: service.logged("all fronts serve"), 30, "the second front")
        first = serving(service)
        assert sorted(first) == [0, 1]
        assert len({line["grpc"] for line in first.values()}) == 1
        assert len({line["probes"] for line in first.values()}) == 2
        # 3 workers for the machine: 2 for one front and 1 for the other, and an admin worker each
        eventually(lambda: len(workers(service)) == 5, 20, "the workers")

        key_id = service.client().create_key().key_metadata.key_id
        time.sleep(1.0)  # the bound within which the other front knows it, too
        sealed = service.client().encrypt(key_id=key_id, plaintext=b"x").ciphertext_blob
        for _ in range(6):  # new connections, so either front may get one
            client = service.client(attempts=6)
            assert client.decrypt(ciphertext_blob=sealed).plaintext == b"x"

        os.kill(int(str(first[1]["pid"])), signal.SIGKILL)
        eventually(lambda: serving(service)[1]["pid"] != first[1]["pid"], 30, "a new front")
        assert is_alive(first[0]["pid"])
        assert service.client(attempts=6).decrypt(ciphertext_blob=sealed).plaintext == b"x"
        last = serving(service)
        assert service.stop() == 0
        assert not any(is_alive(line["pid"]) for line in last.values())


def test_fronts_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    deployment = with_workers(make_deployment(tmp_path, limits={"drain_s": 0.5}), 2)
    service = Service(deployment, "--fronts", "2")
    try:
        eventually(lambda: service.logged("all fronts serve"), 30, "the second front")
        pids = [line["pid"] for line in serving(service).values()]
        service.process.kill()
        eventually(lambda: not any(is_alive(pid) for pid in pids), 20, "the fronts' end")
    finally:
        service.stop()


def test_what_cannot_be_divided_or_started_is_said_in_one_line(tmp_path: Path) -> None:
    deployment = with_workers(make_deployment(tmp_path), 2)

    def refusal(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "hsmkms.server.cli", "serve", "--config", str(deployment.config_file)]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    code, said = refusal("--fronts", "3")
    assert code == 253
    assert "token.workers is 2, too few for 3 fronts" in said
    assert refusal("--fronts", "0")[0] == 252
    deployment.token.pin_file.write_text("wrong-pin-4711\n")
    code, said = refusal("--fronts", "2")
    assert code == 253
    assert said.count("start_failed") == 1  # the first front alone: a real HSM locks itself
