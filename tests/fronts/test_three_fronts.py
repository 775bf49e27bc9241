"""Three fronts on one PostgreSQL and one token: they are one service."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg import sql

from hsmkms.client import Client, errors
from hsmkms.client.contract import Tag
from support.postgres import Postgres
from support.proxy import proxy_to
from support.service import Deployment, Service, eventually, make_deployment, run_cli, running

BOUND_S = 1.0
MAX_STALENESS_S = 2.0


def refused_after(client: Client, key_id: str) -> float:
    """Encrypt until the key is disabled, and return when that was."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            client.encrypt(key_id=key_id, plaintext=b"x")
        except errors.DisabledException:
            return time.monotonic()
    raise AssertionError("the key is in use still")


def has(client: Client, key_id: str) -> bool:
    """Whether a front knows a key as Enabled: others may see it while it is Creating."""
    try:
        return client.describe_key(key_id=key_id).key_metadata.enabled
    except errors.NotFoundException:
        return False


def is_out_of_reach(client: Client, key_id: str) -> bool:
    try:
        client.encrypt(key_id=key_id, plaintext=b"x")
    except errors.KeyUnavailableException:
        return True
    return False


def can_change(client: Client, key_id: str) -> bool:
    name = f"alias/back-{uuid.uuid4().hex}"
    try:
        client.create_alias(alias_name=name, target_key_id=key_id)
    except errors.KeyUnavailableException:
        return False
    return True


class Load:
    """Encrypts, decrypts and changes on every front, without any second attempt of the client's, and notes what came of it."""

    def __init__(self, fronts: list[Service], key_id: str) -> None:
        self.acknowledged: list[str] = []
        self.refusals: list[tuple[str, float]] = []
        self.wrong: list[str] = []
        self.crypto = [0] * len(fronts)
        self._fronts = fronts
        self._key_id = key_id
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=task, args=(number,))
            for task in (self._encrypt, self._change)
            for number in range(len(fronts))
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _encrypt(self, number: int) -> None:
        client = self._fronts[number].client(attempts=1)
        while not self._stop.is_set():
            try:
                sealed = client.encrypt(key_id=self._key_id, plaintext=b"x").ciphertext_blob
                client.decrypt(ciphertext_blob=sealed)
                self.crypto[number] += 1
            except Exception as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
            self._stop.wait(0.01)

    def _change(self, number: int) -> None:
        client = self._fronts[number].client(attempts=1)
        count = 0
        while not self._stop.wait(0.02):
            count += 1
            name = f"alias/kill-{number}-{count}"
            started = time.monotonic()
            try:
                client.tag_resource(key_id=self._key_id, tags=(Tag(f"{number}", f"{count}"),))
                if count % 20 == 0:
                    client.create_alias(alias_name=name, target_key_id=self._key_id)
                    self.acknowledged.append(name)
            except (errors.KeyUnavailableException, errors.DependencyTimeoutException) as error:
                self.refusals.append((type(error).__name__, time.monotonic() - started))


def test_they_agree_on_one_deployment_and_one_service_key(fronts: list[Service], postgres: Postgres) -> None:
    assert all(service.is_ready() for service in fronts)
    database = fronts[0].deployment.settings["catalog"]["url"].rpartition("/")[2]
    found = postgres.execute("SELECT purpose, state FROM service_keys ORDER BY purpose", database)
    assert found == [("audit", "Active"), ("import", "Active"), ("service", "Active")]
    assert postgres.execute("SELECT count(*) FROM claims", database) == [(0,)]
    # a marker of one front is good on another: both derived their keys from the same object
    for _ in range(3):
        fronts[0].client().create_key()
    eventually(lambda: len(fronts[1].client().list_keys().keys) >= 3)
    page = fronts[0].client().list_keys(limit=1)
    assert fronts[1].client().list_keys(limit=1, marker=page.next_marker).keys


def test_what_one_makes_the_others_use(fronts: list[Service]) -> None:
    one, two, three = (service.client() for service in fronts)
    key_id = one.create_key().key_metadata.key_id
    eventually(lambda: has(two, key_id), BOUND_S, "the key on the second front")
    sealed = two.encrypt(key_id=key_id, plaintext=b"between machines").ciphertext_blob
    eventually(lambda: has(three, key_id), BOUND_S, "the key on the third front")
    three.rotate_key_on_demand(key_id=key_id)
    again = one.re_encrypt(ciphertext_blob=sealed, destination_key_id=key_id).ciphertext_blob
    assert three.decrypt(ciphertext_blob=again).plaintext == b"between machines"


def test_a_key_disabled_on_one_is_refused_by_all_within_the_bound(fronts: list[Service]) -> None:
    clients = [service.client() for service in fronts]
    for number in range(3):
        key_id = clients[number].create_key().key_metadata.key_id
        for client in clients:
            eventually(lambda client=client, key_id=key_id: has(client, key_id))
            client.encrypt(key_id=key_id, plaintext=b"x")
        with ThreadPoolExecutor(3) as pool:
            refusals = [pool.submit(refused_after, client, key_id) for client in clients]
            clients[number].disable_key(key_id=key_id)
            acknowledged = time.monotonic()
            assert max(refusal.result() for refusal in refusals) - acknowledged < BOUND_S


