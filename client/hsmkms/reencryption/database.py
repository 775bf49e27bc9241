"""A table over SQLAlchemy.

Rows are read in the order of their primary key, from the key where the last page ended, never by OFFSET. A row is updated only if its
column still holds the value that was read:

    UPDATE table SET column = :new WHERE key = :key AND column = :old

A batch is one transaction, which holds its row locks for the length of its updates alone: the service has answered before it begins.
Identifiers are SQLAlchemy's, which quotes them. What the database says is shown by its first line, without statement and parameters.

PostgreSQL (psycopg 3) and SQLite are tested. Others work with a driver that is installed beside this program, as far as they know
the isolation level READ COMMITTED.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    and_,
    bindparam,
    create_engine,
    exc,
    func,
    inspect,
    literal,
    make_url,
    or_,
    select,
    tuple_,
    update,
)

from hsmkms.reencryption.rows import Encoding, Key, Outcome, Refused, Row, StoreProblem, decoded

CONNECT_S: Final = 10
BUSY_S: Final = 30
"""How long SQLite waits for another writer."""
_COMPARES_TUPLES: Final = ("postgresql", "sqlite", "mysql", "mariadb")
_LONG_VALUE: Final = re.compile(r"[A-Za-z0-9+/=_\\-]{60,}")
"""What may be a ciphertext in what a database says, in base64 or hexadecimal."""
_DRIVERS: Final = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def read_url(text: str) -> URL:
    """Return a database URL, PostgreSQL's with the driver that comes with this program.

    Raises:
        StoreProblem: it is none. The text does not repeat it: there may be a password in it.
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise StoreProblem("is no database URL: write DIALECT://USER:PASSWORD@HOST/DATABASE") from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


