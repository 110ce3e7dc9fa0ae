"""doctor: each broken thing is found by its check, with its remedy; it hides no other, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from processes import free_port
from recovering import tree
from servers import Server

from resplice.io import probe, requests
from resplice.io.local import LocalStore
from resplice.io.store import Head, Place
from resplice.pipelines import doctor
from resplice.pipelines.__main__ import main
from resplice.pipelines.config import resolve
from resplice.pipelines.doctor import CHECKS, Check, looked
from resplice.pipelines.doctor_checks import Situation
from resplice.transforms import provenance
from resplice.transforms.checkup import Finding, State
from resplice.transforms.records import UserError

Look = Callable[..., list[Finding]]


@pytest.fixture
def corpus(demo_folder: Path, tmp_path: Path) -> Path:
    """A corpus that a test may break: empty folders, the demo's database and settings."""
    for name in ("raw", "transcribed", "validation"):
        (tmp_path / name).mkdir()
    (tmp_path / "raw" / "a.tar").write_bytes(bytes(10_240))
    for name in ("corpus.sqlite", "resplice.toml"):
        shutil.copy(demo_folder / name, tmp_path)
    return tmp_path


@pytest.fixture
def look(corpus: Path) -> Look:
    """Run one check on the corpus as it is now."""

    def look_(name: str, *sets: str, tokens: Sequence[str] = ()) -> list[Finding]:
        situation = Situation(resolve(str(corpus / "resplice.toml"), sets, {}), tuple(tokens))
        [check] = [check for check in CHECKS if check.name == name]
        return looked(check, situation)

    return look_


def sql(corpus: Path, *statements: str) -> None:
    with sqlite3.connect(corpus / "corpus.sqlite") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


def remove(corpus: Path, name: str) -> None:
    path = corpus / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def untouched(corpus: Path) -> None:
    """Break nothing: the settings do."""


def file_instead(corpus: Path, name: str) -> None:
    shutil.rmtree(corpus / name, ignore_errors=True)
    (corpus / name).write_text("no folder")


