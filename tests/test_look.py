"""status, failed and inspect: what they tell is what the files say, and they write nothing but `--out`."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from owned import owned

from resplice.io import ledger, refusals, shards, sidecars, snapshots
from resplice.io.context import Context
from resplice.io.inspection import inspect as facts_of
from resplice.io.ledger import Entry
from resplice.io.local import LocalStore
from resplice.io.refusals import Refused
from resplice.pipelines import demo
from resplice.pipelines.__main__ import main
from resplice.pipelines.checks import read_ids
from resplice.pipelines.config import resolve
from resplice.pipelines.inspecting import side_by_side
from resplice.transforms import provenance
from resplice.transforms.provenance import Run
from resplice.transforms.records import Reason, Refusal
from resplice.transforms.replace import RUN, Shard, Snapshot, merged

VIDEO = "canonical-rows"
"""A video of the demo whose tar is right, with two splits and one historical result a segment."""
DONE = {"seq": 1, "command": "repair", "argv": [], "start": "2026-01-01T00:00:00.000Z",
        "end": "2026-01-01T00:00:09.000Z", "exit": 0, "counts": {}}  # fmt: skip
OPEN = {**DONE, "seq": 2, "command": "validate", "end": None, "exit": None}


def refusal(stage: str, unit: str, reason: Reason, detail: str = "why") -> Refused:
    return Refused("r1", stage, unit, "", str(reason), detail, "2026-01-01T00:00:00.000Z")


def put_stage(store: LocalStore, stage: str, refused: list[Refused], total: int, done: int, skipped: int) -> None:
    refusals.write(store, f"runs/r1/{stage}", refused)
    refusals.summarise(store, f"runs/r1/{stage}", stage, total, done, skipped)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run r1: repair has ended, validate is at work; and the current folder is the corpus."""
    (tmp_path / "resplice.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    store = LocalStore(str(tmp_path / "workspace"))
    store.create("runs/r1/run.json", provenance.document({"run_id": "r1", "processes": [DONE, OPEN]}))
    store.create("runs/r1/plan/plan.json", provenance.document({"videos": 8}))
    refused = [refusal("repair", f"v{n}", Reason.RAW_MISSING) for n in (4, 1, 2, 3)]
    put_stage(store, "repair", [*refused, refusal("repair", "w", Reason.CRASHED)], 8, 2, 1)
    put_stage(store, "plan", [refusal("plan", "bad\nid", Reason.BAD_NAME)], 10, 8, 1)
    dead = Entry.refused("x", Refusal(Reason.TAR_MISSING, "[red]gone[/]\x1b"), "", 2)
    ledger.save(store, "runs/r1/validate", "0", [Entry("v5", "done", seq=2), dead])
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# status


def test_status_tells_ended_stages_by_their_summary_and_others_by_their_ledger(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = said(capsys, "status", "--run-id", "r1")["stages"]
    assert list(stages) == ["plan", "repair", "validate"]
    by_reason = {"crashed": 1, "raw_missing": 4}
    assert stages["repair"] == {"state": "ended", "unit": "video", "in": 8, "done": 2, "skipped": 1, "refused": 5,
                                "by_reason": by_reason}  # fmt: skip
    assert stages["validate"] == {"state": "begun", "unit": "video", "in": 8, "done": 1, "skipped": None,
                                  "refused": 1, "by_reason": {"tar_missing": 1}}  # fmt: skip


def test_status_tells_the_process_that_has_no_end(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = said(capsys, "status", "--run-id", "r1")
    assert facts["processes"] == [DONE, OPEN] and facts["coverage"] is None
    assert facts["open"] == [{"seq": 2, "state": "unknown", "seen": OPEN["start"], "at_work": None}]
    assert main(["status", "--run-id", "r1"]) == 0
    out = capsys.readouterr().out
    assert "process 2 (validate) has recorded no end" in out and "raw_missing 4" in out


def test_status_tells_an_ended_run_and_its_coverage(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = LocalStore(str(root / "workspace"))
    store.replace("runs/r1/run.json", provenance.document({"run_id": "r1", "processes": [DONE]}), None)
    coverage = {"rows": 5, "complete": False, "buckets": {"validated": 4, "unaccounted": 1}}
    store.create("runs/r1/verify/coverage.json", provenance.document(coverage))
    facts = said(capsys, "status", "--run-id", "r1")
    assert facts["open"] == [] and facts["coverage"] == coverage
    assert main(["status", "--run-id", "r1"]) == 0
    out = capsys.readouterr().out
    assert "coverage not complete: 5 rows, unaccounted 1, validated 4" in out and "no end" not in out


def test_status_of_a_run_that_only_began(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LocalStore(str(root / "workspace")).create("runs/r2/run.json", b'{"run_id": "r2", "processes": []}')
    assert said(capsys, "status", "--run-id", "r2")["stages"] == {}
    assert main(["status", "--run-id", "r2"]) == 0


@pytest.mark.parametrize("command", ["status", "failed"])
def test_an_unknown_run_is_usage_and_names_the_known_ones(
    root: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--run-id", "r9"]) == 2
    assert "no run 'r9'" in (err := capsys.readouterr().err) and "(there: r1)" in err
    shutil.rmtree("workspace")
    assert main([command, "--run-id", "r9"]) == 2
    assert "(there: none)" in capsys.readouterr().err


# failed


def groups(facts: Any) -> list[tuple[str, str, int]]:
    return [(group["stage"], group["reason"], group["units"]) for group in facts["groups"]]


ALL = [("plan", "bad_name", 1), ("repair", "crashed", 1), ("repair", "raw_missing", 4), ("validate", "tar_missing", 1)]


@pytest.mark.parametrize(
    ("flags", "wanted", "listed"),
    [
        ([], ALL, ["v1", "v2", "v3", "v4", "w", "x"]),
        (["--stage", "repair"], ALL[1:3], ["v1", "v2", "v3", "v4", "w"]),
        (["--reason", "crashed", "--reason", "tar_missing"], [ALL[1], ALL[3]], ["w", "x"]),
        (["--stage", "repair", "--reason", "tar_missing"], [], []),
        (["--stage", "verify"], [], []),
    ],
)
def test_failed_groups_and_lists_the_refusals(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    wanted: list[tuple[str, str, int]],
    listed: list[str],
) -> None:
    facts = said(capsys, "failed", "--run-id", "r1", *flags, "--out", "lists/again.txt")
    assert groups(facts) == wanted
    assert Path("lists/again.txt").read_text() == "".join(f"{id_}\n" for id_ in listed)
    assert read_ids("lists/again.txt") == listed
    assert [p.name for p in Path("lists").iterdir()] == ["again.txt"]


def test_failed_shows_some_examples_as_plain_text(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [group] = said(capsys, "failed", "--run-id", "r1", "--reason", "raw_missing")["groups"]
    assert [line["unit"] for line in group["examples"]] == ["v1", "v2", "v3"]
    assert main(["failed", "--run-id", "r1"]) == 0
    out = capsys.readouterr().out
    assert "[red]gone[/]\\x1b" in out and "bad\\nid" in out and "\x1b" not in out


def test_failed_replaces_a_former_list_and_leaves_out_what_is_no_id(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("again.txt").write_text("old\n" * 1000)
    assert main(["failed", "--run-id", "r1", "--stage", "plan", "--out", "again.txt"]) == 0
    assert Path("again.txt").read_text() == ""
    assert "1 that are no valid video_id left out" in capsys.readouterr().err


def test_failed_lists_units_that_are_no_videos_as_they_are(root: Path) -> None:
    store, names = LocalStore("workspace"), ("draft.csv:a b:2025-01-01T00:00:00Z", "line\nend", "é/../x.wav")
    put_stage(store, "documents", [refusal("documents", name, Reason.INVALID_ROW) for name in names], 3, 0, 0)
    assert main(["failed", "--run-id", "r1", "--stage", "documents", "--out", "again.txt"]) == 0
    assert Path("again.txt").read_text("utf-8") == "draft.csv:a b:2025-01-01T00:00:00Z\nline\\nend\né/../x.wav\n"


def test_they_write_nothing(root: Path) -> None:
    before = sidecars.described_folder(root)
    for argv in (["status"], ["status", "--json"], ["failed"], ["failed", "--json"]):
        assert main([*argv, "--run-id", "r1"]) == 0
    assert sidecars.described_folder(root) == before


# inspect


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    demo.write(demo.Args(str(folder), size=1))
    return folder


def inspect(corpus: Path, capsys: pytest.CaptureFixture[str], video: str) -> str:
    assert main(["inspect", "--config", str(corpus / "resplice.toml"), "--", video]) == 0
    return capsys.readouterr().out


def test_inspect_shows_every_video_of_the_demo_in_120_columns_and_writes_nothing(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sidecars.described_folder(corpus)
    for video in json.loads((corpus / "truth.json").read_text()):
        out = inspect(corpus, capsys, video)
        assert f"video {video}: " in out and "raw tar: " in out and "transcribed tar: " in out
        assert max(map(len, out.splitlines()[3:])) <= 120
    assert sidecars.described_folder(corpus) == before


def run_on(workspace: Path, corpus: Path) -> Context:
    """Return the context of run r1 on the demo, in a workspace of its own."""
    settings = resolve(str(corpus / "resplice.toml"), [f"corpus.workspace={workspace}"], {}).settings
    context = Context(Run("r1", "", "inspect", ""), settings)
    context.workspace.store.create("runs/r1/run.json", provenance.document({"run_id": "r1", "processes": []}))
    return context


def parquet(context: Context, key: str, rows: list[dict[str, Any]]) -> None:
    context.workspace.store.create(f"runs/r1/{key}", shards.encode(pa.Table.from_pylist(rows), {}))


def column(context: Context, name: str) -> dict[str, str]:
    columns, lines = side_by_side(facts_of(context, VIDEO))
    return {line[0]: line[columns.index(name)] for line in lines}


def test_inspect_shows_old_and_new_results_before_and_after_the_merge(corpus: Path, tmp_path: Path) -> None:
    context = run_on(tmp_path, corpus)
    store, stem = context.workspace.store, "12%2E5_split0"
    result = {"video_id": VIDEO, "segment_file": stem, "status": "failed", "reasons": ["clipped", "rate_low"]}
    parquet(context, "validate/shards/0.parquet", [result, {**result, "video_id": "other"}])
    old, new = column(context, "old result"), column(context, "new result")
    assert set(old.values()) == {"passed"} and len(old) == 3
    assert new == {**dict.fromkeys(old, "-"), stem: "failed (not merged)\nclipped\nrate_low\nr1"}

    key, sha = owned(store, "runs/r1/validate/shards/0.parquet", ".parquet")
    live = [
        snapshots.adopt(store, context.validation.store, s) for s in snapshots.live(store, context.validation.store)
    ]
    shard = Shard("runs/r1/validate/shards/0.parquet", "", RUN, "r1", 2, key, sha)
    drops = {s.key: [VIDEO] for s in live}
    snapshots.publish(store, merged(Snapshot(), live, [shard], drops, {VIDEO: None}, "r1", ""))
    assert column(context, "old result") == dict.fromkeys(old, "passed (replaced)")
    assert column(context, "new result")[stem] == "failed\nclipped\nrate_low\nr1"


def test_inspect_shows_what_a_run_did_with_the_video(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = run_on(tmp_path, corpus)
    argv = ["inspect", "--config", str(corpus / "resplice.toml"), "--set", f"corpus.workspace={tmp_path}", VIDEO]
    assert main([*argv, "--run-id", "r1"]) == 0
    assert "run r1: not planned" in capsys.readouterr().out
    parquet(context, "plan/affected.parquet", [{"video_id": VIDEO, "reasons": ["split_rows", "tar_mismatch"]}])
    covered = {"video_id": VIDEO, "segment_file": "?", "bucket": "raw_missing", "status": None, "reason": "raw_missing"}
    parquet(context, "verify/coverage.parquet", [{**covered, "stem": "12%2E5_split1"}, {**covered, "stem": None}])
    lines = [refusal("repair", VIDEO, Reason.RAW_MISSING), refusal("repair", "other", Reason.CRASHED)]
    put_stage(LocalStore(str(tmp_path)), "repair", lines, 2, 0, 0)
    assert main([*argv, "--run-id", "r1"]) == 0
    out = capsys.readouterr().out
    assert "run r1: planned: split_rows, tar_mismatch\n" in out
    assert "run r1: repair refused it: raw_missing: why\n" in out and "crashed" not in out
    assert column(context, "coverage") == {
        "12%2E5_split0": "-",
        "12%2E5_split1": "raw_missing\nraw_missing",
        "a%5Fsplit3": "-",
        "(bad_name)": "raw_missing\nraw_missing",
    }


def states(out: str) -> tuple[str, str]:
    [raw] = [line for line in out.splitlines() if line.startswith("raw tar: ")]
    [tar] = [line for line in out.splitlines() if line.startswith("transcribed tar: ")]
    return raw.removeprefix("raw tar: "), tar.removeprefix("transcribed tar: ")


def test_inspect_shows_a_collapsed_video_stem_by_stem(corpus: Path) -> None:
    video = next(v for v, t in json.loads((corpus / "truth.json").read_text()).items() if "split_rows" in t["affected"])
    resolved = resolve(str(corpus / "resplice.toml"), [], {})
    columns, lines = side_by_side(facts_of(Context(Run("", "", "inspect", ""), resolved.settings), video))
    with sqlite3.connect(corpus / "corpus.sqlite") as connection:
        query = "SELECT id, segment_file FROM transcription_results WHERE video_id = ?"
        wanted = {f"{id_}: {name}" for id_, name in connection.execute(query, (video,))}
    assert columns == ["stem", "row in the database", "raw", "transcribed", "old result", "new result"]
    assert {text for line in lines for text in line[1].splitlines() if ": " in text} >= wanted
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)


@pytest.mark.parametrize(
    ("break_", "raw", "transcribed"),
    [
        (lambda raw, tar: raw.unlink(), "missing", "ok, "),
        (lambda raw, tar: tar.unlink(), "ok, ", "missing"),
        (lambda raw, tar: tar.write_bytes(tar.read_bytes()[:700]), "ok, ", "unreadable: short_header"),
        (lambda raw, tar: raw.write_bytes(b"x" * 1024), "unreadable: bad_checksum", "ok, "),
        (lambda raw, tar: (raw.unlink(), raw.mkdir()), "missing", "ok, "),
    ],
)
def test_inspect_shows_what_is_wrong_with_a_tar(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], break_: Any, raw: str, transcribed: str
) -> None:
    copy = tmp_path / "copy"
    for name in ("raw", "transcribed", "validation"):
        (copy / name).mkdir(parents=True)
    for name in ("corpus.sqlite", "resplice.toml"):
        shutil.copy(corpus / name, copy)
    tars = (Path("raw", f"{VIDEO}.tar"), Path("transcribed", f"{VIDEO}_transcribed.tar"))
    for tar in tars:
        shutil.copy(corpus / tar, copy / tar)
    assert states(inspect(copy, capsys, VIDEO))[1].endswith("it fits the rows")
    break_(*(copy / tar for tar in tars))
    found = states(inspect(copy, capsys, VIDEO))
    assert found[0].startswith(raw) and found[1].startswith(transcribed)


def test_inspect_shows_unreadable_results_and_the_rest(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"half a file")
    shutil.copy(next((corpus / "validation").rglob("*.parquet")), tmp_path / "good.parquet")
    argv = ["inspect", "--config", str(corpus / "resplice.toml"), "--set", f"corpus.validation={tmp_path}"]
    assert main([*argv, VIDEO]) == 0
    out = capsys.readouterr().out
    assert "not readable: results: bad.parquet: parquet_footer" in out and "it fits the rows" in out


def test_inspect_without_a_database_shows_the_tars(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["inspect", "--config", str(corpus / "resplice.toml"), "--set", "database.url=sqlite:///nowhere.sqlite"]
    assert main([*argv, VIDEO]) == 0
    out = capsys.readouterr().out
    assert "raw tar: ok" in out and "not readable: database.url: there is no file" in out


@pytest.mark.parametrize("video", ["nobody", "../corpus", "a/b", "x" * 5000, "\x1b[31m"])
def test_an_unknown_video_is_usage(corpus: Path, capsys: pytest.CaptureFixture[str], video: str) -> None:
    assert main(["inspect", "--config", str(corpus / "resplice.toml"), "--", video]) == 2
    said_ = capsys.readouterr()
    assert said_.out == "" and "no video" in said_.err and "\x1b" not in said_.err


def test_inspect_of_an_unknown_run_is_usage(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["inspect", "--config", str(corpus / "resplice.toml"), VIDEO, "--run-id", "never"]
    assert main(argv) == 2
    assert "there is no run 'never'" in capsys.readouterr().err
