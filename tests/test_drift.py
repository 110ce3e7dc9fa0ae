"""What changed after the baseline is refused and, with --refresh, done again, alone; what was lost shows as a gap."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import recovering
from recovering import RUN, Corpus, ledger, outcome, refused

from resplice.io.rows import Rows

VIDEO, OTHERS = "collapsed-splits", ("clip_split0", "forced-cuts", "healthy-split-tar", "name-collision")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A demo corpus that the test may change."""
    return recovering.demo(tmp_path / "demo")


@pytest.fixture
def wave(tmp_path: Path) -> tuple[str, str]:
    """The flag that plans a few videos only; the rest is unaccounted, so that every run ends with 3."""
    path = tmp_path / "wave.txt"
    path.write_text("\n".join([VIDEO, *OTHERS]))
    return "--videos", str(path)


def recover(corpus: Corpus, *more: str, command: str = "recover", run: str = RUN) -> int:
    return corpus.recover(corpus.root / "workspace", *more, command=command, run=run)


def stage(corpus: Corpus, name: str, run: str = RUN) -> Path:
    return corpus.root / "workspace" / "runs" / run / name


def inodes(corpus: Corpus) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in (stage(corpus, "repair") / "transcribed").glob("*.tar")}


def outcomes(corpus: Corpus, name: str) -> dict[str, int]:
    """Return the process that reached the latest outcome of each unit."""
    return {unit: entry["seq"] for unit, entry in ledger(corpus.root / "workspace", name).items()}


def coverage(corpus: Corpus, run: str = RUN) -> dict[tuple[str, str], str]:
    rows = pq.read_table(stage(corpus, "verify", run) / "coverage.parquet").to_pylist()
    return {(row["video_id"], row["segment_file"]): row["bucket"] for row in rows}


def unaccounted(corpus: Corpus, run: str = RUN) -> set[tuple[str, str]]:
    return {row for row, bucket in coverage(corpus, run).items() if bucket == "unaccounted"}


def change_a_byte(corpus: Corpus) -> None:
    """Change one byte of the padding behind a member: another tar, the same audio."""
    path = corpus.root / "raw" / f"{VIDEO}.tar"
    with tarfile.open(path) as tar:
        end = next(m.offset_data + m.size for m in tar if m.size % 512)
    with path.open("r+b") as file:
        file.seek(end)
        file.write(b"x")


def database(corpus: Corpus, statement: str) -> None:
    with sqlite3.connect(corpus.root / "corpus.sqlite") as connection:
        assert connection.execute(statement, {"video": VIDEO}).rowcount == 1


ONE_ROW = "id = (select min(id) from transcription_results where video_id = :video)"


def change_a_row(corpus: Corpus) -> None:
    database(corpus, f"update transcription_results set transcription = 'another text' where {ONE_ROW}")


def delete_a_row(corpus: Corpus) -> None:
    database(corpus, f"delete from transcription_results where {ONE_ROW}")


def touch(corpus: Corpus) -> None:
    os.utime(corpus.root / "raw" / f"{VIDEO}.tar", (1, 1))


