"""The token goes away and comes back, or refuses its PIN: callers hear the truth, and a real HSM would not be locked."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import pytest

from hsmkms.client.errors import KeyUnavailableException
from support.load import Load, callers, make_keys, re_encrypting_and_reading, seal
from support.service import Service, eventually

CLIENTS = 16
REFUSALS = 3


def test_a_token_that_goes_away_and_comes_back_is_used_again_by_itself(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(length)) for length in (32, 100)]
    tokens = service.deployment.token.tokens
    away = tokens.with_name("away")
    probe = service.client("probe", attempts=1)
    calls = callers(service, CLIENTS, re_encrypting_and_reading, sealed, attempts=1)
    with Load(calls) as load:
        eventually(lambda: load.count() > 200)
        tokens.rename(away)
        gone_at = time.monotonic()
        # SoftHSM notices when it looks at the folder; so does a worker that is started anew.
        for pid in service.workers().values():
            with suppress(ProcessLookupError):  # it noticed by itself, and has ended
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not service.is_ready(), 10, "/readyz 503")
        before = len(load.samples)
        eventually(lambda: len(load.samples) > before + 100, what="refusals")
        took = _time_of_refusal(lambda: probe.decrypt(ciphertext_blob=sealed[0].blob))
        assert took < 0.5, took
        assert probe.describe_key(key_id="alias/source").key_metadata.enabled
        assert len(probe.list_keys().keys) == 2
        assert not service.is_ready()
        away.rename(tokens)
        back_at = time.monotonic()
        eventually(
            lambda: any(sample.began > back_at and not sample.error for sample in load.samples), 5, "a success again"
        )
        recovered = time.monotonic() - back_at
        eventually(service.is_ready, 5, "readiness by itself")
        settled = time.monotonic()
        eventually(lambda: sum(sample.began > settled for sample in load.samples) > 200)
    assert {type(error) for error in load.errors()} == {KeyUnavailableException}, load.tally()
    assert not [sample for sample in load.samples if sample.error and sample.ended < gone_at]
    assert not [sample for sample in load.samples if sample.error and sample.began > settled]
    assert operator.create_key(description="after").key_metadata.enabled
    service.wait_for_workers(4)
    print(
        f"{load.tally()}; refused in {took * 1000:.0f} ms; {recovered:.2f} s from the token's return to the first success"
    )


def test_a_token_folder_that_goes_under_running_workers_is_never_a_missing_key(service: Service) -> None:
    operator = make_keys(service)
    sealed = [seal(operator, os.urandom(length)) for length in (32, 100)]
    tokens = service.deployment.token.tokens
    away = tokens.with_name("away")
    creator = service.client("creator", attempts=1)
    with Load(callers(service, CLIENTS, re_encrypting_and_reading, sealed, attempts=1)) as load:
        eventually(lambda: load.count() > 200)
        tokens.rename(away)
        with pytest.raises(KeyUnavailableException):
            creator.create_key(description="made of nothing")
        before = load.count()
        eventually(lambda: load.count() > before + 200)
        eventually(
            lambda: not service.is_ready(), 5, "the readiness' end"
        )  # else the readiness of before would be seen below
        away.rename(tokens)
        eventually(service.is_ready, 5, "readiness by itself")
        settled = time.monotonic()
        eventually(lambda: sum(sample.began > settled for sample in load.samples) > 200)
    assert {type(error) for error in load.errors()} <= {KeyUnavailableException}, load.tally()
    assert not [sample for sample in load.samples if sample.error and sample.began > settled], load.tally()
    assert creator.create_key(description="made of something").key_metadata.enabled
    print(load.tally())


def test_a_wrong_pin_is_tried_three_times_and_no_more(service: Service) -> None:
    operator = make_keys(service)
    sealed = seal(operator, os.urandom(32))
    client = service.client("caller", attempts=1)
    service.deployment.token.pin_file.write_text("wrong-horse\n")
    before = _refusals(service)
    workers = service.workers()
    os.kill(workers.pop(next(name for name in workers if name.startswith("crypto"))), signal.SIGKILL)
    eventually(lambda: _refusals(service) - before == REFUSALS, 10, "three refusals")
    given_up = eventually(
        lambda: next((line for line in list(service.log) if line.get("level") == "critical"), None), 5, "a clear line"
    )
    assert "PIN" in given_up["event"]
    assert "started again" in given_up["event"]
    assert client.decrypt(ciphertext_blob=sealed.blob).plaintext == sealed.plaintext, "the other workers are logged in"

    for pid in workers.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not service.is_ready(), 5, "/readyz 503")
    assert _time_of_refusal(lambda: client.decrypt(ciphertext_blob=sealed.blob)) < 0.5
    assert client.describe_key(key_id="alias/source").key_metadata.enabled
    assert len(client.list_keys().keys) == 2
    with pytest.raises(KeyUnavailableException):
        client.create_key()
    with Load([lambda: _time_of_refusal(lambda: client.decrypt(ciphertext_blob=sealed.blob))]) as load:
        eventually(lambda: load.count() > 200)  # time for a fourth attempt, if there were one
        time.sleep(2)
    load.assert_no_errors()
    assert _refusals(service) - before == REFUSALS
    assert not service.workers()


def _refusals(service: Service) -> int:
    return sum(
        1 for line in list(service.log) if line.get("event") == "start_failed" and line["outcome"] == "PIN_REFUSED"
    )


def _time_of_refusal(call) -> float:
    began = time.monotonic()
    with pytest.raises(KeyUnavailableException):
        call()
    return time.monotonic() - began
