"""Connections to the user's database: how a URL is read, what errors say, one state for many readers, retries.

SQLite is opened read-only unless asked, PostgreSQL in transactions that are READ ONLY. A connection that is lost is
tried again for `PATIENCE_S`; then the command ends with `Unavailable` (75), which names the place and no secret.
"""

from __future__ import annotations

import operator
import os
import re
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import stamina
from stamina.instrumentation import set_on_retry_hooks

from resplice.io.local import local_token
from resplice.transforms.records import Exit, SnapshotLost, Unavailable, UserError
from resplice.transforms.settings import Database

URL_VARIABLE = "RESPLICE_DATABASE_URL"
FROM_ENVIRONMENT = f"environment:{URL_VARIABLE}"
OPTION = "database.url"
PATIENCE_S = 60.0
SESSION = "SELECT set_config('DateStyle', 'ISO', true), set_config('TimeZone', 'UTC', true), \
set_config('extra_float_digits', '1', true), set_config('standard_conforming_strings', 'on', true)"
"""What PostgreSQL's own text of a value depends on, for one transaction."""
_DECODE = operator.methodcaller("decode", "utf-8", "surrogateescape")  # called for every text value: twice a lambda
_SECRETS = frozenset({"password", "sslpassword"})
_LIBPQ = {"client_encoding": "utf8", "connect_timeout": "10", "fallback_application_name": "resplice",
          "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}  # fmt: skip
_ENVIRONMENT = {"connect_timeout": "PGCONNECT_TIMEOUT"}
_GONE = re.compile(r"08...|57P0[123]|53300|40001|40P01")
_AWAY = re.compile(
    "refused|timed out|timeout|closed the connection|connection is (closed|lost)|reset by peer|broken pipe|no route|"
    "unreachable|starting up|shutting down|recovery mode|not yet accepting|too many (clients|connections)|"
    "connection slots|\\beof\\b|consuming input failed|temporary failure in name|socket closed|"
    "another command is already in progress",  # of a connection that was cut while it was read
    re.IGNORECASE,
)
_PACKAGES = {"MySQLdb": "mysqlclient"}
"""The package of a driver, where its module has another name."""
_NO_SNAPSHOT = frozenset({"22023", "42704", "55000"})
_Result = TypeVar("_Result")

set_on_retry_hooks([])  # they would log SQL on stderr, among the lines of progress


def _parsed(url: str, option: str = OPTION) -> sa.URL:
    """Read the URL that an option gives; UserError, which repeats nothing of it, if it is none."""
    text = os.environ.get(URL_VARIABLE, "") if url == FROM_ENVIRONMENT else url
    try:
        parsed = sa.engine.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise UserError(
            f"{option} is no SQLAlchemy URL, e.g. sqlite:///corpus.sqlite or postgresql://user@host:5432/corpus "
            "(special characters of a password as %XX)"
        ) from None
    if parsed.get_backend_name() != "sqlite" and text.count("@") > 1:  # else a part of a password is taken for the host
        raise UserError(f"{option}: an @ in the user or the password must be written as %40")
    if parsed.drivername.partition("+")[0] in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _secrets(url: sa.URL) -> list[str]:
    query = [value for name, value in url.query.items() if name in _SECRETS]
    return [str(value) for value in (url.password, *query, os.environ.get("PGPASSWORD")) if value]


def without_password(database: Database) -> Database:
    """Return the settings as a job graph may carry them: a URL with a password stays in the environment, where the
    configuration allows it alone, and each worker reads it there.
    """
    parsed = _parsed(database.url)
    if parsed.password is None and not _SECRETS & parsed.query.keys():
        return database
    return replace(database, url=FROM_ENVIRONMENT)


def only_here(url: str) -> str:
    """Return what of a database only this machine sees: the file of SQLite, a server on it; "" for any other."""
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        return f"the SQLite file {parsed.database}"
    asked = {**parsed.query, "host": parsed.host or parsed.query.get("host") or os.environ.get("PGHOST")}
    if "service" in asked or os.environ.get("PGSERVICE"):
        return ""
    host = str(asked["host"] or "the local socket")
    near = host in ("the local socket", "localhost", "::1") or host.startswith(("/", "127."))
    return f"a server on this machine ({host})" if near else ""


def connect(url: str, writable: bool, create: bool = False, option: str = OPTION) -> sa.Engine:
    """Return the engine of a URL, one a process. UserError if the URL, its driver or its file is not there.

    `create` makes the file of an SQLite database; `option` is what errors call the URL.
    """
    return _engine(_parsed(url, option), writable, create, option)


@lru_cache(maxsize=8)
def _engine(parsed: sa.URL, writable: bool, create: bool, option: str) -> sa.Engine:
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, writable, create, option)
    try:
        if parsed.get_backend_name() == "postgresql":
            return _postgres(parsed, writable)
        return sa.create_engine(parsed)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        if parsed.get_backend_name() == "postgresql":
            raise UserError(f"{option}: no driver for PostgreSQL: pip install 'resplice[postgres]'") from None
        if isinstance(error, ModuleNotFoundError) and error.name:
            package = _PACKAGES.get(error.name, error.name)
            raise UserError(f"{option}: no driver for {parsed.drivername}: pip install {package}") from None
        raise UserError(f"{option}: no driver for {parsed.drivername} ({error}): install it with pip") from None


