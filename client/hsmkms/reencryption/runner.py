"""The run: one thread reads batches, several send them and write what comes back.

    main thread   the batches that an earlier run left, then the rows beyond them ─► a queue as long as there are workers
    each worker   a batch: choose what to send ─► a stream ─► intend ─► write ─► finish

A batch is the unit of everything: it is sent on one stream, written in one transaction and finished in the journal as a whole.
`journal` says why nothing is lost or done twice. Rows that are under the destination's newest material already are not sent;
what that material is, a run learns from the first answer for a key, and from every later one, should the key be rotated meanwhile.

A failure that is no row's own, such as a database that is gone for longer than `PATIENCE_S`, ends the run; all workers stop, what
they have not committed is left for the next run.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import tenacity

from hsmkms.client.errors import KmsError, ValidationException
from hsmkms.core.context import MAX_CONTEXT_BYTES, canonical
from hsmkms.core.messages import ReEncryptRequest
from hsmkms.reencryption.journal import Batch, Journal
from hsmkms.reencryption.plan import Plan
from hsmkms.reencryption.progress import Display
from hsmkms.reencryption.rows import (
    Failure,
    Key,
    Material,
    Outcome,
    Row,
    Store,
    StoreProblem,
    Tally,
    digest_of,
    material_of,
)
from hsmkms.reencryption.service import FIRST_WAIT_S, LONGEST_WAIT_S, PATIENCE_S, Answer, Interrupted, Sender
from hsmkms.reencryption.templates import TemplateProblem

_T = TypeVar("_T")

_TICK_S: Final = 0.2
MAX_CIPHERTEXT_BYTES: Final = 6144
"""What ReEncrypt takes."""
ROUNDS: Final = 2
"""How often a row is sent that changes between reading and writing."""
UNKNOWN: Final = Material("unknown", 0)
"""For ciphertexts of a format that this version does not know."""


class Destinations:
    """The newest material of each destination, as far as answers have told it. Threads: any number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str | None, Material] = {}

    def newest(self, destination: str | None) -> Material | None:
        """Return the newest material of a destination: of a key id, or of the plan's one destination, None."""
        with self._lock:
            return self._newest.get(destination)

    def learn(self, destination: str | None, material: Material) -> None:
        """Take what an answer tells; an older answer changes nothing."""
        with self._lock:
            known = self._newest.get(destination)
            if known is None or known.key_id != material.key_id or known.version < material.version:
                self._newest[destination] = material


@dataclass(slots=True)
class _Work:
    """A batch in a worker's hands.

    Args:
        batch: The batch.
        rows: Its rows as they were read; None where an earlier attempt may have written some, so that they must be read.
    """

    batch: Batch
    rows: Sequence[Row] | None = None