class DatabaseStore:
    """A table with a column of ciphertexts.

    Args:
        url: Where the database is.
        table: The table's name.
        schema: Its schema, or None for the connection's own.
        primary_key: The columns of its primary key, or of another unique key without NULLs; empty for the primary key that it has.
        column: The column of ciphertexts.
        context_columns: Columns that encryption contexts are made from.
        encoding: How the column holds ciphertexts; None to decide by its type.
        connections: Most connections at a time.

    Raises:
        StoreProblem: the database cannot be reached, or the table does not fit.
    """

    is_copy: Final = False

    def __init__(
        self,
        url: URL,
        table: str,
        *,
        schema: str | None,
        primary_key: Sequence[str],
        column: str,
        context_columns: Sequence[str],
        encoding: Encoding | None,
        connections: int,
    ) -> None:
        self._engine = _engine(url, connections)
        try:
            with _problems():
                self._table = _reflected(self._engine, table, schema)
                self._key = _key_columns(self._engine, self._table, primary_key)
                self._column = _existing(self._table, column)
                _require_no_key_column(self._column, self._key)
                self._context = [_existing(self._table, name) for name in context_columns]
                self.encoding = encoding or _encoding_of(self._column)
                _check_encoding(self._column, self.encoding)
                self._require_keys()
        except BaseException:
            self._engine.dispose()
            raise
        # SQLite has one writer: waiting here in line is fairer than its polling.
        self._writing = threading.Lock() if self._engine.dialect.name == "sqlite" else nullcontext()
        self._update = (
            update(self._table)
            .where(*(each == bindparam(f"key_{number}", type_=each.type) for number, each in enumerate(self._key)))
            .where(self._column == bindparam("old", type_=self._column.type))
            .values({self._column: bindparam("new", type_=self._column.type)})
        )
        self._place = _place(url)

    @property
    def place(self) -> Mapping[str, str]:
        """Where the ciphertexts are, in words for the journal; no user, no password."""
        return {
            "database": self._place,
            "table": str(self._table.fullname),
            "primary key": ", ".join(each.name for each in self._key),
            "ciphertext column": self._column.name,
            "encoding": self.encoding.value,
        }

    @property
    def remark(self) -> str:
        """How the column is taken to hold ciphertexts."""
        return f"column '{self._column.name}' is {self._column.type}: its ciphertexts are {self.encoding.value}"

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def count(self, after: Key | None) -> int | None:
        """Return how many rows there are beyond a key."""
        query = select(func.count()).select_from(self._table)
        if after is not None:
            query = query.where(self._beyond(after))
        with _problems(), self._engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def read(self, after: Key | None, limit: int, *, until: Key | None = None, settled: bool = False) -> Sequence[Row]:
        """Return the next rows; `settled` waits for transactions that have updated them.

        Raises:
            StoreProblem: the database does not answer.
        """
        query = self._rows().order_by(*self._key).limit(limit)
        if after is not None:
            query = query.where(self._beyond(after))
        if until is not None:
            query = query.where(~self._beyond(until))
        if settled:
            # The transaction of a run that was killed may still be about to commit: its locks tell.
            query = query.with_for_update()
        with _problems(), self._engine.connect() as connection:
            return [self._row(each) for each in connection.execute(query)]

    def read_again(self, keys: Sequence[Key]) -> Sequence[Row]:
        """Return the rows of these keys that are still there."""
        with _problems(), self._engine.connect() as connection:
            return self._read_keys(connection, keys)

    def _read_keys(self, connection: Connection, keys: Sequence[Key]) -> list[Row]:
        found = []
        for key in keys:  # few, and one statement for each is any database's
            found += [self._row(each) for each in connection.execute(self._rows().where(*self._is(key)))]
        return found

    def new_value(self, outcome: Outcome) -> Any:
        """Return what the column will hold."""
        assert outcome.ciphertext is not None
        if self.encoding is Encoding.RAW:
            return outcome.ciphertext
        encoded = base64.b64encode(outcome.ciphertext)
        return encoded if isinstance(self._column.type, LargeBinary) else encoded.decode()

    def write(self, outcomes: Sequence[Outcome]) -> Sequence[Refused]:
        """Update the rows that have a new ciphertext, in one transaction.

        Returns:
            The rows that hold another value now or are gone, and those that the database refused, with its reason.

        Raises:
            StoreProblem: the transaction failed; when the connection broke, it may have been committed all the same.
        """
        changes = [outcome for outcome in outcomes if outcome.ciphertext is not None]
        if not changes:
            return []
        with self._writing, _problems():
            try:
                with self._engine.begin() as connection:
                    return self._write_all(connection, changes)
            except (exc.DataError, exc.IntegrityError, exc.InternalError, exc.ProgrammingError):
                # A rule of the database, such as a CHECK or a trigger, refuses a row: find out which.
                with self._engine.begin() as connection:
                    return self._write_each(connection, changes)

    def _write_all(self, connection: Connection, changes: Sequence[Outcome]) -> Sequence[Refused]:
        result = connection.execute(self._update, [self._parameters(each) for each in changes])
        if result.rowcount == len(changes):
            return []
        new = {each.row.key: self.new_value(each) for each in changes}
        held = {row.key: row.stored for row in self._read_keys(connection, list(new))}
        return [Refused(each.row) for each in changes if held.get(each.row.key) != new[each.row.key]]

    def _write_each(self, connection: Connection, changes: Sequence[Outcome]) -> Sequence[Refused]:
        refused = []
        for each in changes:
            try:
                with connection.begin_nested():
                    if connection.execute(self._update, self._parameters(each)).rowcount != 1:
                        refused.append(Refused(each.row))
            except (exc.DataError, exc.IntegrityError, exc.InternalError, exc.ProgrammingError) as error:
                refused.append(Refused(each.row, _first_line(error)))
        return refused

    def shown(self, key: Key) -> Mapping[str, Any]:
        """Return a key for people: by column, what JSON has no form for as text."""
        return {column.name: _shown(value) for column, value in zip(self._key, key, strict=True)}

    def _parameters(self, outcome: Outcome) -> dict[str, Any]:
        keys = {f"key_{number}": value for number, value in enumerate(outcome.row.key)}
        return {**keys, "old": outcome.row.stored, "new": self.new_value(outcome)}

    def _rows(self) -> Select[Any]:
        return select(*self._key, self._column, *self._context)

    def _row(self, found: Any) -> Row:
        values = tuple(found)
        key = tuple(bytes(value) if isinstance(value, memoryview) else value for value in values[: len(self._key)])
        stored = values[len(self._key)]
        stored = bytes(stored) if isinstance(stored, memoryview | bytearray) else stored
        columns = {
            column.name: value for column, value in zip(self._context, values[len(self._key) + 1 :], strict=True)
        }
        if stored is None:
            return Row(key, None, None, columns)
        try:
            return Row(key, stored, decoded(stored, self.encoding), columns)
        except ValueError as error:
            return Row(key, stored, None, columns, problem=str(error))

    def _is(self, key: Key) -> list[ColumnElement[bool]]:
        return [column == value for column, value in zip(self._key, key, strict=True)]

    def _beyond(self, key: Key) -> ColumnElement[bool]:
        is_beyond: ColumnElement[bool]
        if len(self._key) == 1:
            is_beyond = self._key[0] > key[0]
        elif self._engine.dialect.name in _COMPARES_TUPLES:
            values = [literal(value, column.type) for column, value in zip(self._key, key, strict=True)]
            is_beyond = tuple_(*self._key) > tuple_(*values)
        else:
            places = range(len(self._key))
            same = [and_(*(self._key[each] == key[each] for each in range(place))) for place in places[1:]]
            is_beyond = or_(
                self._key[0] > key[0],
                *(and_(same[place - 1], self._key[place] > key[place]) for place in places[1:]),
            )
        return is_beyond

    def _require_keys(self) -> None:
        """Refuse rows whose key has a NULL: no order would find them. SQLite allows it even in a primary key."""
        nullable = [each for each in self._key if each.nullable or self._engine.dialect.name == "sqlite"]
        if not nullable:
            return
        query = select(func.count()).select_from(self._table).where(or_(*(each.is_(None) for each in nullable)))
        with self._engine.connect() as connection:
            without = connection.execute(query).scalar_one()
        if without:
            raise StoreProblem(
                f"{without} rows of '{self._table.name}' have NULL in {', '.join(e.name for e in self._key)}"
            )


