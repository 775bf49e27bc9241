"""Ciphertexts that do not open cost nobody else: a bystander waits no longer beside eight who send them than beside eight honest callers.

Each of them reaches the token, where the unwrap fails and the key's canary must show that the token is well.
"""

from __future__ import annotations

import itertools
import os
import statistics

from hsmkms.client import errors
from support.load import Call, Load, Sealed, callers, make_keys, percentile, re_encrypting, seal
from support.service import Service, eventually

SENDERS = 8
ROUNDS = 8
CALLS = 150
FACTOR = 2.0
HEADER_BYTES = 48


def sending_bad_ones(service: Service, number: int, good: Sealed) -> Call:
    """Return a call that sends a ciphertext in whose wrapped key one bit is wrong, and expects the one refusal."""
    client = service.client(f"caller-{number}")
    flips = itertools.count()

    def send() -> None:
        blob = bytearray(good.blob)
        bit = next(flips) % (8 * 40)
        blob[HEADER_BYTES + bit // 8] ^= 1 << bit % 8
        try:
            client.decrypt(ciphertext_blob=bytes(blob), encryption_context=good.context)
        except errors.InvalidCiphertextException:
            return
        raise AssertionError("a changed ciphertext was opened")

    return send


def p99_beside(bystander: Call, others: list[Call]) -> float:
    """Return the bystander's p99 over some calls beside others."""
    with Load(others) as crowd, Load([bystander]) as load:
        eventually(lambda: load.count() >= CALLS, 60, "the bystander's calls")
    crowd.assert_no_errors()
    load.assert_no_errors()
    return percentile([sample.seconds for sample in load.samples], 0.99)


def test_bad_ciphertexts_make_nobody_wait_longer_than_good_ones_do(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(length)) for length in (32, 4096)]
    workers = service.workers()
    bystander = re_encrypting(service.client("reader"), sealed[0])
    good = callers(service, SENDERS, re_encrypting, sealed)
    bad = [sending_bad_ones(service, SENDERS + number, sealed[number % 2]) for number in range(SENDERS)]
    beside_good, beside_bad = [], []
    for _ in range(ROUNDS):
        beside_good.append(p99_beside(bystander, good))
        beside_bad.append(p99_beside(bystander, bad))
    ratio = statistics.median(beside_bad) / statistics.median(beside_good)
    assert service.workers() == workers, "a worker was lost"
    assert ratio < FACTOR, (ratio, beside_good, beside_bad)
