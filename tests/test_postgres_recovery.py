"""A whole recovery over a real PostgreSQL: the same bytes as over SQLite, also if the server dies; drift and rights."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from bucketed import upload
from corpus import Corpus
from postgres import READER, WRITER, Base, Postgres, load
from recovering import outcome
from servers import Server

from resplice.io import database as connections
from resplice.io.inventory import Inventory
from resplice.io.rows import Rows
from resplice.pipelines import baseline
from resplice.transforms.records import SnapshotLost
from resplice.transforms.settings import StoreOptions

OF_A_DATABASE = ("baseline/world.json", "plan/asked.json")  # they name its version, which a server has none of


def made(corpus: Corpus) -> dict[str, Any]:
    """Return what a run made, but for what tells one database from another."""
    found = outcome(corpus.workspace)
    return {key: value for key, value in found.items() if not key.endswith(OF_A_DATABASE)}


@pytest.fixture(scope="session")
def filled(postgres: Postgres, demo_folder: Path) -> Iterator[str]:
    """A database that holds what the demo's SQLite file holds; a template for others."""
    with postgres.database("demo") as owner:
        load(owner, demo_folder / "corpus.sqlite")
        owner.close()
        yield "demo"


@pytest.fixture
def loaded(postgres: Postgres, filled: str, tmp_path: Path) -> Iterator[Base]:
    """A copy of that database."""
    name = f"copy_{abs(hash(tmp_path))}"
    with postgres.database(name, template=filled) as owner:
        yield Base(postgres, name, owner)