BROKEN: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...], State, str, str]] = {
    "a missing folder": ("corpus.raw", lambda c: remove(c, "raw"), (), State.FAILED, "no folder ", "corpus.raw"),
    "a file for a folder": (
        "corpus.validation", lambda c: file_instead(c, "validation"), (), State.FAILED, "is no folder", "that is there",
    ),
    "no tars": ("corpus.raw", lambda c: remove(c, "raw/a.tar"), (), State.WARNING, "holds no .tar", "corpus.raw"),
    "an object store": (
        "corpus.transcribed", untouched, ("corpus.transcribed=s3://bucket/t",), State.FAILED, "credentials", "s3://",
    ),
    "a workspace below a file": (
        "workspace", lambda c: file_instead(c, "file"), ("corpus.workspace=file/w",), State.FAILED, "is no folder",
        "corpus.workspace",
    ),
    "a store below a file": (
        "store", lambda c: file_instead(c, "file"), ("corpus.workspace=file/w",), State.FAILED, "is no folder",
        "corpus.workspace",
    ),
    "no database": ("database", lambda c: remove(c, "corpus.sqlite"), (), State.FAILED, "there is no file", "url"),
    "no database, but a file": (
        "database", lambda c: (c / "corpus.sqlite").write_text("x" * 5000), (), State.FAILED, "not a database", "url",
    ),
    "another table": (
        "database", untouched, ("database.rows_table=rows",), State.FAILED, "(it has: transcription_results",
        "tables",
    ),
    "another column": (
        "database", lambda c: sql(c, "ALTER TABLE videos RENAME COLUMN validation_status TO verdict"), (), State.FAILED,
        "no column 'validation_status' (it has: video_id, status, verdict", "columns",
    ),
    "no rows": (
        "database", lambda c: sql(c, "DELETE FROM transcription_results"), (), State.WARNING, "no row in the table",
        "database.rows_table",
    ),
    "a splitter that is not there": (
        "splitter", untouched, ("polish.splitter=resplice.transforms.polish:spilt",), State.FAILED,
        "no attribute 'spilt'", "installed",
    ),
    "a module that is not there": (
        "splitter", untouched, ("polish.splitter=nowhere:split",), State.FAILED, "No module named 'nowhere'",
        "installed",
    ),
    "a splitter that hangs": (
        "splitter", untouched, ("polish.splitter=splitters:sleeps", "run.timeout_s=0.3"), State.FAILED,
        "timeout: no answer in 0.3 s", "by itself",
    ),
    "a splitter that dies": (
        "splitter", untouched, ("polish.splitter=splitters:aborts",), State.FAILED, "died by SIGABRT", "by itself",
    ),
    "a splitter that raises": (
        "splitter", untouched, ("polish.splitter=splitters:raises",), State.FAILED, "no such frame", "by itself",
    ),
    "a splitter that answers wrongly": (
        "splitter", untouched, ("polish.splitter=splitters:outside",), State.FAILED, "of 16000 samples", "by itself",
    ),
    "a writer of no bytes": (
        "json", untouched, ("repair.json=splitters:no_bytes",), State.FAILED, "expected bytes", "by itself",
    ),
    "no engine at all": (
        "engines", untouched, ('validate.engines=["nobody"]',), State.FAILED, "none of them can be used", "[validate]",
    ),
    "an engine without its model": (
        "engines", untouched, ('validate.engines=["signal", "asr"]',), State.FAILED, "model is not set",
        "[validate.asr]",
    ),
    "an engine that nobody installed": (
        "engines", untouched, ('validate.engines=["nobody", "signal"]',), State.ABSENT, "not installed: skipped",
        "resplice.engines",
    ),
    "more workers than memory": (
        "memory", untouched, ("run.workers=100000",), State.WARNING, "MiB in all", "run.workers",
    ),
    "more workers than files": (
        "open files", untouched, ("run.workers=100000000",), State.WARNING, "may be needed", "ulimit -n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_with_its_remedy(corpus: Path, look: Look, name: str) -> None:
    check, break_, sets, state, found, remedy = BROKEN[name]
    if check != "database":  # what is known of one is kept as long as its process
        assert {finding.state for finding in look(check)} == {State.OK}
    break_(corpus)
    absolute = [text.replace("=file/", f"={corpus}/file/") for text in sets]
    if check == "open files" and look(check, *absolute)[0].found == "unlimited":
        pytest.skip("the number of open files is not limited here")
    [finding] = [finding for finding in look(check, *absolute) if finding.state != State.OK]
    assert finding.state == state
    assert found in finding.found and remedy in finding.remedy


@pytest.mark.parametrize(
    ("tokens", "state", "found"),
    [
        (["--runner=DaskRunner"], State.FAILED, "it loses sinks silently"),
        (["--runner", "FlinkRunner", "--flink_master", "h:1"], State.OK, "its options are understood"),
        (["--runner=SparkRunner"], State.WARNING, "resplice was never run on it"),
        (["--flink_maste=h:1"], State.FAILED, "unknown option --flink_maste; the nearest is --flink_master"),
        (["--runner=Nobody"], State.FAILED, "no runner that Beam knows"),
        ([], State.OK, "FnApiRunner, in this process"),
    ],
)
def test_the_runner_and_its_options_are_checked(look: Look, tokens: list[str], state: State, found: str) -> None:
    [finding] = look("runner", tokens=tokens)
    assert finding.state == state and found in finding.found


def test_an_index_that_is_missing_is_a_warning(corpus: Path, look: Look) -> None:
    with sqlite3.connect(corpus / "corpus.sqlite") as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql > ''")]
    database.close()
    sql(corpus, *(f"DROP INDEX {name}" for name in names))
    _, indexes, _ = look("database")
    assert indexes.state == State.WARNING
    assert "CREATE INDEX transcription_results_by_video ON transcription_results (video_id)" in indexes.remedy
    sql(corpus, *indexes.remedy.split("; "))
    assert look("database")[1].state == State.OK


def test_engines_that_speak_are_told_with_what_they_lack(look: Look) -> None:
    command = '["no-such-program", "{text}", "{wav}", "{voice}"]'
    overrides = [f"synthesis.engines.mine.command={command}", 'synthesis.engines.mine.voices=["a"]',
                 "synthesis.engines.mine.default_voice=a"]  # fmt: skip
    found = {finding.check: finding for finding in look("speech", *overrides)}
    assert set(found) == {"speech espeak", "speech kokoro", "speech xtts", "speech mine"}
    assert found["speech mine"].state is State.ABSENT
    assert found["speech mine"].found == "there is no program no-such-program"


def test_statuses_that_do_not_occur_are_a_warning(look: Look) -> None:
    *_, statuses = look("database", 'plan.failed_statuses=["VALIDATION_FAILED"]')
    assert statuses.state == State.WARNING and "'validation_failed'" in statuses.found


def test_room_is_judged_by_the_open_plan_else_by_all_raw_tars(corpus: Path, look: Look) -> None:
    [finding] = look("disk")
    assert finding.state == State.OK and "all raw tars, of which a part is planned: 0.0 MB" in finding.found
    store = LocalStore(str(corpus / "workspace"))
    entry = {"start": "2026-01-01T00:00:00.000Z"}
    store.create("runs/r/run.json", provenance.document({"run_id": "r", "processes": [entry]}))
    store.create("runs/r/plan/plan.json", provenance.document({"videos": 3, "raw_bytes": 10**18}))
    [finding] = look("disk")
    assert finding.state == State.FAILED and "the raw tars of 3 planned videos: 1000000000.0 GB" in finding.found
    summary = {"stage": "repair", "unit": "video", "in": 3, "done": 3, "skipped": 0, "refused": 0, "by_reason": {}}
    store.create("runs/r/repair/summary.json", provenance.document(summary))
    [finding] = look("disk")
    assert "all raw tars" in finding.found


def test_room_cannot_be_judged_without_raw_tars(corpus: Path, look: Look) -> None:
    remove(corpus, "raw")
    for check in ("disk", "temporary"):
        [finding] = look(check)
        assert finding.state == State.SKIPPED and "needs corpus.raw" in finding.found


def test_a_workspace_that_is_not_there_is_not_made(corpus: Path, look: Look) -> None:
    [finding] = look("workspace")
    assert finding.state == State.OK and finding.found.endswith("workspace, will be created")
    assert not (corpus / "workspace").exists()
    (corpus / "workspace").mkdir()
    assert look("workspace")[0].found.endswith("workspace, writable")


def test_a_file_system_that_does_not_tell_a_from_A_is_found(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "tells_case", lambda folder: False)  # none is at hand
    [finding] = look("workspace")
    assert finding.state == State.FAILED and "does not tell `a` from `A`" in finding.found


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written, also by root."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_workspace_that_cannot_be_written_is_found(look: Look, read_only: Path) -> None:
    for check in ("workspace", "store"):
        [finding] = look(check, f"corpus.workspace={read_only / 'workspace'}")
        assert finding.state == State.FAILED and "Read-only file system" in finding.found
    [finding] = look("corpus.transcribed", f"corpus.transcribed={read_only}")
    assert finding.state == State.OK and "not writable, which only `finalize --tars` needs" in finding.found


# The store


class Overwrites(LocalStore):
    """A store that does not know create-only writes."""

    def create(self, key: str, data: bytes | Path) -> bool:
        return self.replace(key, data, None)


class Unconditional(LocalStore):
    """A store that ignores the version in a conditional replace."""

    def replace(self, key: str, data: bytes | Path, token: str | None) -> bool:
        return super().replace(key, data, None)


class Racy(LocalStore):
    """A store that looks first and writes then, as one without atomic creates would."""

    def create(self, key: str, data: bytes | Path) -> bool:
        if self.head(key) is not None:
            return False
        if "race" in key:
            import time

            time.sleep(0.2)
        return self.replace(key, data, None)


class Lagging(LocalStore):
    """A store whose lists lag behind."""

    def list(self, prefix: str = "") -> Iterator[Head]:
        yield from list(super().list(prefix))[1:]


class Keeping(LocalStore):
    """A store that does not delete."""

    def delete(self, key: str) -> None:
        return None


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        (LocalStore, None),
        (Overwrites, "a create must not overwrite"),
        (Unconditional, "a replace of a version that is gone must be refused"),
        (Racy, "of two creates at once, exactly one must win"),
        (Lagging, "a list must show just what is there"),
        (Keeping, "what was deleted must be gone"),
    ],
)
def test_a_store_that_does_not_honour_something_is_found(
    tmp_path: Path, store: type[LocalStore], fault: str | None
) -> None:
    faults = probe.faults(store(str(tmp_path)))
    assert faults == [] if fault is None else fault in faults
    if store is LocalStore:
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_fault_of_the_store_is_a_failure(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "store", property(lambda place: Overwrites(place.url)))
    [finding] = look("store")
    assert finding.state == State.FAILED and "a create must not overwrite" in finding.found


