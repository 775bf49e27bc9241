"""A throw-away PostgreSQL server: a cluster of its own in a temporary folder, on a free port of loopback, with passwords.

It runs as the user that runs the tests, or as `postgres` when that is root, which PostgreSQL refuses. A machine without it fails these
tests: a catalog that several machines share is no optional extra.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

USER = "hsmkms"
START_S = 30.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "60",
    # A killed server loses nothing that it has handed to the kernel: only a machine that fails would.
    "fsync": "off",
}


def find_programs() -> Path:
    """Return the folder of PostgreSQL's server programs."""
    candidates = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    found = sorted((path for path in candidates if (path / "initdb").exists()), key=lambda path: path.parent.name)
    if found:
        return found[-1]
    initdb = shutil.which("initdb")
    assert initdb, "these tests need a PostgreSQL server (apt install postgresql)"
    return Path(initdb).parent


class Postgres:
    """A server.

    Args:
        folder: Everything of it; the server's user owns it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = find_programs()
        self.port = _free_port()
        self.password = secrets.token_hex(16)
        self.pass_file = folder / "pgpass"
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        password_file = folder / "password"
        password_file.write_text(self.password)
        self.pass_file.touch(mode=0o600)
        self.pass_file.write_text(f"127.0.0.1:*:*:{USER}:{self.password}\n")
        password_file.chmod(0o644)
        options = [f"--username={USER}", f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
        self._run("initdb", "--no-sync", "--locale=C.UTF-8", f"--pgdata={self.data}", *options)
        password_file.unlink()

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def url(self, database: str, port: int | None = None) -> str:
        """Return a catalog's URL; a proxy's port may stand for the server's."""
        return f"postgresql://{USER}@127.0.0.1:{port or self.port}/{database}"

    def connect(self, database: str) -> psycopg.Connection:
        """Return a connection of the test's own, on which every statement is a transaction."""
        return psycopg.connect(self.url(database), passfile=str(self.pass_file), autocommit=True)

    def new_database(self, template: str = "template0") -> str:
        """Make a database, empty or a copy of another, and return its name."""
        self._databases += 1
        name = f"catalog_{self._databases}"
        self.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)), "postgres"
        )
        return name

    def execute(self, statement: str | sql.Composed, database: str) -> list[tuple[object, ...]]:
        """Carry out a statement and return its rows."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": self.port}.items()]
        deadline = time.monotonic() + START_S
        log = (self.folder / "log").open("ab")
        while True:
            if self._process is None or self._process.poll() is not None:
                # Right after a SIGKILL the first attempt may find the old one's memory still attached.
                command = self._command("postgres", "-D", str(self.data), *settings)
                self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)
            else:
                log.close()
                return

    def stop(self) -> None:
        """Stop the server and break its connections."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)

    def kill(self) -> None:
        """Kill the server and everything it has started, as a failing machine would."""
        assert self._process is not None
        backends = _children(self._process.pid)
        self._process.kill()
        self._process.wait()
        for pid in backends:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _command(self, program: str, *arguments: str) -> list[str]:
        # setpriv, not su: the process is the server itself, and its id is the one to kill.
        become = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return [*become, str(self.programs / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self._command(program, *arguments), capture_output=True, text=True, check=False, cwd="/", timeout=60
        )
        assert done.returncode == 0, done.stderr


def _children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(stat.parent.name))
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server for the length of a `with`; in it, this process and its children find the password in PGPASSFILE."""
    # Not below pytest's folder, which only its user may enter.
    folder = Path(tempfile.mkdtemp(prefix="hsm-kms-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    before = os.environ.get("PGPASSFILE")
    server = Postgres(folder)
    os.environ["PGPASSFILE"] = str(server.pass_file)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        if before is None:
            del os.environ["PGPASSFILE"]
        else:
            os.environ["PGPASSFILE"] = before
        shutil.rmtree(folder)