Change = Callable[[Corpus], None]
CHANGES = [
    (change_a_byte, {}),
    pytest.param(change_a_row, {}, marks=pytest.mark.slow),
    pytest.param(delete_a_row, {VIDEO: "segment_mismatch"}, marks=pytest.mark.slow),
    pytest.param(touch, {}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("change", "reasons"), CHANGES)
def test_a_video_that_changed_is_refused_alone_and_done_again_alone(
    corpus: Corpus, wave: tuple[str, str], change: Change, reasons: dict[str, str]
) -> None:
    workspace = corpus.root / "workspace"
    recover(corpus, *wave)
    refusals, tars, judged = refused(workspace, "repair"), inodes(corpus), outcomes(corpus, "validate")
    sound = unaccounted(corpus)
    change(corpus)
    assert recover(corpus, *wave, "--retry", "none") == 3
    assert refused(workspace, "repair") == {**refusals, VIDEO: "drifted"}
    lost = unaccounted(corpus) - sound
    assert lost and {video for video, _ in lost} == {VIDEO}
    recover(corpus, *wave, "--retry", "none", "--refresh")
    assert refused(workspace, "repair") == {**refusals, VIDEO: "drifted"}
    recover(corpus, *wave, "--refresh")
    assert refused(workspace, "repair") == {**refusals, **reasons}
    assert unaccounted(corpus) == sound
    tar = f"{VIDEO}_transcribed.tar"
    assert {**inodes(corpus), tar: 0} == {**tars, tar: 0} or reasons
    assert {unit for unit, seq in outcomes(corpus, "validate").items() if judged[unit] != seq} <= {VIDEO}


@pytest.mark.slow
def test_after_one_byte_of_a_raw_tar_changed_the_whole_corpus_is_completed_by_that_video(corpus: Corpus) -> None:
    workspace = corpus.root / "workspace"
    assert recover(corpus) == 0
    before, tars, repaired = outcome(workspace), inodes(corpus), outcomes(corpus, "repair")
    change_a_byte(corpus)
    assert recover(corpus) == 3
    assert [unit for unit, reason in refused(workspace, "repair").items() if reason == "drifted"] == [VIDEO]
    assert recover(corpus, "--refresh") == 0
    changed = {name for name, inode in inodes(corpus).items() if tars[name] != inode}
    assert changed == {f"{VIDEO}_transcribed.tar"}
    assert {unit for unit, seq in outcomes(corpus, "repair").items() if repaired[unit] != seq} == {VIDEO}
    after = outcome(workspace)
    same = [key for key in before if "/verify/coverage.parquet" in key or "/repair/" in key or "/validate/" in key]
    assert {key: after[key] for key in same} == {key: before[key] for key in same}


@pytest.mark.slow
@pytest.mark.parametrize("change", [touch])
def test_a_tar_with_another_version_and_the_same_bytes_is_not_done_again(
    corpus: Corpus, wave: tuple[str, str], change: Change
) -> None:
    recover(corpus, *wave)
    tars, repaired, judged = inodes(corpus), outcomes(corpus, "repair"), outcomes(corpus, "validate")
    change(corpus)
    recover(corpus, *wave, "--refresh")
    assert (inodes(corpus), outcomes(corpus, "repair"), outcomes(corpus, "validate")) == (tars, repaired, judged)
    assert refused(corpus.root / "workspace", "repair").keys() == {"name-collision"}


@pytest.mark.slow
@pytest.mark.parametrize(("retry", "again"), [("none", False), ("failed", False), ("all", True)])
def test_retry_says_which_units_a_second_process_works_on(
    corpus: Corpus, wave: tuple[str, str], retry: str, again: bool
) -> None:
    recover(corpus, *wave)
    before, first = outcome(corpus.root / "workspace"), outcomes(corpus, "repair")
    recover(corpus, *wave, "--retry", retry)
    assert outcome(corpus.root / "workspace") == before
    done = {unit for unit in first if unit not in refused(corpus.root / "workspace", "repair")}
    redone = {unit for unit, seq in outcomes(corpus, "repair").items() if seq != first[unit]}
    assert redone == (done if again else set())


@pytest.mark.slow
def test_a_lost_shard_and_a_lost_refusal_show_as_just_their_rows(corpus: Corpus) -> None:
    assert recover(corpus) == 0
    before = coverage(corpus)
    shard = sorted((stage(corpus, "validate") / "shards").glob("*.parquet"))[3]
    videos = set(pq.read_table(shard).column("video_id").to_pylist())
    shard.unlink()
    lines = (stage(corpus, "repair") / "refused.jsonl").read_text().splitlines(keepends=True)
    gone = next(number for number, line in enumerate(lines) if json.loads(line)["reason"] == "duration_mismatch")
    videos.add(json.loads(lines.pop(gone))["unit"])
    (stage(corpus, "repair") / "refused.jsonl").write_text("".join(lines))
    assert recover(corpus, command="merge") == 0
    assert recover(corpus, command="verify") == 3
    assert unaccounted(corpus) == {row for row in before if row[0] in videos}
    assert recover(corpus) == 0
    assert coverage(corpus) == before


@pytest.mark.slow
def test_a_new_run_plans_the_videos_with_a_row_outside_validated_and_tars_without_rows(corpus: Corpus) -> None:
    assert recover(corpus) == 0
    gaps = {video for (video, _), bucket in coverage(corpus).items() if bucket != "validated"}
    with_rows = {video for video, _ in coverage(corpus)}
    tars = {path.name.removesuffix("_transcribed.tar") for path in (corpus.root / "transcribed").iterdir()}
    assert recover(corpus, command="baseline", run="next") == 0
    assert recover(corpus, command="plan", run="next") == 0
    planned = set((stage(corpus, "plan", "next") / "affected.txt").read_text().splitlines())
    refused_ids = set(refused(corpus.root / "workspace", "plan", "next"))
    assert planned == (gaps | tars - with_rows) - refused_ids
    assert planned


def test_merge_reads_rows_again_only_where_the_database_has_another_version(
    corpus: Corpus, wave: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recover(corpus, *wave) == 3
    read: list[str] = []
    of = Rows.of
    monkeypatch.setattr(Rows, "of", lambda self, ids: read.extend(ids) or of(self, ids))
    assert recover(corpus, command="merge") == 0
    assert read == []
    os.utime(corpus.root / "corpus.sqlite")
    assert recover(corpus, command="merge") == 0
    assert VIDEO in read
