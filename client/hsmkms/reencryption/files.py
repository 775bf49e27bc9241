"""A file that is copied, record by record, with moved ciphertexts.

The input is never touched. The copy grows in `OUTPUT.part`, in the input's order, and is renamed to `OUTPUT` when all of it is there.
A batch is durable (fsync) before the journal counts it; what is beyond the journal's length when a run is resumed, a torn last line
for example, is cut off. A record that fails stays as it is.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from hsmkms.reencryption.formats import Format, RecordProblem
from hsmkms.reencryption.rows import Encoding, Key, Outcome, Row, StoreProblem, decoded


class FileStore:
    """A file and its copy. A key is a record's number, from 1, and the offset of its end in the input.

    Threads: any number may read, one at a time writes.

    Args:
        source: The input.
        output: The copy; None to read only.
        form: The format of both.

    Raises:
        StoreProblem: the input cannot be read.
    """

    is_copy: Final = True

    def __init__(self, source: Path, output: Path | None, form: Format) -> None:
        self._source = source
        self._output = output
        self._form = form
        self._copy: BinaryIO | None = None
        self._reading = threading.Lock()
        with _problems(source):
            self._input = source.open("rb")
            self._status = os.fstat(self._input.fileno())
            try:
                self._header = form.begin(self._input)
            except BaseException:
                self._input.close()
                raise
        self._start = len(self._header)

    @property
    def place(self) -> Mapping[str, str]:
        """Which file, in words for the journal: another size or time is another file."""
        return {
            "input": f"{self._source.absolute()}, {self._status.st_size} bytes, changed at {self._status.st_mtime_ns}",
            "output": str(self._output.absolute()) if self._output is not None else "none",
            "format": self._form.name,
        }

    @property
    def remark(self) -> str:
        """Nothing."""
        return ""

    @property
    def part(self) -> Path:
        """Where the copy grows."""
        assert self._output is not None
        return self._output.with_name(self._output.name + ".part")

    def require_free(self) -> None:
        """Refuse to begin where the files of another run are.

        Raises:
            StoreProblem: there are such files.
        """
        for path in (self._output, self.part):
            if path is not None and path.exists():
                raise StoreProblem(
                    f"{path} is there already, and is not overwritten: move it away, or name another --output"
                )

    def resume(self, mark: int) -> None:
        """Make the copy ready to be appended to, cut off where the journal says.

        Raises:
            StoreProblem: the output is there, or the copy is shorter than the journal says.
        """
        assert self._output is not None
        if self._output.exists():
            raise StoreProblem(f"{self._output} is there already, and is not overwritten: move it away")
        with _problems(self.part):
            descriptor = os.open(self.part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, self._status.st_mode & 0o777)
            self._copy = os.fdopen(descriptor, "r+b")
            length = os.fstat(descriptor).st_size
            if length < mark:
                raise StoreProblem(
                    f"{self.part} has {length} bytes and had {mark}: put it back, or begin with --restart"
                )
            self._copy.truncate(mark)
            self._copy.seek(mark)
            if mark == 0:
                self._copy.write(self._header)
            self._sync()

    def publish(self) -> None:
        """Give the copy its name, once all of it is there. It can be called again after having been interrupted."""
        assert self._output is not None
        with _problems(self._output):
            if self._copy is not None:
                self._sync()
                self._copy.close()
                self._copy = None
            if self.part.exists():
                if self._output.exists():
                    raise StoreProblem(f"{self._output} is there already; the copy is {self.part}")
                self.part.rename(self._output)
            elif not self._output.exists():
                raise StoreProblem(f"neither {self.part} nor {self._output} is there: begin anew with --restart")
            folder = os.open(self._output.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Remove what an earlier run has made of the copy."""
        with _problems(self.part):
            self.part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close both files."""
        self._input.close()
        if self._copy is not None:
            self._copy.close()

    def count(self, after: Key | None) -> int | None:
        """Return how many records there are beyond a key: as many as lines, if no CSV cell has a line end in it."""
        with _problems(self._source), self._source.open("rb") as file:
            file.seek(self._start if after is None else after[1])
            return sum(1 for _ in self._form.records(file))

    def read(self, after: Key | None, limit: int, *, until: Key | None = None, settled: bool = False) -> Sequence[Row]:
        """Return the next records; nobody else writes them, so they are always settled."""
        number, offset = (0, self._start) if after is None else after
        rows: list[Row] = []
        with self._reading, _problems(self._source):
            if self._input.tell() != offset:
                self._input.seek(offset)
            if until is not None:
                limit = min(limit, until[0] - number)
            records = self._form.records(self._input)
            while len(rows) < limit and (record := next(records, b"")):
                number += 1
                offset += len(record)
                rows.append(self._row((number, offset), record))
        return rows

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Append all records, changed or not."""
        assert self._copy is not None
        with _problems(self.part):
            for outcome in outcomes:
                self._copy.write(self._record(outcome))
            self._sync()

    def mark(self) -> int:
        """Return the copy's length."""
        return self._copy.tell() if self._copy is not None else 0

    def shown(self, key: Key) -> Mapping[str, Any]:
        """Return the record's number: in CSV the one after the header is 1."""
        return {"record": key[0]}

    def _sync(self) -> None:
        assert self._copy is not None
        self._copy.flush()
        os.fsync(self._copy.fileno())

    def _record(self, outcome: Outcome) -> bytes:
        if outcome.ciphertext is None:
            return outcome.row.record
        return self._form.changed(outcome.row.record, base64.b64encode(outcome.ciphertext).decode())

    def _row(self, key: Key, record: bytes) -> Row:
        try:
            text, columns = self._form.read(record)
            blob = None if text is None else decoded(text, Encoding.BASE64)
        except (RecordProblem, ValueError) as problem:
            return Row(key, record, None, {}, problem=str(problem), record=record)
        return Row(key, None if blob is None else record, blob, columns, record=record)


@contextmanager
def _problems(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreProblem(f"{path}: {error.strerror}") from error