class Runner:
    """A run.

    Args:
        plan: What is to be done.
        store: Where the rows are.
        journal: The plan's journal.
        sender: Sends batches.
        stop: Set to end the run early; the sender knows it too.
        streams: How many batches are worked on at a time.
        batch_rows: How many rows a batch has at most.
        limit: How many rows to look at in this run; None for all.
        patience_s: How long to try again where a store's failure may pass.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        journal: Journal,
        sender: Sender,
        stop: threading.Event,
        *,
        streams: int,
        batch_rows: int,
        limit: int | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._plan = plan
        self._store = store
        self._journal = journal
        self._sender = sender
        self._stop = stop
        self._streams = streams
        self._batch_rows = batch_rows
        self._limit = limit
        self._patience_s = patience_s
        self._destinations = Destinations()
        self._queue: queue.Queue[_Work | None] = queue.Queue(streams)
        self._turns = threading.Condition()
        self._turn = 0
        self._problem: BaseException | None = None
        self._tally = Tally()
        self._tally_lock = threading.Lock()

    def run(self, display: Display) -> bool:
        """Move rows until none is left, the limit is reached or the run is to end.

        Returns:
            Whether all rows are done.

        Raises:
            StoreProblem, JournalProblem, ServiceGone: the run cannot go on.
        """
        self._tally = self._journal.tally()
        left = self._journal.unfinished()
        first = left[0] if left else None
        self._turn = first.number if first else self._journal.next_number
        display.begin(self._tally.rows, self._total(first))
        workers = [
            threading.Thread(target=self._work, name=f"stream {number}", daemon=True) for number in range(self._streams)
        ]
        for worker in workers:
            worker.start()
        try:
            is_all = self._feed(left, display)
            for _ in workers:
                self._put(None, display)
        except Interrupted:
            is_all = False
        except BaseException:
            self._stop.set()
            raise
        finally:
            if self._stop.is_set() and self._problem is None:
                display.say("ending when the batches at work are done; Ctrl-C ends at once")
            for worker in workers:
                while worker.is_alive():
                    worker.join(_TICK_S)
                    self._show(display)
        if self._problem is not None:
            raise self._problem
        return is_all and not self._stop.is_set()

    @property
    def tally(self) -> Tally:
        """What all finished batches came to, over all runs."""
        with self._tally_lock:
            copy = Tally()
            copy.add(self._tally)
            return copy

    def _total(self, first: Batch | None) -> int | None:
        beyond = self._store.count(first.after if first else self._journal.until)
        if beyond is None:
            return None
        return self._tally.rows + (beyond if self._limit is None else min(beyond, self._limit))

    def _feed(self, left: Sequence[Batch], display: Display) -> bool:
        """Give the workers all batches, and return whether there are no others."""
        for batch in left:
            self._put(_Work(batch), display)
        after = self._journal.until
        allowed = self._limit
        while not self._stop.is_set():
            wanted = self._batch_rows if allowed is None else min(self._batch_rows, allowed)
            rows = self._patiently(self._store.read, after, wanted) if wanted else []
            if not rows:
                return wanted > 0
            batch = self._journal.begin(after, rows[-1].key)
            self._put(_Work(batch, rows), display)
            after = batch.until
            allowed = None if allowed is None else allowed - len(rows)
        return False

    def _put(self, work: _Work | None, display: Display) -> None:
        while not self._stop.is_set():
            self._show(display)
            try:
                return self._queue.put(work, timeout=_TICK_S)
            except queue.Full:
                continue
        return None

    def _show(self, display: Display) -> None:
        tally = self.tally
        display.show(tally.rows, tally.told)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                work = self._queue.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            if work is None:
                return
            try:
                self._patiently(self._do, work)
            except Interrupted:
                return
            except BaseException as error:  # noqa: BLE001 the main thread raises it
                self._problem = self._problem or error
                self._stop.set()

    def _patiently(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """Call something of the store again and again while what goes wrong may pass."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, StoreProblem) and error.may_pass),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            stop=tenacity.stop_after_delay(self._patience_s),
            sleep=self._sleep,
            reraise=True,
        )
        return attempts(call, *arguments)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted

    def _do(self, work: _Work) -> None:
        """Move the rows of a batch, and finish it; may be called again after a StoreProblem."""
        tally, failures = Tally(), list[Failure]()
        rows, work.rows = work.rows, None
        if rows is not None:
            self._move(work.batch, rows, tally, failures)
        else:
            self._move_the_rest(work.batch, tally, failures)
        mark = 0
        if self._store.is_copy:
            self._wait_for_turn(work.batch)
            mark = self._store.mark()
        self._journal.finish(work.batch, tally, failures, mark)
        with self._tally_lock:
            self._tally.add(tally)
        with self._turns:
            self._turn = work.batch.number + 1
            self._turns.notify_all()

    def _move_the_rest(self, batch: Batch, tally: Tally, failures: list[Failure]) -> None:
        """Move those rows of a batch that an earlier attempt has not: those that do not hold what it intended."""
        intents = self._journal.intents(batch)
        after = batch.after
        while rows := self._store.read(after, self._batch_rows, until=batch.until, settled=True):
            rest = []
            for row in rows:
                if row.stored is not None and (row.key, digest_of(row.stored)) in intents:
                    assert row.ciphertext is not None
                    tally.moved[material_of(row.ciphertext) or UNKNOWN] += 1
                else:
                    rest.append(row)
            self._move(batch, rest, tally, failures)
            after = rows[-1].key

    def _move(self, batch: Batch, rows: Sequence[Row], tally: Tally, failures: list[Failure]) -> None:
        for remaining in reversed(range(ROUNDS)):
            outcomes = self._outcomes(rows, tally, failures)
            refused = self._write(batch, outcomes)
            for each in outcomes:
                if each.ciphertext is not None and each.row.key not in refused:
                    tally.moved[material_of(each.ciphertext) or UNKNOWN] += 1
                elif refused.get(each.row.key):
                    self._fail(each.row, "RowRefused", f"the database: {refused[each.row.key]}", tally, failures)
            changed = [key for key, reason in refused.items() if not reason]
            if not changed or self._store.is_copy:
                return
            found = self._store.read_again(changed)
            tally.gone += len(changed) - len(found)
            if not remaining:
                for row in found:
                    self._fail(row, "RowChanged", "the row changed again and again while it was moved", tally, failures)
                return
            tally.read_again += len(found)
            rows = found

    def _write(self, batch: Batch, outcomes: Sequence[Outcome]) -> Mapping[Key, str]:
        """Write what becomes of rows; return those that were not written, with the database's reason or an empty text."""
        if self._store.is_copy:
            self._wait_for_turn(batch)
            self._store.write(outcomes)
            return {}
        store = self._store
        self._journal.intend(
            batch, [(each.row.key, digest_of(store.new_value(each))) for each in outcomes if each.ciphertext]
        )
        return {each.row.key: each.reason for each in store.write(outcomes)}

    def _outcomes(self, rows: Sequence[Row], tally: Tally, failures: list[Failure]) -> Sequence[Outcome]:
        """Return what to write of each row, in order; count those that stay as they are."""
        requests: dict[int, ReEncryptRequest] = {}
        for place, row in enumerate(rows):
            if row.problem:
                self._fail(row, "RowUnreadable", f"the ciphertext {row.problem}", tally, failures)
            elif row.ciphertext is None:
                tally.empty += 1
            else:
                try:
                    requests[place] = request_for(self._plan, row)
                except (TemplateProblem, RowUnreadable) as problem:
                    self._fail(row, "RowUnreadable", str(problem), tally, failures)
        new: dict[int, bytes] = {}
        for place, answer in self._answers(rows, requests).items():
            row = rows[place]
            if isinstance(answer, KmsError):
                self._fail(row, answer.code, answer.message, tally, failures, answer.request_id)
            elif answer is None or self._is_there(row, material_of(answer.ciphertext_blob)):
                tally.there += 1
            else:
                new[place] = answer.ciphertext_blob
        return [Outcome(row, new.get(place)) for place, row in enumerate(rows)]

    def _answers(self, rows: Sequence[Row], requests: dict[int, ReEncryptRequest]) -> dict[int, Answer | None]:
        """Return the answers, by place; None for rows that need not be sent."""
        answers: dict[int, Answer | None] = {}
        if not self._plan.includes_moved:
            # One row for each destination whose newest material is not known yet: its answer may spare sending others.
            scouts: dict[str | None, int] = {}
            for place in requests:
                destination = self._destination(rows[place])
                if self._destinations.newest(destination) is None:
                    scouts.setdefault(destination, place)
            answers.update(self._send(rows, {place: requests[place] for place in scouts.values()}))
        rest = {}
        for place, request in requests.items():
            if place in answers:
                continue
            newest = self._destinations.newest(self._destination(rows[place]))
            if newest is not None and self._is_there(rows[place], newest):
                answers[place] = None
            else:
                rest[place] = request
        answers.update(self._send(rows, rest))
        return answers

    def _send(self, rows: Sequence[Row], requests: dict[int, ReEncryptRequest]) -> dict[int, Answer]:
        if not requests:
            return {}
        answers = dict(zip(requests, self._sender.send(list(requests.values())), strict=True))
        for place, answer in answers.items():
            if not isinstance(answer, KmsError):
                material = material_of(answer.ciphertext_blob)
                if material is not None:
                    self._destinations.learn(self._destination(rows[place]), material)
        return answers

    def _destination(self, row: Row) -> str | None:
        material = material_of(row.ciphertext or b"")
        return None if self._plan.destination_key_id is not None or material is None else material.key_id

    def _is_there(self, row: Row, newest: Material | None) -> bool:
        if self._plan.includes_moved or newest is None or row.ciphertext is None:
            return False
        return material_of(row.ciphertext) == newest

    def _fail(
        self, row: Row, code: str, message: str, tally: Tally, failures: list[Failure], request_id: str = ""
    ) -> None:
        tally.failed += 1
        failures.append(Failure(self._store.shown(row.key), code, message, request_id))

    def _wait_for_turn(self, batch: Batch) -> None:
        with self._turns:
            while self._turn != batch.number:
                if self._stop.is_set():
                    raise Interrupted
                self._turns.wait(_TICK_S)