def _postgres(url: sa.URL, writable: bool) -> sa.Engine:
    given = {
        name: value
        for name, value in _LIBPQ.items()
        if name not in url.query and _ENVIRONMENT.get(name, "") not in os.environ
    }
    # A prepared statement would not outlive its transaction behind a pooler; as many connections as there are workers.
    driver = {**given, "prepare_threshold": None}
    engine = sa.create_engine(url, pool_pre_ping=True, max_overflow=-1, connect_args=driver)
    options: dict[str, Any] = {"given": given}
    options["where"] = _named(libpq(engine.execution_options(**options)))
    if not writable:
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return engine.execution_options(**options)


def libpq(engine: sa.Engine) -> dict[str, str]:
    """Return the parameters of libpq by which the engine connects, the password among them if the URL has one."""
    _, parameters = engine.dialect.create_connect_args(engine.url)
    given = {**parameters, **engine.get_execution_options()["given"]}
    return {name: str(given[name]) for name in _defaults() if name in given}


def _defaults() -> dict[str, str]:
    """Return what libpq takes from its environment for each parameter that a URL leaves out; "": nothing."""
    import psycopg

    options = psycopg.pq.Conninfo.get_defaults()
    return {option.keyword.decode(): (option.val or b"").decode() for option in options}


def _named(parameters: dict[str, str]) -> str:
    """Return a PostgreSQL database as errors name it."""
    if service := parameters.get("service"):
        return f"the database of the service {service}"
    found = _defaults() | parameters
    host = found["host"] or found["hostaddr"] or "the local socket"
    return f"the database {found['dbname'] or found['user']} on {host}:{found['port']}"


def _sqlite(url: sa.URL, writable: bool, create: bool, option: str) -> sa.Engine:
    if url.database in (None, "", ":memory:"):
        raise UserError(f"{option} names no file: what SQLite holds in memory is gone at the end; name a file")
    path = Path(url.database)
    if path.is_dir():
        raise UserError(f"{option}: {path} is a folder; name the SQLite file")
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    elif not path.is_file():
        raise UserError(f"{option}: there is no file {path}")
    mode = "rwc" if create else "rw" if writable else "ro"
    address = f"file:{urllib.parse.quote(str(path.absolute()))}?mode={mode}"

    def open_() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=30.0, check_same_thread=False)
        connection.text_factory = _DECODE
        return connection

    engine = sa.create_engine("sqlite://", creator=open_, poolclass=sa.pool.NullPool)
    return engine.execution_options(where=f"the database {path}", address=address)