# The whole command


def test_a_sound_corpus_is_exit_0_and_nothing_is_left_behind(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(corpus)
    assert main(["doctor", "--config", str(corpus / "resplice.toml")]) == 0
    out = capsys.readouterr().out
    assert "all that is required works; 0 warnings" in out
    assert tree(corpus) == before
    for check in ("python", "store", "splitter", "engine signal", "worker", "temporary"):
        [line] = [line for line in out.splitlines() if line.startswith(f" {check} ")]
        assert line.removeprefix(f" {check}").split()[0] == "ok"


def test_one_thing_that_is_broken_hides_none_of_the_others(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove(corpus, "raw")
    remove(corpus, "corpus.sqlite")
    sets = ["--set", "polish.splitter=nowhere:split", "--runner", "DaskRunner"]
    assert main(["doctor", "--config", str(corpus / "resplice.toml"), *sets, "--json"]) == 2
    report = json.loads(capsys.readouterr().out)
    states = {finding["check"]: finding["state"] for finding in report["checks"]}
    failed = [check for check, state in states.items() if state == "failed"]
    assert failed == ["runner", "corpus.raw", "database", "splitter"] and report["exit"] == 2
    assert states["json"] == states["store"] == states["engine signal"] == "ok"
    assert all(finding["remedy"] for finding in report["checks"] if finding["state"] in ("failed", "warning"))


def test_wrong_settings_are_one_line_and_what_needs_none_is_checked(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (corpus / "resplice.toml").open("a") as file:
        file.write("\n[runn]\nworkers = 2\n")
    assert main(["doctor", "--config", str(corpus / "resplice.toml"), "--json"]) == 2
    found = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)["checks"]}
    assert [check for check, finding in found.items() if finding["state"] == "failed"] == ["settings"]
    assert "unknown section [runn]" in found["settings"]["found"] and found["settings"]["remedy"]
    assert found["audio"]["state"] == found["worker"]["state"] == "ok" and found["database"]["state"] == "skipped"


def test_without_a_settings_file_the_defaults_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "no resplice.toml in this folder" in out and "4 failed" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (UserError("the moon is full"), "the moon is full"),
        (OSError(5, "Input/output error", "/x"), "/x: Input/output error"),
        (ImportError("libsndfile.so.1 is missing"), "ImportError: libsndfile.so.1 is missing"),
    ],
)
def test_a_check_that_cannot_be_made_has_failed(error: Exception, found: str) -> None:
    def look(_: object) -> list[Finding]:
        raise error

    assert doctor.looked(Check("x", "mend it", look), None) == [Finding("x", State.FAILED, found, "mend it")]


