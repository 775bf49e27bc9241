"""How far a run came, in a SQLite file: what makes it resumable after a SIGKILL or a power failure at any point.

SQLite, because a batch is finished in several places at once (position, counts, intents, lengths of files), and a transaction is the
only way in which all of that happens or none of it. It is in Python's standard library and needs no server. Every transaction is on
the disk before it returns.

The order in which a batch of a table goes:

    1. begin     the batch's number and range of keys                       a run that dies now reads the range again
    2. intend    SHA-256 of every new value, by key                         the same: no row holds one of these values
    3. (the table's own COMMIT)                                             rows that hold an intended value are done; the others not
    4. finish    counts; the intents go; the position advances              the batch is never looked at again

So a row whose update was committed is recognised by its value, whichever of the steps the run died in, and is not sent again; and a
range is left only when all of it is done. For a file, step 3 appends to the output and step 4 keeps its length: what is beyond
that length at a resumption is cut off.

One process at a time: the file is locked for as long as it is open, and the system takes the lock from a process that dies. Threads:
any number. There are no ciphertexts in it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsmkms.reencryption.plan import differences
from hsmkms.reencryption.rows import Failure, Key, Material, Tally, key_from_text, key_to_text

FORMAT: Final = "hsm-kms re-encrypt-all journal 1"
_LOCKED_WAIT_S: Final = 0.5
_TABLES: Final = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE batches (number INTEGER PRIMARY KEY, after_key TEXT, until_key TEXT NOT NULL, done INTEGER NOT NULL)",
    "CREATE TABLE intents (batch INTEGER, row_key TEXT, digest BLOB, PRIMARY KEY (batch, row_key, digest)) WITHOUT ROWID",
    "CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE moved (key_id TEXT, version INTEGER, value INTEGER NOT NULL, PRIMARY KEY (key_id, version)) WITHOUT ROWID",
)
_COUNTS: Final = ("there", "empty", "gone", "failed", "read_again")


class JournalProblem(Exception):
    """The journal cannot be used: the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A range of rows that is done as a whole.

    Args:
        number: Its number; batches follow one another without a gap.
        after: The key before its first row, None at the start.
        until: The key of its last row.
    """

    number: int
    after: Key | None
    until: Key


class Journal:
    """An open journal.

    Args:
        path: The file; made if it is not there.
        plan: The plan as texts.
        failures: Where failures are listed.

    Raises:
        JournalProblem: it is in use, was begun with another plan, or is no journal.
    """

    def __init__(self, path: Path, plan: Mapping[str, str], failures: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._failures_path = failures
        self._connection = _opened(path)
        try:
            is_new = self._begin_or_compare({**plan, "failures file": str(failures.absolute())}, failures)
            self.was_begun = not is_new
            """Whether this resumes an earlier run."""
            self._failures_length = int(self._fact("failures", "0"))
            _cut(failures, self._failures_length)
        except BaseException:
            self._connection.close()
            raise

    def _begin_or_compare(self, plan: Mapping[str, str], failures: Path) -> bool:
        found = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not found:
            if failures.exists() and failures.stat().st_size:
                raise JournalProblem(
                    f"{failures} holds failures of another run: move it away, or name another file with --failures"
                )
            with self._transaction() as connection:
                for statement in _TABLES:
                    connection.execute(statement)
                for name, value in (("format", FORMAT), ("plan", json.dumps(plan)), ("state", "running")):
                    self._put(name, value)
            return True
        try:
            known = self._fact("format", "")
        except sqlite3.Error:
            known = ""
        if known != FORMAT:
            raise JournalProblem(f"{self.path} is no journal of this version: name another file with --journal")
        differing = differences(plan, json.loads(self._fact("plan", "{}")))
        if differing:
            raise JournalProblem(
                f"the journal {self.path} was begun with another plan ({differing}): repeat the command as it was, "
                "name another file with --journal, or give up what it holds with --restart"
            )
        return False

    def close(self) -> None:
        """Close the file and let go of the lock."""
        with self._lock:
            self._connection.close()

    @property
    def state(self) -> str:
        """`running`, `finishing` (all rows are done) or `finished`."""
        return self._fact("state", "running")

    @state.setter
    def state(self, state: str) -> None:
        with self._transaction():
            self._put("state", state)

    @property
    def mark(self) -> int:
        """What the copy's `mark` said when the newest batch was finished."""
        return int(self._fact("mark", "0"))

    @property
    def next_number(self) -> int:
        """The number of the next batch."""
        return int(self._fact("next", "1"))

    def begin(self, after: Key | None, until: Key) -> Batch:
        """Keep the next batch, and return it."""
        with self._transaction() as connection:
            number = int(self._fact("next", "1", locked=True))
            before = None if after is None else key_to_text(after)
            connection.execute("INSERT INTO batches VALUES (?, ?, ?, 0)", (number, before, key_to_text(until)))
            self._put("next", str(number + 1))
            self._put("until", key_to_text(until))
        return Batch(number, after, until)

    def unfinished(self) -> Sequence[Batch]:
        """Return the batches that were begun and not finished, in order."""
        with self._lock:
            found = self._connection.execute("SELECT * FROM batches WHERE NOT done ORDER BY number").fetchall()
        return [
            Batch(number, None if after is None else key_from_text(after), key_from_text(until))
            for number, after, until, _ in found
        ]

    @property
    def until(self) -> Key | None:
        """The last key of the newest batch; None before the first."""
        text = self._fact("until", "")
        return key_from_text(text) if text else None

    def intend(self, batch: Batch, digests: Sequence[tuple[Key, bytes]]) -> None:
        """Keep what rows of a batch will hold, before they do.

        Args:
            batch: The batch.
            digests: `digest_of` each new value, by key; added to those that the batch has.
        """
        entries = [(batch.number, key_to_text(key), digest) for key, digest in digests]
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO intents VALUES (?, ?, ?)", entries)

    def intents(self, batch: Batch) -> set[tuple[Key, bytes]]:
        """Return what rows of a batch were to hold."""
        with self._lock:
            found = self._connection.execute("SELECT row_key, digest FROM intents WHERE batch = ?", (batch.number,))
            return {(key_from_text(key), digest) for key, digest in found}

    def finish(self, batch: Batch, tally: Tally, failures: Sequence[Failure], mark: int) -> None:
        """Keep that a batch is done.

        Args:
            batch: The batch.
            tally: What its rows came to.
            failures: Those that failed.
            mark: The copy's `mark`; 0 for what is updated in place.

        Raises:
            JournalProblem: the failures cannot be written.
        """
        with self._transaction() as connection:
            if failures:
                self._failures_length = _append(
                    self._failures_path, b"".join(each.to_line() for each in failures), self._failures_length
                )
                self._put("failures", str(self._failures_length))
            connection.execute("UPDATE batches SET done = 1 WHERE number = ?", (batch.number,))
            connection.execute("DELETE FROM intents WHERE batch = ?", (batch.number,))
            # Done batches are kept only above one that is not: the newest key says the rest.
            connection.execute(
                "DELETE FROM batches WHERE number < coalesce((SELECT min(number) FROM batches WHERE NOT done), 1 << 62)"
            )
            for name in _COUNTS:
                connection.execute(
                    "INSERT INTO counts VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value + ?2",
                    (name, getattr(tally, name)),
                )
            for material, count in tally.moved.items():
                connection.execute(
                    "INSERT INTO moved VALUES (?1, ?2, ?3) ON CONFLICT (key_id, version) DO UPDATE SET value = value + ?3",
                    (material.key_id, material.version, count),
                )
            self._put("mark", str(mark))

    def tally(self) -> Tally:
        """Return what all finished batches came to, over all runs."""
        with self._lock:
            tally = Tally(**dict(self._connection.execute("SELECT name, value FROM counts")))
            for key_id, version, count in self._connection.execute("SELECT key_id, version, value FROM moved"):
                tally.moved[Material(key_id, version)] = count
        return tally

    def _fact(self, name: str, otherwise: str, *, locked: bool = False) -> str:
        if not locked:
            with self._lock:
                return self._fact(name, otherwise, locked=True)
        found = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else otherwise

    def _put(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise JournalProblem(f"cannot write the journal {self.path}: {error}") from error


def remove(path: Path) -> None:
    """Remove a journal that no process uses; one that is not there is no mistake.

    Raises:
        JournalProblem: it is in use, or cannot be removed.
    """
    if not path.exists():
        return
    _opened(path).close()
    try:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise JournalProblem(f"cannot remove the journal {path}: {error.strerror}") from error


def _opened(path: Path) -> sqlite3.Connection:
    try:
        # Primary keys may be personal: nobody else reads them here.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise JournalProblem(f"cannot open the journal {path}: {error.strerror}") from error
    connection = sqlite3.connect(path, timeout=_LOCKED_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        # Exclusive before the first access: no other process gets in until this one closes it or dies.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        connection.close()
        if "locked" in str(error):
            raise JournalProblem(f"the journal {path} is in use by another run") from error
        raise JournalProblem(f"{path} is no journal ({error}): name another file with --journal") from error
    return connection


def _cut(path: Path, length: int) -> None:
    """Cut off what was appended to a file and not kept; leave a file alone to which nothing was."""
    try:
        found = path.stat().st_size if path.exists() else 0
        if found < length:
            raise JournalProblem(
                f"{path} has {found} bytes and had {length}: put it back, or begin anew with --restart"
            )
        if found > length:
            os.truncate(path, length)
    except OSError as error:
        raise JournalProblem(f"cannot write {path}: {error.strerror}") from error


def _append(path: Path, data: bytes, position: int) -> int:
    """Append to a file, durably, and return its new length."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.seek(position)
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise JournalProblem(f"cannot write {path}: {error.strerror}") from error
    return position + len(data)