@pytest.fixture
def over(loaded: Base, demo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """The demo corpus with its rows in PostgreSQL, read by the role that may only read, in an empty workspace."""
    monkeypatch.setenv("RESPLICE_DATABASE_URL", loaded.url())
    return Corpus(demo_folder, tmp_path / "workspace")


def as_writer(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPLICE_DATABASE_URL", base.url(WRITER, scheme="postgresql+psycopg"))


def statuses(base: Base) -> dict[str, str | None]:
    return dict(base.sql("SELECT video_id, validation_status FROM videos"))


def test_a_recovery_by_the_read_only_role_makes_the_bytes_that_it_makes_over_sqlite(
    over: Corpus, recovered: Corpus
) -> None:
    assert over("recover", "--yes") == 0
    assert made(over) == made(recovered)
    for name in ("verify/coverage.json", "plan/affected.txt", "baseline/videos.parquet"):
        assert over.path(name).read_bytes() == recovered.path(name).read_bytes()


def test_the_password_may_come_from_libpqs_own_places(
    over: Corpus, loaded: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RESPLICE_DATABASE_URL")
    server, passwords, services = loaded.server, tmp_path / "pgpass", tmp_path / "services"
    password = server.url(loaded.name).split(":")[2].split("@")[0]
    bare = f"postgresql://{READER}@127.0.0.1:{server.port}/{loaded.name}"
    passwords.write_text(f"127.0.0.1:{server.port}:*:{READER}:{password}\n")
    passwords.chmod(0o600)
    services.write_text(
        f"[corpus]\nhost=127.0.0.1\nport={server.port}\nuser={READER}\npassword={password}\ndbname={loaded.name}\n"
    )
    ways: list[tuple[str, dict[str, str]]] = [
        (bare, {"PGPASSWORD": password}),
        (bare, {"PGPASSFILE": str(passwords)}),
        ("postgresql://", {"PGSERVICEFILE": str(services), "PGSERVICE": "corpus"}),
        ("postgresql://?service=corpus", {"PGSERVICEFILE": str(services)}),
    ]
    for number, (url, environment) in enumerate(ways):
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            assert over("baseline", f"--set=database.url={url}", run_id=f"r{number}") == 0
    counts = {over.path("baseline/videos.parquet", f"r{number}").stat().st_size for number in range(len(ways))}
    assert len(counts) == 1


def test_on_a_bucket_and_a_server_at_once_it_makes_the_same_and_finalizes(
    loaded: Base, demo_folder: Path, minio: Server, recovered: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    minio.credentials(monkeypatch)
    monkeypatch.setenv("RESPLICE_DATABASE_URL", loaded.url())
    corpus = upload(demo_folder, minio, StoreOptions(minio.endpoint, "us-east-1"))
    assert corpus("recover", "--yes", "--workers=2") == 0
    tars = recovered.workspace.glob("runs/r/repair/transcribed/*.tar")
    expected = {f"runs/r/repair/transcribed/{tar.name}": sha256(tar.read_bytes()).hexdigest() for tar in tars}
    assert expected and corpus.digests("runs/r/repair/transcribed/", ".tar") == expected
    assert corpus.json("verify/coverage.json") == recovered.json("verify/coverage.json")
    before, found = corpus.digests("", ".tar", "transcribed"), statuses(loaded)
    as_writer(loaded, monkeypatch)
    assert corpus("finalize", "--apply") == 0
    assert corpus.digests("", ".tar", "transcribed") != before and statuses(loaded) != found
    assert corpus("undo", "--apply") == 0
    assert corpus.digests("", ".tar", "transcribed") == before and statuses(loaded) == found


# Drift, conflicts, rights


def test_a_row_that_someone_edits_during_the_run_is_drift_and_is_left_alone(
    over: Corpus, loaded: Base, recovered: Corpus
) -> None:
    assert over("baseline") == over("plan") == 0
    video = min(recovered.path("repair/transcribed").glob("*.tar")).name.removesuffix("_transcribed.tar")
    [(id_,)] = loaded.sql("SELECT min(id) FROM transcription_results WHERE video_id = %s", video)
    loaded.sql("UPDATE transcription_results SET transcription = 'edited' WHERE id = %s", id_)
    assert over("repair") == over("validate") == over("merge") == 0
    assert over("verify") == 3
    assert over.json("verify/coverage.json")["drifted"] == 1
    assert {row["bucket"] for row in over.coverage().values() if row["video_id"] == video} == {"unaccounted"}
    assert loaded.sql("SELECT transcription FROM transcription_results WHERE id = %s", id_) == [("edited",)]


@pytest.fixture
def verified(over: Corpus, demo_folder: Path, tmp_path: Path) -> Corpus:
    """The demo, verified over PostgreSQL, with a folder of transcribed tars of its own."""
    folder = tmp_path / "demo"
    shutil.copytree(demo_folder, folder, ignore=shutil.ignore_patterns("workspace"))
    corpus = Corpus(folder, tmp_path / "workspace")
    assert corpus("recover", "--yes") == 0
    return corpus


def test_finalize_sets_statuses_and_undo_restores_them(
    verified: Corpus, loaded: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = statuses(loaded)
    as_writer(loaded, monkeypatch)
    assert verified("finalize", "--statuses", "--apply") == 0
    after = statuses(loaded)
    changed = {video for video in after if after[video] != before[video]}
    assert changed and {after[video] for video in changed} == {"validated"}
    assert verified("finalize", "--statuses", "--apply") == 0
    assert verified("undo", "--statuses", "--apply") == 0
    assert statuses(loaded) == before


def test_a_status_that_someone_else_changed_is_a_conflict(
    verified: Corpus, loaded: Base, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = statuses(loaded)
    as_writer(loaded, monkeypatch)
    assert verified("finalize", "--statuses") == 0
    shown = capfd.readouterr().out
    video = next(line.split()[1].rstrip(":") for line in shown.splitlines() if line.startswith("  status"))
    loaded.sql("UPDATE videos SET validation_status = 'by hand' WHERE video_id = %s", video)
    assert verified("finalize", "--statuses", "--apply") == 4
    after = statuses(loaded)
    assert after[video] == "by hand"
    assert video in capfd.readouterr().out
    assert verified("undo", "--statuses", "--apply") in (0, 4)
    assert statuses(loaded) == before | {video: "by hand"}


def test_finalize_by_the_read_only_role_is_one_line_and_changes_nothing(
    verified: Corpus, loaded: Base, capfd: pytest.CaptureFixture[str]
) -> None:
    before, tars = statuses(loaded), {p.name: p.stat().st_ino for p in (verified.folder / "transcribed").iterdir()}
    assert verified("finalize") == 0
    capfd.readouterr()
    assert verified("finalize", "--apply") == 2
    said = capfd.readouterr().err.strip()
    assert said == (
        f"resplice finalize: the database {loaded.name} on 127.0.0.1:{loaded.server.port} cannot be written: "
        "permission denied for table videos"
    )
    assert statuses(loaded) == before
    assert {p.name: p.stat().st_ino for p in (verified.folder / "transcribed").iterdir()} == tars
    assert not verified.path("finalize/journal.jsonl").exists()


# The server goes away


def test_a_baseline_whose_snapshot_is_lost_reads_all_of_a_new_one(
    over: Corpus, loaded: Base, recovered: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, restarts = Inventory.__call__, []

    def restarted(self: Inventory, index: int) -> Iterator[tuple[int, int]]:
        if index == 5 and not restarts:
            restarts.append(self._snapshot)
            loaded.server.kill()
            loaded.server.start()
            loaded.sql("UPDATE transcription_results SET language = 'xx'")  # of which an old state knows nothing
        return real(self, index)

    monkeypatch.setattr(Inventory, "__call__", restarted)
    assert over("baseline") == 0
    assert restarts
    monkeypatch.undo()
    monkeypatch.setenv("RESPLICE_DATABASE_URL", loaded.url())
    again = Corpus(over.folder, over.workspace.parent / "other")
    assert again("baseline") == 0
    assert over.path("baseline/videos.parquet").read_bytes() == again.path("baseline/videos.parquet").read_bytes()


def test_a_baseline_that_loses_every_snapshot_is_75_and_one_line(
    over: Corpus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    states = []

    def lost(self: Rows) -> None:
        states.append(self._snapshot)
        raise SnapshotLost("the database was restarted; run the same command again")

    monkeypatch.setattr(Rows, "check_snapshot", lost)
    assert over("baseline") == 75
    assert len(set(states)) == baseline.SNAPSHOTS
    assert capfd.readouterr().err.strip() == (
        "resplice baseline: the database was restarted; run the same command again"
    )
    assert not over.path("baseline/baseline.json").exists()
    monkeypatch.undo()


def test_connections_that_are_cut_again_and_again_end_no_stage(
    over: Corpus, loaded: Base, recovered: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    over_ = threading.Event()

    def cut() -> None:
        holder = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%pg_export_snapshot()'"
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s "
            f"AND pid <> pg_backend_pid() AND pid NOT IN ({holder})"
        )
        while not over_.wait(0.2):
            cuts.append(len(loaded.sql(query, loaded.name)))

    cuts: list[int] = []
    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        assert over("recover", "--yes") == 0
    finally:
        over_.set()
        cutter.join()
    assert sum(cuts)
    assert made(over) == made(recovered)


def test_a_server_that_does_not_come_back_is_75_in_every_stage(
    over: Corpus, loaded: Base, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "PATIENCE_S", 0.2)
    assert over("baseline") == over("plan") == 0
    away = loaded.url().replace(f":{loaded.server.port}/", ":1/")
    monkeypatch.setenv("RESPLICE_DATABASE_URL", away)
    capfd.readouterr()
    assert over("repair") == 75
    said = capfd.readouterr().err
    assert said.startswith(f"resplice repair: the database {loaded.name} on 127.0.0.1:1 cannot be reached: ")
    assert said.count("\n") == 1
    monkeypatch.setenv("RESPLICE_DATABASE_URL", loaded.url())
    assert over("repair") == 0
