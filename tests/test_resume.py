"""What earlier processes achieved is kept: by a canary, by another packing of the work, by a folder that went away."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import Corpus

from resplice.pipelines.__main__ import main
from resplice.transforms import affected

Planned = Callable[[], Corpus]


@pytest.fixture
def few_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several videos an item, as a large corpus has them."""
    monkeypatch.setattr(affected, "MIN_ITEMS", 5)


def seqs(corpus: Corpus, stage: str) -> dict[str, int]:
    files = corpus.path(f"{stage}/ledger").glob("*.jsonl")
    entries = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    return {entry["unit"]: max(e["seq"] for e in entries if e["unit"] == entry["unit"]) for entry in entries}


def verdicts(corpus: Corpus) -> set[tuple[str, str, str]]:
    return {(row["video_id"], row["segment_file"], row["status"]) for row in corpus.results()}


def test_a_canary_beside_finished_work_loses_no_result(fresh: Corpus, few_items: None) -> None:
    assert fresh("recover", "--yes") == 0
    before = verdicts(fresh)
    assert len(list(fresh.path("validate/shards").glob("*.parquet"))) < 12
    assert fresh("recover", "--canary=5") == 0
    assert verdicts(fresh) == before
    assert fresh("recover", "--yes") == 0
    assert not (fresh.workspace / "snapshots/00000002.json").exists()