def test_one_idempotency_key_sent_to_all_at_once_makes_one_key(fronts: list[Service]) -> None:
    clients = [service.client(attempts=10, timeout_s=20) for service in fronts]
    for _ in range(5):
        same = uuid.uuid4().hex
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda client, same=same: client.create_key(idempotency_key=same), clients))
        assert answers[0] == answers[1] == answers[2]
        key_id = answers[0].key_metadata.key_id
        for client in clients:
            eventually(lambda client=client, key_id=key_id: has(client, key_id))
            assert client.decrypt(ciphertext_blob=client.encrypt(key_id=key_id, plaintext=b"x").ciphertext_blob)


def rotated_once_more(service: Service, postgres: Postgres, key_id: str) -> int:
    """Make a key's rotation due, wait until a front has made it, and return how many there were."""
    client = service.client()
    before = len(client.list_key_rotations(key_id=key_id).rotations)
    database = service.deployment.settings["catalog"]["url"].rpartition("/")[2]
    due = time.time_ns() // 1000 - 1_000_000
    postgres.execute(
        sql.SQL("UPDATE keys SET next_rotation = {} WHERE key_id = {}").format(due, sql.Literal(key_id)), database
    )
    eventually(lambda: len(client.list_key_rotations(key_id=key_id).rotations) > before, 20, "the rotation")
    return len(client.list_key_rotations(key_id=key_id).rotations)


def test_a_rotation_that_is_due_is_made_once_though_three_schedulers_run(
    fronts: list[Service], postgres: Postgres
) -> None:
    client = fronts[0].client()
    first, second = (client.create_key().key_metadata.key_id for _ in range(2))
    for key_id in (first, second):
        client.enable_key_rotation(key_id=key_id)
    for count in range(1, 6):
        assert rotated_once_more(fronts[count % 3], postgres, first) == count
        # every scheduler had its turn again before the other key was rotated so often
        assert rotated_once_more(fronts[0], postgres, second) == count
    rotations = client.list_key_rotations(key_id=first).rotations
    assert [rotation.rotation_type for rotation in rotations] == ["AUTOMATIC"] * 5
    status = client.get_key_rotation_status(key_id=first)
    assert status.next_rotation_date is not None
    assert status.next_rotation_date.timestamp() > time.time()


def test_catalog_and_token_agree_after_all_this(fronts: list[Service]) -> None:
    done = run_cli(fronts[0], "catalog", "check", "--config", str(fronts[0].deployment.config_file))
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    assert b"0 not" in done.stdout


def test_the_database_is_killed_and_started_again_under_load(fronts: list[Service], postgres: Postgres) -> None:
    key_id = fronts[0].client().create_key().key_metadata.key_id
    for service in fronts:
        eventually(lambda service=service: has(service.client(), key_id))
    load = Load(fronts, key_id)
    eventually(lambda: len(load.acknowledged) >= 6, 20, "changes")
    postgres.kill()
    before = list(load.crypto)
    time.sleep(1.5)
    during = list(load.crypto)
    postgres.start()
    restarted = time.monotonic()
    for service in fronts:
        client = service.client(attempts=1)
        eventually(lambda client=client: can_change(client, key_id), 10, "changes")
    recovered = time.monotonic() - restarted
    load.end()

    assert load.wrong == []  # no cryptographic call noticed
    assert all(now > then for now, then in zip(during, before, strict=True))
    assert {name for name, _ in load.refusals} == {"KeyUnavailableException"}
    assert max(seconds for _, seconds in load.refusals) < 5
    assert recovered < 5
    kept = set(load.acknowledged)
    for service in fronts:
        client = service.client()
        eventually(
            lambda client=client: kept <= {a.alias_name for a in client.list_aliases(key_id=key_id, limit=100).aliases}
        )


def test_a_front_that_is_cut_off_serves_for_max_staleness_and_recovers(
    fronts: list[Service], shared: Deployment, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("partitioned")
    database = shared.settings["catalog"]["url"].rpartition("/")[2]
    with proxy_to(postgres.port) as proxy:
        partitioned = make_deployment(
            folder,
            token=shared.token,
            catalog={"url": postgres.url(database, proxy.port), "max_staleness_s": MAX_STALENESS_S},
            audit={"directory": str(folder / "audit")},
        )
        with running(partitioned) as service:
            client, other = service.client(attempts=1), fronts[0].client()
            key_id = other.create_key().key_metadata.key_id
            eventually(lambda: has(client, key_id))
            client.encrypt(key_id=key_id, plaintext=b"x")
            proxy.pause()
            cut_off = time.monotonic()
            other.disable_key(key_id=key_id)
            client.encrypt(key_id=key_id, plaintext=b"x")  # it cannot know; it has `max_staleness_s` to find out
            eventually(lambda: is_out_of_reach(client, key_id), 5, "the end of its bound")
            assert time.monotonic() - cut_off < MAX_STALENESS_S + 0.5
            # An answer from just before the cut, which the proxy holds, may confirm the view until then.
            eventually(lambda: time.monotonic() > cut_off + MAX_STALENESS_S)
            proxy.resume()

            def is_disabled() -> bool:
                try:
                    client.encrypt(key_id=key_id, plaintext=b"x")
                except errors.KeyUnavailableException:
                    return False
                except errors.DisabledException:
                    return True
                raise AssertionError("a key was used that was disabled, beyond the bound")

            eventually(is_disabled, 10, "the front's recovery")