class RowUnreadable(Exception):
    """A row cannot be sent: the text says why."""


def request_for(plan: Plan, row: Row) -> ReEncryptRequest:
    """Return the request that moves a row.

    Raises:
        TemplateProblem: a column has no value for the encryption context.
        RowUnreadable: it is longer than the service takes, or the destination is its own key and it names none.
    """
    assert row.ciphertext is not None
    destination = plan.destination_key_id
    if destination is None:
        material = material_of(row.ciphertext)
        if material is None:
            raise RowUnreadable("it is no ciphertext of format 1, so that its own key is not known")
        destination = material.key_id
    if len(row.ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise RowUnreadable(f"the ciphertext has {len(row.ciphertext)} bytes; {MAX_CIPHERTEXT_BYTES} is the most")
    context = plan.context.context_of(row.columns)
    template = plan.destination_context
    destination_context = context if template is None else template.context_of(row.columns)
    for each in (context, destination_context):
        try:
            canonical(each)
        except ValidationException:
            raise RowUnreadable(f"its encryption context has more than {MAX_CONTEXT_BYTES} bytes") from None
    return ReEncryptRequest(
        ciphertext_blob=row.ciphertext,
        source_encryption_context=context,
        source_key_id=plan.source_key_id,
        destination_key_id=destination,
        destination_encryption_context=destination_context,
        grant_tokens=plan.grant_tokens,
    )
