"""The password of the database is nowhere: no message, traceback, file of the workspace, argument of a process."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from corpus import Corpus
from postgres import Base, Postgres, load
from psycopg import sql

from resplice.io import database as connections
from resplice.io.database import FROM_ENVIRONMENT, connect, without_password
from resplice.transforms.records import UserError
from resplice.transforms.settings import Database

PASSWORD = "Kr0ko:dil/im@Nil?%41&x=y"
ENCODED = urllib.parse.quote(PASSWORD, safe="")
PARTS = ("Kr0ko", "dil/im", "im@Nil", "Nil?", "%41&", "dil%2Fim", ENCODED)


def leaks(text: str) -> list[str]:
    return [part for part in PARTS if part in text]


@pytest.fixture(scope="session")
def secret(postgres: Postgres, demo_folder: Path) -> Iterator[Base]:
    """The demo's tables in a database with a role of a password that is hard to write."""
    with postgres.database("secret") as owner:
        owner.execute(sql.SQL("CREATE ROLE shy LOGIN PASSWORD {}").format(sql.Literal(PASSWORD)))
        load(owner, demo_folder / "corpus.sqlite")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO shy")
        yield Base(postgres, "secret", owner)
        owner.execute("DROP OWNED BY shy")
        owner.execute("DROP ROLE shy")


def url(base: Base, *, host: str = "127.0.0.1", port: int = 0, password: str = ENCODED, name: str = "secret") -> str:
    return f"postgresql://shy:{password}@{host}:{port or base.server.port}/{name}"


WRONG = {
    "wrong password": ({"password": ENCODED + "x"}, 2, "password authentication failed"),
    "unreachable": ({"port": 1}, 75, "cannot be reached"),
    "no such database": ({"name": "nowhere"}, 2, "nowhere"),
    "no such host": ({"host": "no-such-host.invalid"}, 2, "no-such-host.invalid"),
    "not encoded": ({"password": PASSWORD}, 2, "database.url"),
    "an @ in it": ({"password": "Kr0ko@im@Nil"}, 2, "database.url"),
    "no port": ({"password": "Kr0ko:im/Nil", "host": "h:x"}, 2, "database.url"),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_a_connection_that_fails_is_one_line_without_the_password(
    secret: Base, fresh: Corpus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], case: str,
    debug: bool,
) -> None:  # fmt: skip
    given, code, said = WRONG[case]
    monkeypatch.setenv("RESPLICE_DATABASE_URL", url(secret, **given))
    monkeypatch.setattr(connections, "PATIENCE_S", 0.2)
    for command in ("baseline", "inspect some-video"):
        options = ["--debug"] if debug else []
        ended = fresh(command, *options, run_id="r" if command == "baseline" else None)
        assert ended == (code if command == "baseline" else 2)  # inspect shows what it can
        out, err = capfd.readouterr()
        assert said in err
        assert leaks(out + err) == []
        assert debug or err.count("\n") <= (1 if command == "baseline" else 2)
    assert fresh("doctor", run_id=None) == 2
    assert leaks("".join(capfd.readouterr())) == []


@pytest.mark.parametrize("debug", [False, True])
def test_a_worker_that_loses_the_database_tells_no_password(
    secret: Base, fresh: Corpus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], debug: bool
) -> None:
    monkeypatch.setenv("RESPLICE_DATABASE_URL", url(secret))
    monkeypatch.setattr(connections, "PATIENCE_S", 0.2)
    assert fresh("baseline") == fresh("plan") == 0
    monkeypatch.setenv("RESPLICE_DATABASE_URL", url(secret, port=1))
    capfd.readouterr()
    assert fresh("repair", *(["--debug"] if debug else [])) == 75
    out, err = capfd.readouterr()
    assert "the database secret on 127.0.0.1:1 cannot be reached" in err
    assert leaks(out + err) == []


def test_no_process_and_no_file_has_the_password(secret: Base, fresh: Corpus) -> None:
    command = [sys.executable, "-m", "resplice.pipelines", "recover", f"--config={fresh.folder / 'resplice.toml'}",
               f"--set=corpus.workspace={fresh.workspace}", "--run-id=r", "--yes", "--debug"]  # fmt: skip
    environment = {**os.environ, "RESPLICE_DATABASE_URL": url(secret)}
    arguments: set[str] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            for one in (tree, *_children(tree)):
                arguments |= _arguments(one)
            try:
                said = process.communicate(timeout=0.2)[0].decode()
            except subprocess.TimeoutExpired:
                continue
    assert process.returncode == 0, said
    assert any("recover" in text for text in arguments) and len(arguments) > len(command)
    assert leaks("\n".join(arguments)) == leaks(said) == []
    for path in (path for path in fresh.workspace.rglob("*") if path.is_file()):
        assert leaks(path.read_bytes().decode("latin1")) == [], path


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def _arguments(process: psutil.Process) -> set[str]:
    try:
        return set(process.cmdline())
    except psutil.Error:
        return set()


@pytest.mark.parametrize(
    "given",
    [f"postgresql://shy:{ENCODED}@h/d", f"postgresql://h/d?user=shy&password={ENCODED}", "postgresql://shy@h/d"],
)
def test_settings_of_workers_and_engines_show_no_password(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPLICE_DATABASE_URL", given)
    carried = without_password(Database(url=given))
    assert (carried.url == FROM_ENVIRONMENT) == (ENCODED in given)
    engine: Any = connect(carried.url, False)
    shown = [repr(engine), str(engine.url), repr(engine.get_execution_options()), str(carried)]
    assert leaks(" ".join(shown)) == [] or "?" in given  # SQLAlchemy hides no query: nothing prints its URLs


def test_a_url_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (PASSWORD, f"postgresql://shy:{PASSWORD}@h:x/d", f"postgresql:/{PASSWORD}"):
        with pytest.raises(UserError) as caught:
            connect(text, False)
        assert leaks(repr(caught.value)) == []