def _engine(url: URL, connections: int) -> Engine:
    arguments: dict[str, Any] = {}
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StoreProblem("a SQLite database is a file: sqlite:///PATH")
        if not Path(url.database).exists() and not url.database.startswith("file:"):
            raise StoreProblem(f"there is no SQLite database {url.database}")
        arguments = {"timeout": BUSY_S}
    elif backend == "postgresql":
        arguments = {"connect_timeout": CONNECT_S, "application_name": "hsm-kms re-encrypt-all"}
        arguments = {name: value for name, value in arguments.items() if name not in url.query}
    try:
        # Parameters are ciphertexts: they stand in no error.
        return create_engine(
            url,
            connect_args=arguments,
            hide_parameters=True,
            pool_size=connections,
            max_overflow=0,
            **({} if backend == "sqlite" else {"isolation_level": "READ COMMITTED"}),
        )
    except exc.NoSuchModuleError:
        raise StoreProblem(f"'{url.drivername}' is no database that SQLAlchemy knows") from None
    except ModuleNotFoundError as error:
        raise StoreProblem(f"the driver of '{url.drivername}' is not installed: {error.name}") from error
    except (exc.ArgumentError, TypeError):
        raise StoreProblem(f"the database URL has a setting that '{url.drivername}' does not know") from None


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        return f"sqlite {Path(url.database).absolute()}"
    where = f"{url.host or 'local'}:{url.port}" if url.port else url.host or "local"
    return f"{url.get_backend_name()} {where}/{url.database or ''}"


def _reflected(engine: Engine, name: str, schema: str | None) -> Table:
    try:
        return Table(name, MetaData(), schema=schema, autoload_with=engine, resolve_fks=False)
    except exc.NoSuchTableError:
        there = ", ".join(inspect(engine).get_table_names(schema=schema)[:20]) or "none"
        raise StoreProblem(f"there is no table '{name}'; there are: {there}") from None


def _existing(table: Table, name: str) -> Column[Any]:
    if name not in table.columns:
        raise StoreProblem(f"table '{table.name}' has no column '{name}'; it has: {', '.join(table.columns.keys())}")
    return table.columns[name]


def _key_columns(engine: Engine, table: Table, names: Sequence[str]) -> list[Column[Any]]:
    if not names:
        found = list(table.primary_key.columns)
        if not found:
            raise StoreProblem(f"table '{table.name}' has no primary key: name a unique one with --primary-key")
        return found
    columns = [_existing(table, name) for name in names]
    inspector = inspect(engine)
    unique: list[Sequence[str | None]] = [[each.name for each in table.primary_key.columns]]
    unique += [each["column_names"] for each in inspector.get_unique_constraints(table.name, schema=table.schema)]
    for index in inspector.get_indexes(table.name, schema=table.schema):
        is_partial = any(option.endswith("_where") for option in index.get("dialect_options", {}))
        if index["unique"] and not is_partial:
            unique.append(index["column_names"])
    if not any(each and set(each) <= set(names) for each in unique):
        raise StoreProblem(f"{', '.join(names)} of table '{table.name}' is no primary key and no unique one")
    return columns


def _require_no_key_column(column: Column[Any], key: Sequence[Column[Any]]) -> None:
    if any(each is column for each in key):
        raise StoreProblem(f"'{column.name}' is in the primary key: it cannot be the column of ciphertexts")


def _encoding_of(column: Column[Any]) -> Encoding:
    if isinstance(column.type, LargeBinary):
        return Encoding.RAW
    if isinstance(column.type, String):
        return Encoding.BASE64
    raise StoreProblem(f"column '{column.name}' is {column.type}, which holds neither bytes nor text")


def _check_encoding(column: Column[Any], encoding: Encoding) -> None:
    if encoding is Encoding.RAW and not isinstance(column.type, LargeBinary):
        raise StoreProblem(f"column '{column.name}' is {column.type}, which holds no raw bytes: use --encoding base64")
    if not isinstance(column.type, LargeBinary | String):
        raise StoreProblem(f"column '{column.name}' is {column.type}, which holds neither bytes nor text")


@contextmanager
def _problems() -> Iterator[None]:
    """Make what the database or its driver raises a problem that may be shown."""
    try:
        yield
    except exc.DBAPIError as error:
        may_pass = error.connection_invalidated or isinstance(error, exc.OperationalError)
        raise StoreProblem(f"the database: {_first_line(error)}", may_pass=may_pass) from error
    except exc.TimeoutError as error:
        raise StoreProblem("the database: no connection within 30 s", may_pass=True) from error
    except exc.SQLAlchemyError as error:
        raise StoreProblem(f"the database cannot be used: {type(error).__name__}") from error


def _first_line(error: exc.DBAPIError) -> str:
    line = (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
    return _LONG_VALUE.sub("…", line)[:300]


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
