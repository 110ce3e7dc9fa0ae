"""`embed` of the segments of videos: what the tars hold, keyed by video, joined to the live results."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from corpus import Corpus

from resplice.io.local import LocalStore
from resplice.io.shards import current


def embedded(corpus: Corpus, folder: Path, *options: str, run: str = "e") -> tuple[pa.Table, dict[str, int]]:
    checkpoint = folder / "checkpoint.json"
    more = (f"--out={folder / 'out'}", f"--checkpoint-file={checkpoint}", "--resume", *options)
    assert corpus("embed", *more, run_id=run) in (0, 3)  # 3: nothing was left but what fails
    return current(LocalStore(str(folder / "out"))), json.loads(checkpoint.read_bytes())["counters"]


def test_the_segments_of_a_run_are_embedded_out_of_their_tars_with_their_results(again: Corpus, tmp_path: Path) -> None:
    table, counters = embedded(again, tmp_path, "--of-run", "r", "--with-results")
    rows = {row["key"]: row for row in table.to_pylist()}
    results = {f"{row['video_id']}/{row['segment_file']}": row for row in again.results()}
    log = map(json.loads, (tmp_path / "checkpoint_failed.jsonl").read_text().splitlines())
    failed = {line["path"]: line["reason"] for line in log}
    assert (counters["succeeded"], counters["failed"]) == (len(rows), len(failed))
    assert {key: failed[key] for key in set(results) - set(rows)} == {"undecodable-in-tar/seg_0001": "undecodable"}
    for key, row in ((key, row) for key, row in results.items() if key in rows):
        assert rows[key]["status"] == row["status"] and rows[key]["reasons"] == row["reasons"], key
        assert key == f"{rows[key]['video_id']}/{rows[key]['segment_file']}"
        assert rows[key]["duration_s"] == pytest.approx(row["duration_s"], abs=1e-3)
    assert "path" not in table.column_names

    same, counters = embedded(again, tmp_path, "--of-run", "r", "--with-results", run="second")
    assert same.equals(table) and counters["queued"] == counters["failed"]


def test_results_are_added_to_what_is_embedded_without_embedding_it_again(
    again: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, _ = embedded(again, tmp_path, "--of-run", "r")
    capsys.readouterr()
    table, counters = embedded(again, tmp_path, "--of-run", "r", "--with-results")
    assert counters["succeeded"] == len(plain) and " 0 contents embedded" in capsys.readouterr().out
    assert table.column("vector").to_pylist() == plain.column("vector").to_pylist()
    assert pc.any(pc.is_valid(table.column("status"))).as_py()
    _, counters = embedded(again, tmp_path, "--of-run", "r", "--with-results")
    assert counters["succeeded"] == 0


def test_named_videos_are_those_of_the_corpus_and_one_without_a_tar_is_refused(again: Corpus, tmp_path: Path) -> None:
    whole, _ = embedded(again, tmp_path / "run", "--of-run", "r")
    video = whole.column("video_id")[0].as_py()
    (tmp_path / "ids.txt").write_text(f"\ufeff{video}\r\nnowhere\n")
    table, counters = embedded(again, tmp_path / "ids", "--videos", str(tmp_path / "ids.txt"))
    of_video = whole.filter(pc.equal(whole.column("video_id"), video))
    assert table.column("key").to_pylist() == of_video.column("key").to_pylist()
    assert table.column("vector").to_pylist() == of_video.column("vector").to_pylist()
    assert (counters["succeeded"], counters["failed"]) == (len(table), 1)
    log = (tmp_path / "ids/checkpoint_failed.jsonl").read_text()
    assert json.loads(log)["path"] == "nowhere" and json.loads(log)["reason"] == "missing"


def test_a_video_id_that_is_none_and_a_run_that_is_not_there_are_exit_2(
    again: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ids in ("../x\n", "", "\ufeff\n \n"):
        (tmp_path / "ids.txt").write_text(ids)
        assert again("embed", "--videos", str(tmp_path / "ids.txt"), run_id="wrong-ids") == 2
    assert not list(again.workspace.rglob("wrong-ids"))
    capsys.readouterr()
    assert again("embed", "--of-run", "nope", run_id="e") == 2
    assert "resplice plan --run-id nope" in capsys.readouterr().err