def version(url: str) -> str:
    """Return the version token of an SQLite database: that of its file and of its write-ahead log; "" for any other.

    The same token means that no row has changed, as the store's token does for an object.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return ""
    files = [Path(f"{parsed.database}{suffix}") for suffix in ("", "-wal")]
    return " ".join(local_token(file.stat()) if file.exists() else "none" for file in files)


def where(engine: sa.Engine) -> str:
    """Return the database as errors name it, without a password."""
    return str(engine.get_execution_options().get("where") or f"the database {engine.url.render_as_string()}")


def translated(engine: sa.Engine, error: sa.exc.DBAPIError, verb: str = "read") -> UserError:
    """Return what an error of the driver means to the user: Unavailable if it may be gone when it is tried again."""
    said = next((line.strip() for line in str(error.orig).splitlines() if line.strip()), type(error.orig).__name__)
    for secret in _secrets(engine.url):
        said = said.replace(secret, "***")
    state = getattr(error.orig, "sqlstate", None)
    away = error.connection_invalidated or (_GONE.match(state) if state else _AWAY.search(said))
    if engine.dialect.name != "sqlite" and away:
        return Unavailable(
            f"{where(engine)} cannot be reached: {said}; see that it runs, then run the same command again"
        )
    if _full(error.orig):
        return UserError(
            f"{where(engine)} cannot be {verb}: {said}; when that is over, run the same command again",
            Exit.AGAIN,
        )
    return UserError(f"{where(engine)} cannot be {verb}: {said}")


def _full(error: BaseException | None) -> bool:
    """Return whether a database ran out of disk or memory, or is held by somebody else."""
    if str(getattr(error, "sqlstate", None) or "").startswith("53"):
        return True
    return getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_NOMEM")


@contextmanager
def reading(engine: sa.Engine, snapshot: str = "") -> Iterator[sa.Connection]:
    """Give a connection that reads; on PostgreSQL one state of the database, which `snapshot` names if it is exported.

    Its errors become UserError, Unavailable, or SnapshotLost if there is no such snapshot any more.
    """
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                if snapshot:
                    _take(connection, snapshot)
                connection.exec_driver_sql(SESSION)
            yield connection
    except sa.exc.DBAPIError as error:
        raise translated(engine, error) from error


def take(snapshot: str) -> str:
    """Return the statement by which a transaction reads an exported snapshot."""
    if not re.fullmatch(r"[0-9A-F-]+", snapshot):
        raise ValueError(f"{snapshot!r} is no snapshot of PostgreSQL")
    return f"SET TRANSACTION SNAPSHOT '{snapshot}'"


def _take(connection: sa.Connection, snapshot: str) -> None:
    try:
        connection.exec_driver_sql(take(snapshot))
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in _NO_SNAPSHOT:
            raise
        raise SnapshotLost(
            f"{where(connection.engine)} was restarted, or cut connections, while the baseline was read; "
            "run the same command again"
        ) from error


@contextmanager
def exported(engine: sa.Engine) -> Iterator[str]:
    """Hold one state of a PostgreSQL database while the block runs and give its name; "" on any other database."""
    if engine.dialect.name != "postgresql":
        yield ""
        return
    connection, name = patiently(lambda: _export(engine))
    try:
        yield name
    finally:
        with suppress(sa.exc.DBAPIError):  # lost meanwhile: nobody needs it any more
            connection.close()


def _export(engine: sa.Engine) -> tuple[sa.Connection, str]:
    try:
        connection = engine.connect()
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        return connection, str(connection.exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())
    except sa.exc.DBAPIError as error:
        raise translated(engine, error) from error


def patiently(work: Callable[[], _Result]) -> _Result:
    """Return what `work` returns; while its database cannot be reached, try again, for at most PATIENCE_S."""
    for attempt in stamina.retry_context(_is_away, attempts=None, timeout=PATIENCE_S, wait_initial=0.1, wait_max=5.0):
        with attempt:
            return work()
    raise AssertionError("stamina raises the last error")


def _is_away(error: Exception) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, SnapshotLost)
