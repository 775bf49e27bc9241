"""Sixteen clients, 20,000 operations of every kind, right and wrong: each gets the answer it must get."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

from hsmkms.client import Client
from hsmkms.client.errors import AccessDeniedException, InvalidCiphertextException, KmsError, NotFoundException
from support.load import WrongAnswer, make_keys, seal
from support.service import Service

CLIENTS = 16
OPERATIONS = 20_000
KEY_ID = range(8, 24)
"""Where a ciphertext names its key."""
UNKNOWN = "0f0e0d0c-0b0a-4908-8706-050403020100"


class Caller:
    """One client and what it knows: it draws an operation, carries it out, and judges the answer."""

    def __init__(self, client: Client, number: int, keys: dict[str, str]) -> None:
        self.client = client
        self.keys = keys
        self.chance = random.Random(number)
        self.context = {"caller": str(number)}
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        sealed = seal(client, self.chance.randbytes(32), **self.context)
        self.blob, self.plaintext, self.key = sealed.blob, sealed.plaintext, "source"
        self._kinds: list[tuple[Callable[[], None], int]] = [
            (self.encrypt, 3),
            (self.decrypt, 4),
            (self.re_encrypt, 6),
            (self.data_key, 2),
            (self.data_key_without_plaintext, 1),
            (self.wrong_context, 2),
            (self.mutated, 3),
            (self.truncated, 1),
            (self.describe, 2),
            (self.describe_unknown, 1),
            (self.list_keys, 1),
            (self.random, 1),
        ]

    def run(self, count: int) -> None:
        kinds, weights = zip(*self._kinds, strict=True)
        for kind in self.chance.choices(kinds, weights, k=count):
            try:
                kind()
            except Exception as error:
                self.failures.append(f"{kind.__name__}: {error!r}")
            self.done[kind.__name__] += 1

    def encrypt(self) -> None:
        self.plaintext = self.chance.randbytes(self.chance.choice((1, 7, 16, 32, 33, 256, 257, 1000, 4096)))
        self.key = self.chance.choice(("source", "destination"))
        answer = self.client.encrypt(
            key_id=f"alias/{self.key}", plaintext=self.plaintext, encryption_context=self.context
        )
        self.blob = answer.ciphertext_blob
        _expect(answer.key_id, self.keys[self.key])

    def decrypt(self) -> None:
        answer = self.client.decrypt(ciphertext_blob=self.blob, encryption_context=self.context)
        _expect(answer.plaintext, self.plaintext)
        _expect(answer.key_id, self.keys[self.key])

    def re_encrypt(self) -> None:
        to = self.chance.choice(("source", "destination"))
        answer = self.client.re_encrypt(
            ciphertext_blob=self.blob,
            source_encryption_context=self.context,
            destination_key_id=f"alias/{to}",
            destination_encryption_context=self.context,
        )
        _expect(answer.source_key_id, self.keys[self.key])
        _expect(answer.key_id, self.keys[to])
        self.blob, self.key = answer.ciphertext_blob, to

    def data_key(self) -> None:
        length = self.chance.choice((1, 16, 32, 100, 1024))
        answer = self.client.generate_data_key(
            key_id="alias/source", number_of_bytes=length, encryption_context=self.context
        )
        _expect(len(answer.plaintext), length)
        read = self.client.decrypt(ciphertext_blob=answer.ciphertext_blob, encryption_context=self.context)
        _expect(read.plaintext, answer.plaintext)

    def data_key_without_plaintext(self) -> None:
        answer = self.client.generate_data_key_without_plaintext(
            key_id="alias/source", key_spec="AES_256", encryption_context=self.context
        )
        read = self.client.decrypt(ciphertext_blob=answer.ciphertext_blob, encryption_context=self.context)
        _expect(len(read.plaintext), 32)

    def wrong_context(self) -> None:
        wrong = self.chance.choice(({}, {"caller": "someone else"}, {**self.context, "more": "1"}))
        self._refused(self.blob, wrong)

    def mutated(self) -> None:
        changed = bytearray(self.blob)
        position = self.chance.randrange(len(changed))
        changed[position] ^= 1 << self.chance.randrange(8)
        # A ciphertext that names an unknown key is refused as one that names a forbidden key is.
        self._refused(bytes(changed), self.context, names_another_key=position in KEY_ID)

    def truncated(self) -> None:
        self._refused(self.blob[: self.chance.randrange(1, len(self.blob))], self.context)

    def _refused(self, blob: bytes, context: dict[str, str], *, names_another_key: bool = False) -> None:
        try:
            if self.chance.random() < 0.5:
                self.client.decrypt(ciphertext_blob=blob, encryption_context=context)
            else:
                self.client.re_encrypt(
                    ciphertext_blob=blob, source_encryption_context=context, destination_key_id="alias/source"
                )
        except InvalidCiphertextException as error:
            _expect((error.message, names_another_key), ("", False))
        except AccessDeniedException:
            _expect(names_another_key, True)
        except KmsError as error:
            raise WrongAnswer(f"refused as {error.code}: {error}") from error
        else:
            raise WrongAnswer("accepted")

    def describe(self) -> None:
        answer = self.client.describe_key(key_id=f"alias/{self.key}")
        _expect(answer.key_metadata.arn, self.keys[self.key])

    def describe_unknown(self) -> None:
        try:
            self.client.describe_key(key_id=UNKNOWN)
        except NotFoundException:
            return
        raise WrongAnswer("found")

    def list_keys(self) -> None:
        _expect({entry.key_arn for entry in self.client.list_keys().keys}, set(self.keys.values()))

    def random(self) -> None:
        length = self.chance.randrange(1, 1025)
        _expect(len(self.client.generate_random(number_of_bytes=length).plaintext), length)


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise WrongAnswer(f"{found!r} instead of {expected!r}"[:200])


def test_sixteen_clients_get_twenty_thousand_right_answers(service: Service) -> None:
    operator = make_keys(service)
    arns = {name: operator.describe_key(key_id=f"alias/{name}").key_metadata.arn for name in ("source", "destination")}
    workers = service.workers()
    many = [Caller(service.client(f"caller-{number}", timeout_s=60.0), number, arns) for number in range(CLIENTS)]
    threads = [threading.Thread(target=caller.run, args=(OPERATIONS // CLIENTS,), daemon=True) for caller in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert not any(thread.is_alive() for thread in threads)
    failures = [failure for caller in many for failure in caller.failures]
    assert not failures, (len(failures), failures[:5])
    done = sum((caller.done for caller in many), Counter())
    assert done.total() == OPERATIONS
    assert service.workers() == workers, "a worker was lost"
    assert service.metric("hsm_kms_worker_ends_total") == 0
    print(dict(done))
