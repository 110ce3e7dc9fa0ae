"""What is done is not done again, nothing is doubled, a dry run writes nothing, and what changed is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import recovering
import sqlalchemy as sa
from recovering import OWN_RECORDS, RUN, WAVE, Corpus, lies, outcome, tree

from resplice.io import rows
from resplice.io.local import LocalStore
from resplice.pipelines.__main__ import main
from resplice.pipelines.config import resolve


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A demo corpus that no test changes."""
    return recovering.demo(tmp_path_factory.mktemp("idempotent") / "demo")


@pytest.fixture(scope="module")
def wave(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a finished wave that no test changes."""
    workspace = tmp_path_factory.mktemp("wave")
    assert corpus.recover(workspace, *WAVE) == 3
    return workspace


def test_a_second_process_changes_no_byte_but_the_record_of_itself(corpus: Corpus, wave: Path) -> None:
    before = tree(wave)
    assert corpus.recover(wave, *WAVE) == 3
    after = tree(wave)
    changed = {key for key in before.keys() | after.keys() if before.get(key, ())[2:] != after.get(key, ())[2:]}
    assert {key for key in changed if key.rpartition("/")[2] not in OWN_RECORDS and "/live/" not in key} == set()
    assert f"runs/{RUN}/run.json" in changed


def test_a_run_that_ended_leaves_nothing_temporary_behind(wave: Path) -> None:
    assert recovering.temporaries(wave) == []
    assert not [path for path in wave.rglob("live/**/*") if path.is_file()]
    assert {path.name for path in wave.iterdir()} == {"runs", "snapshots", "objects"}


REPEATED = [("--direct_runner_bundle_repeat=3",), pytest.param(("--workers", "2"), marks=pytest.mark.slow)]


@pytest.mark.parametrize("more", REPEATED)
def test_bundles_that_run_four_times_or_side_by_side_double_nothing(
    corpus: Corpus, wave: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    assert corpus.recover(tmp_path, *WAVE, *more) == 3
    assert outcome(tmp_path) == outcome(wave)
    assert lies(tmp_path) == []


@pytest.mark.slow
def test_bundles_of_the_whole_recovery_that_run_four_times_double_nothing(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.recover(tmp_path / "once") == 0
    assert corpus.recover(tmp_path / "often", "--direct_runner_bundle_repeat=3") == 0
    assert outcome(tmp_path / "often") == outcome(tmp_path / "once")


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What the store below every place was asked to change."""
    asked: list[Path] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(LocalStore, name)

        def change(self: LocalStore, key: str, *args: Any) -> Any:
            asked.append(Path(self.url) / (args[0] if name == "copy" else key))
            return real(self, key, *args)

        return change

    for name in ("create", "replace", "copy", "delete"):
        monkeypatch.setattr(LocalStore, name, counted(name))
    return asked


STATEMENTS = "begin", "select", "pragma", "rollback", "commit"


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every SQL statement that any engine executes."""
    executed: list[str] = []

    def take(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: Any) -> None:
        executed.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", take)
    yield executed
    sa.event.remove(sa.Engine, "before_cursor_execute", take)


DRY = [
    ("baseline", ()),
    ("plan", ("--limit", "7")),
    ("repair", ("--retry", "all")),
    ("validate", ("--retry", "all")),
    ("merge", ()),
    ("verify", ()),
    ("recover", WAVE),
    ("recover", (*WAVE, "--refresh", "--retry", "all")),
    ("recover", (*WAVE, "--canary", "2")),
    ("pack", ("--videos", "{ids}")),
    ("validate", ("--export-work", "{work}")),
    ("validate", ("--from", "{shards}")),
    ("finalize", ()),
    ("finalize", ("--apply",)),
    ("undo", ()),
    ("undo", ("--apply",)),
]


@pytest.mark.parametrize(("command", "more"), DRY)
def test_a_dry_run_of_a_command_writes_nothing(
    corpus: Corpus, wave: Path, tmp_path: Path, writes: list[Path], statements: list[str], command: str,
    more: tuple[str, ...],
) -> None:  # fmt: skip
    (tmp_path / "ids").write_text("new\n")
    places = {"ids": tmp_path / "ids", "work": tmp_path / "work", "shards": wave / "runs" / RUN / "validate" / "shards"}
    before = tree(corpus.root), tree(wave)
    code = corpus.recover(wave, *(word.format(**places) for word in more), "--dry-run", command=command)
    assert code in (0, 2, 3)
    assert (tree(corpus.root), tree(wave)) == before
    assert not [path for path in writes if path.is_relative_to(corpus.root) or path.is_relative_to(wave)]
    assert all(statement.split()[0].lower() in STATEMENTS for statement in statements)
    assert [path.name for path in tmp_path.iterdir()] == ["ids"]


@pytest.mark.parametrize("words", [("export", "--to", "{out}"), ("rollback", "--to", "0")])
def test_a_dry_run_of_a_command_without_a_run_writes_nothing(
    corpus: Corpus, wave: Path, tmp_path: Path, writes: list[Path], words: tuple[str, ...]
) -> None:
    before = tree(corpus.root), tree(wave)
    given = [word.format(out=tmp_path / "out") for word in words]
    places = ["--config", str(corpus.root / "resplice.toml"), "--set", f"corpus.workspace={wave}"]
    assert main([*given, *places, "--dry-run"]) == 0
    assert (tree(corpus.root), tree(wave)) == before
    assert writes == []
    assert list(tmp_path.iterdir()) == []


def test_a_dry_recovery_of_a_new_run_writes_nothing_and_shows_what_a_real_one_shows(
    corpus: Corpus, tmp_path: Path, writes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = tmp_path / "workspace"
    before = tree(corpus.root)
    dry = corpus.recover(workspace, *WAVE, "--dry-run")
    *shown, said = capsys.readouterr().out.splitlines()
    assert "nothing was written" in said
    assert tree(corpus.root) == before
    assert not workspace.exists()
    assert not [path for path in writes if path.is_relative_to(tmp_path) or path.is_relative_to(corpus.root)]
    assert corpus.recover(workspace, *WAVE) == dry
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("report: ")] == shown


def test_the_database_is_opened_so_that_it_cannot_be_written(corpus: Corpus) -> None:
    settings = resolve(str(corpus.root / "resplice.toml"), (), {}, {}).settings
    engine = rows.Rows(settings.database)._engine
    with pytest.raises(sa.exc.OperationalError, match="readonly"), engine.begin() as connection:
        connection.execute(sa.text("update videos set status = 'touched'"))