# Real object stores


def on(server: Server, monkeypatch: pytest.MonkeyPatch, bucket: str = "") -> list[str]:
    """Return the settings of a workspace in a bucket of a server, with its credentials in the environment."""
    server.credentials(monkeypatch)
    name = bucket or server.bucket()
    return [f"corpus.workspace=s3://{name}/w", f"store.endpoint_url={server.endpoint}", "store.region=us-east-1"]


def test_a_store_that_honours_all_is_fit_to_publish_on_and_nothing_is_left(
    look: Look, minio: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = on(minio, monkeypatch)
    assert [(f.check, f.state) for check in ("workspace", "store", "disk") for f in look(check, *settings)] == [
        ("workspace", State.OK), ("store", State.OK), ("disk", State.OK),
    ]  # fmt: skip
    assert minio.client.list_objects_v2(Bucket=settings[0].split("/")[2])["KeyCount"] == 0


def test_a_store_that_checks_little_of_large_objects_is_warned_of(
    look: Look, moto: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    [finding] = look("store", *on(moto, monkeypatch))
    assert finding.state == State.WARNING
    assert "completed against its condition" in finding.found and "finalize --tars" in finding.remedy


@pytest.mark.slow
def test_a_store_that_ignores_conditions_is_refused_by_doctor_and_by_every_stage(
    corpus: Path, look: Look, rclone: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = on(rclone, monkeypatch)
    [finding] = look("store", *settings)
    assert finding.state == State.FAILED and "a create must not overwrite" in finding.found
    sets = [f"--set={setting}" for setting in settings]
    assert main(["baseline", "--config", str(corpus / "resplice.toml"), "--run-id", "r", *sets]) == 2
    error = capsys.readouterr().err
    assert "not safe to publish on: a create must not overwrite" in error and "resplice doctor" in error


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ("bucket", "there is no such bucket"),
        ("secret", "is not allowed (SignatureDoesNotMatch"),
        ("key", "is not allowed (InvalidAccessKeyId"),
        ("endpoint", "no answer in"),
    ],
)
def test_what_is_wrong_with_an_object_store_is_one_line_with_its_remedy(
    wrong: str, found: str, look: Look, minio: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = on(minio, monkeypatch, "no-such-bucket" if wrong == "bucket" else "")
    if wrong in ("secret", "key"):
        monkeypatch.setenv({"secret": "AWS_SECRET_ACCESS_KEY", "key": "AWS_ACCESS_KEY_ID"}[wrong], "distinctive")
    settings = [*settings, "store.addressing=path"]  # a client of its own, with these credentials
    if wrong == "endpoint":
        settings.append(f"store.endpoint_url=http://127.0.0.1:{free_port()}")
        for name in ("FIRST_WAIT_S", "LONGEST_WAIT_S", "JITTER_S"):
            monkeypatch.setattr(requests, name, 0.001)
    requests._CLIENTS.clear()
    [finding] = look("workspace", *settings)
    requests._CLIENTS.clear()
    assert finding.state == State.FAILED and finding.remedy
    assert found in finding.found and "\n" not in finding.found and "distinctive" not in finding.found