def test_another_packing_of_the_work_judges_nothing_again(
    again: Corpus, few_items: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = verdicts(again)
    asked: list[str] = []
    from resplice.io import asking

    judge = asking._Worker.judge
    monkeypatch.setattr(asking._Worker, "judge", lambda self, group: (asked.append(""), judge(self, group))[1])
    assert again("validate") == 0
    assert asked == [] and verdicts(again) == before


@pytest.mark.parametrize("stage", ["repair", "validate", "merge", "verify"])
def test_a_folder_that_is_not_there_is_an_error_and_not_missing_tars(
    again: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    tars = sorted(again.path("repair/transcribed").glob("*.tar"))
    assert again(stage, f"--set=corpus.raw={tmp_path / 'nowhere'}") == 2
    assert "corpus.raw: there is no folder" in capsys.readouterr().err
    assert sorted(again.path("repair/transcribed").glob("*.tar")) == tars


WRONG_PLACES = [
    ("recover", ("corpus.workspace={file}",), "{file} is a file; name a folder"),
    ("status", ("corpus.workspace={file}",), "{file} is a file; name a folder"),
    ("baseline", ("database.url=sqlite:///{folder}",), "{folder} is a folder; name the SQLite file"),
    ("verify", (), "first run `resplice merge --run-id typo` (there is no such run; known: r)"),
]


@pytest.mark.parametrize(("command", "given", "said"), WRONG_PLACES)
def test_a_place_or_run_that_is_none_is_told_with_the_remedy(
    again: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, given: tuple[str, ...], said: str
) -> None:
    names = {"file": tmp_path / "file", "folder": tmp_path / "folder"}
    names["file"].touch()
    names["folder"].mkdir()
    flags = [f"--set={setting.format(**names)}" for setting in given]
    assert again(command, *flags, run_id="typo") == 2
    assert said.format(**names) in capsys.readouterr().err


def test_a_refusal_removes_nothing_and_what_was_made_counts_when_its_inputs_are_back(
    demo_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    for path in demo_folder.iterdir():
        shutil.copytree(path, folder / path.name) if path.is_dir() else shutil.copy(path, folder)
    corpus = Corpus(folder, tmp_path / "workspace")
    (tmp_path / "one.txt").write_text("collapsed-splits\n")
    for command in ("baseline", f"plan --videos={tmp_path / 'one.txt'}", "repair"):
        assert corpus(command) == 0
    tar = corpus.path("repair/transcribed/collapsed-splits_transcribed.tar")
    made = tar.stat()
    raw = folder / "raw/collapsed-splits.tar"
    raw.rename(tmp_path / "aside.tar")
    assert corpus("repair") == 0
    assert corpus.json("repair/summary.json")["by_reason"] == {"raw_missing": 1}
    (tmp_path / "aside.tar").rename(raw)
    assert corpus("baseline", "--refresh") == 0
    assert corpus("repair") == 2  # the plan is of the baseline before
    assert corpus(f"plan --videos={tmp_path / 'one.txt'}") == 0
    assert corpus("repair") == 0
    assert corpus.json("repair/summary.json")["done"] == 1
    assert (tar.stat().st_mtime_ns, tar.stat().st_ino) == (made.st_mtime_ns, made.st_ino)


def test_every_sidecar_of_a_recovery_verifies_and_names_its_tars(recovered: Corpus) -> None:
    sidecars = sorted(recovered.workspace.rglob("*.manifest.json"))
    assert len(sidecars) > 100
    for sidecar in sidecars:
        assert main(["manifest", "verify", str(sidecar), "--quiet"]) == 0
    shard = next(iter(sorted(recovered.path("validate/shards").glob("*.manifest.json"))))
    inputs: dict[str, Any] = json.loads(shard.read_text("utf-8"))["run_provenance"]["inputs"]
    assert inputs and all(Path(entry["path"]).is_file() and entry["sha256"] for entry in inputs.values())


def test_pack_packs_new_videos_and_refuses_what_is_there(fresh: Corpus, tmp_path: Path) -> None:
    ids = ["tar-missing", "collapsed-splits", "bad id", "raw-missing"]
    (tmp_path / "new.txt").write_text("".join(f"{id_}\n" for id_ in ids), "utf-8")
    assert fresh("pack", f"--videos={tmp_path / 'new.txt'}") == 0
    assert [path.name for path in fresh.path("pack/transcribed").glob("*.tar")] == ["tar-missing_transcribed.tar"]
    refused = {line["unit"]: line["reason"] for line in fresh.lines("pack/refused.jsonl")}
    assert refused == {"collapsed-splits": "exists", "bad id": "bad_name", "raw-missing": "exists"}
    assert fresh.json("pack/summary.json")["done"] == 1


def test_originals_without_rows_are_left_out_on_request(planned: Planned, tmp_path: Path) -> None:
    corpus = planned()
    (tmp_path / "one.txt").write_text("audio-without-rows\n")
    assert corpus(f"plan --videos={tmp_path / 'one.txt'}") == 0
    assert corpus.json("plan/plan.json")["originals_without_rows"] == 1
    assert corpus("repair") == 0
    assert corpus.json("repair/summary.json")["by_reason"] == {"segment_mismatch": 1}
    assert corpus("repair", "--set=repair.originals_without_rows=leave_out") == 0
    assert corpus.json("repair/summary.json")["done"] == 1


def test_files_have_exactly_their_keys_and_columns(recovered: Corpus) -> None:
    assert set(recovered.json("baseline/baseline.json")) == {
        "run_id", "videos", "rows", "split_rows", "raw_tars", "transcribed_tars", "tar_segments", "tar_transcriptions",
        "historical_rows", "videos_by_status",
    }  # fmt: skip
    assert set(recovered.json("plan/plan.json")) == {
        "run_id", "videos", "by_reason", "affected_sha256", "baseline_sha256", "raw_bytes", "audio_s", "estimate_s",
        "snapshot", "not_selected", "originals_without_rows",
    }  # fmt: skip
    process = recovered.json("run.json")["processes"][0]
    assert set(process) == {
        "seq", "command", "argv", "start", "end", "exit", "counts", "seconds", "host", "pid", "at_work",
    }  # fmt: skip
    assert list(process["seconds"]) == sorted(["baseline", "plan", "repair", "validate", "merge", "verify"])
    line = recovered.lines("repair/refused.jsonl")[0]
    assert set(line) == {"run_id", "stage", "unit", "segment", "reason", "detail", "at"}
    assert list(recovered.table("baseline/rows/00000.parquet")[0]) == ["id", "video_id", "segment_file"]


def test_each_process_records_the_seconds_of_its_own_stages(again: Corpus) -> None:
    before = again.json("run.json")["processes"]
    assert again("validate") == again("verify") == 0
    *first, validate, verify = again.json("run.json")["processes"]
    assert first == before
    assert (list(validate["seconds"]), list(verify["seconds"])) == (["validate"], ["verify"])
    assert all(value >= 0 and round(value, 3) == value for value in (*validate["seconds"].values(),))
    assert verify["at_work"] is None and verify["pid"] and verify["host"]


def test_the_database_is_never_written_before_finalize(recovered: Corpus) -> None:
    uri = f"file:{recovered.folder / 'corpus.sqlite'}?mode=ro"
    with sqlite3.connect(uri, uri=True) as database:
        statuses = {row[0] for row in database.execute("SELECT DISTINCT validation_status FROM videos")}
    assert "validation_failed" in statuses
