"""A real PostgreSQL for tests: started on 127.0.0.1 and a free port with scram passwords, killed, started again."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

ADMIN, WRITER, READER = "admin", "writer", "reader"
PASSWORDS = {ADMIN: "Adm1n-Geheim-77", WRITER: "Wr1ter-Geheim-88", READER: "R3ader-Geheim-99"}
MISSING = "PostgreSQL's programs (initdb, pg_ctl) are not here (Debian: apt install postgresql)"


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl, also where Debian keeps it off PATH; the newest version first."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda home: -int(home.parent.name))
    return next((home for home in homes if (home / "initdb").exists()), None)


def demand() -> Path:
    """Return the folder of the programs; skip the test without them, or fail it where CI has to have them."""
    found = programs()
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    if found is None:
        pytest.skip(MISSING)
    return found


@dataclass
class Postgres:
    """One server with a folder of its own; a process group of its own, so that nothing of it outlives `close`."""

    folder: Path
    bin: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def create(self) -> None:
        """Make the cluster and the roles: an owner, a writer, and one that may only read."""
        self._own()
        secret = self.folder / "password"
        secret.write_text(PASSWORDS[ADMIN])
        self._own(secret)
        options = ["-E", "UTF8", "--locale=C.UTF-8", "-A", "scram-sha-256", "-U", ADMIN, "--no-sync"]
        self._run("initdb", "-D", str(self.data), *options, f"--pwfile={secret}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()
        with self.connect(database="postgres") as connection:
            for role in (WRITER, READER):
                password = sql.Literal(PASSWORDS[role])
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), password))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder,
                   "fsync": "off", "max_connections": 50, "shared_buffers": "32MB", "jit": "off"}  # fmt: skip
        given = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.data), *given],
                stdout=log, stderr=log, start_new_session=True, **self._user(),
            )  # fmt: skip
        for _ in range(1200):
            with suppress(psycopg.OperationalError):
                self.connect(database="postgres").close()
                return
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """Stop the server in order (a fast shutdown); connections are cut."""
        assert self._process
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def kill(self) -> None:
        """Kill the postmaster and what it started, as a crash of the machine would."""
        assert self._process
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children)

    def close(self) -> None:
        """Stop the server for good."""
        if self._process and self._process.poll() is None:
            self.kill()

    def connect(self, role: str = ADMIN, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection that commits each statement."""
        return psycopg.connect(host="127.0.0.1", port=self.port, user=role, password=PASSWORDS[role], dbname=database,
                               autocommit=True)  # fmt: skip

    def url(self, database: str, role: str = READER, scheme: str = "postgresql", password: str | None = None) -> str:
        """Return the URL of a database, with the role's password."""
        return f"{scheme}://{role}:{password or PASSWORDS[role]}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def database(self, name: str, template: str = "template1") -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Make a database for a while, perhaps a copy of another; give a connection of its owner."""
        with self.connect() as admin:
            made = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(made.format(sql.Identifier(name), sql.Identifier(template)))
        connection = self.connect(database=name)
        try:
            yield connection
        finally:
            connection.close()
            with self.connect() as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _own(self, path: Path | None = None) -> None:
        if os.geteuid() == 0:
            shutil.chown(path or self.folder, "postgres", "postgres")

    def _user(self) -> Mapping[str, Any]:
        """Return what starts a process as an ordinary user: the server refuses to be root's."""
        if os.geteuid() != 0:
            return {}
        owner = pwd.getpwnam("postgres")
        return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": [], "cwd": self.folder}

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run([str(self.bin / name), *arguments], capture_output=True, text=True, **self._user())
        assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Base:
    """One database of a server, and a connection of its owner."""

    server: Postgres
    name: str
    owner: psycopg.Connection[tuple[Any, ...]]

    def url(self, role: str = READER, **given: Any) -> str:
        return self.server.url(self.name, role, **given)

    def sql(self, text: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the owner, over a new connection if the last one was lost; return its rows, if any."""
        with self.server.connect(database=self.name) as connection:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []

    def cut(self) -> int:
        """Terminate all other connections to the database; return how many there were."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
        return len(self.sql(query, self.name))


@contextmanager
def server() -> Iterator[Postgres]:
    """Run a server in a folder of its own below the system's temporary one, whose path the server's user may enter."""
    home = demand()
    folder = Path(tempfile.mkdtemp(prefix="resplice-postgres-"))
    started = Postgres(folder, home)
    try:
        started.create()
        yield started
    finally:
        started.close()
        shutil.rmtree(folder, ignore_errors=True)


TYPES = {"INTEGER": "bigint", "REAL": "double precision", "DATETIME": "timestamp", "JSON": "json"}


def load(connection: psycopg.Connection[Any], path: Path) -> None:
    """Copy every table of an SQLite file with equal types, its indexes, and grant what each role needs."""
    with sqlite3.connect(path) as source:
        for (table,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = source.execute(f"PRAGMA table_info({table})").fetchall()
            defined = [f"{c[1]} {TYPES.get(c[2], c[2])}{' PRIMARY KEY' if c[5] else ''}" for c in columns]
            connection.execute(f"CREATE TABLE {table} ({', '.join(defined)})")
            rows = source.execute(f"SELECT * FROM {table}").fetchall()
            with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        for (statement,) in source.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql NOTNULL"):
            connection.execute(statement)
    grant(connection)


def grant(connection: psycopg.Connection[Any]) -> None:
    """Let the reader read all tables, and the writer also set statuses."""
    connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}, {WRITER}")
    connection.execute(f"GRANT UPDATE (validation_status) ON videos TO {WRITER}")
    connection.execute("ANALYZE")
