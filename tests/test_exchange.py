"""Validation by others: work lists out, their shards in."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import Corpus


@pytest.fixture
def repaired(planned: Callable[[], Corpus]) -> Corpus:
    corpus = planned()
    assert corpus("repair") == 0
    return corpus


def work(corpus: Corpus, folder: Path) -> list[dict[str, Any]]:
    assert corpus("validate", f"--export-work={folder}", "--parts=3") == 0
    files = sorted(folder.glob("*.jsonl"))
    assert len(files) == 3
    return [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]


def give(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name)


def test_a_work_list_names_tars_and_members_that_are_really_there(repaired: Corpus, tmp_path: Path) -> None:
    items = work(repaired, tmp_path / "work")
    assert {item["video_id"] for item in items} == set(repaired.plan()) - {
        line["unit"] for line in repaired.lines("repair/refused.jsonl")
    }
    for item in items:
        with tarfile.open(item["tar"]) as tar:
            names = tar.getnames()
        assert all(segment["member"] in names for segment in item["segments"])
        assert {s["db_segment_file"] for s in item["segments"]} == set(repaired.truth[item["video_id"]]["rows"])


def test_shards_of_others_stand_in_for_the_engines(repaired: Corpus, tmp_path: Path) -> None:
    items = work(repaired, tmp_path / "work")
    rows = [
        {"video_id": item["video_id"], "segment_file": s["stem"], "status": "passed", "wer": 0.25}
        for item in items
        for s in item["segments"]
    ]
    give(tmp_path / "given", "b.parquet", rows[::2])
    give(tmp_path / "given", "a.parquet", rows[1::2])
    assert repaired("validate", f"--from={tmp_path / 'given'}") == 0
    assert {(r["video_id"], r["segment_file"], r["status"], r["wer"], r["run_id"]) for r in repaired.results()} == {
        (row["video_id"], row["segment_file"], "passed", 0.25, "r") for row in rows
    }
    assert repaired("merge") == 0
    assert repaired("verify") == 0
    expected = {k: r["bucket"] for k, r in repaired.coverage().items()}
    truth = {(v, name): row["bucket"] for v, facts in repaired.truth.items() for name, row in facts["rows"].items()}
    assert expected == truth


def test_unknown_and_doubled_results_are_refused_and_missing_ones_stay_missing(
    repaired: Corpus, tmp_path: Path
) -> None:
    item = next(i for i in work(repaired, tmp_path / "work") if len(i["segments"]) > 2)
    video, stems = item["video_id"], [segment["stem"] for segment in item["segments"]]
    given = [
        {"video_id": video, "segment_file": stems[0], "status": "failed", "reasons": ["wrong words"]},
        {"video_id": video, "segment_file": stems[0], "status": "passed", "reasons": []},
        {"video_id": video, "segment_file": stems[0], "status": "passed", "reasons": []},
        {"video_id": video, "segment_file": "no-such-segment", "status": "passed", "reasons": []},
        {"video_id": "no-such-video", "segment_file": "a", "status": "passed", "reasons": []},
    ]
    give(tmp_path / "given", "all.parquet", given)
    assert repaired("validate", f"--from={tmp_path / 'given'}") == 0
    refused = {(line["unit"], line["segment"]): line["reason"] for line in repaired.lines("validate/refused.jsonl")}
    assert refused == {
        (video, stems[0]): "duplicate_result",
        (video, "no-such-segment"): "not_planned",
        ("no-such-video", "a"): "not_planned",
    }
    assert [(r["segment_file"], r["status"], r["reasons"]) for r in repaired.results()] == [
        (stems[0], "failed", ["wrong words"])
    ]
    assert repaired.json("validate/summary.json") == {
        "stage": "validate", "unit": "result", "in": 5, "done": 1, "skipped": 0, "refused": 4,
        "by_reason": {"duplicate_result": 2, "not_planned": 2},
    }  # fmt: skip
    assert repaired("merge") == 0
    assert repaired("verify") == 3


def test_engines_judge_again_after_the_results_of_others(repaired: Corpus, tmp_path: Path) -> None:
    assert repaired("validate") == 0
    own = {(r["video_id"], r["segment_file"], r["engine"]) for r in repaired.results()}
    rows = [{"video_id": video, "segment_file": name, "status": "failed"} for video, name, _ in sorted(own)]
    give(tmp_path / "given", "all.parquet", rows)
    assert repaired("validate", f"--from={tmp_path / 'given'}") == 0
    assert {(r["engine"], r["status"]) for r in repaired.results()} == {("foreign", "failed")}
    assert repaired("validate") == 0
    assert {(r["video_id"], r["segment_file"], r["engine"]) for r in repaired.results()} == own


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"video_id": ["v"], "segment_file": ["a"]}, "no column 'status'"),
        ({"video_id": [1], "segment_file": ["a"], "status": ["passed"]}, "expected string"),
        ({"video_id": ["v"], "segment_file": ["a"], "status": ["good"]}, "'good'"),
        ({"video_id": ["v"], "segment_file": ["a"], "status": ["passed"], "chars": [0.5]}, "give your measure another"),
        ({"video_id": ["v"], "segment_file": ["a"], "status": ["passed"], "rms_dbfs": ["-3"]}, "'rms_dbfs' is string"),
    ],
)
def test_shards_that_are_none_are_an_error_before_anything_counts(
    repaired: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], told: str
) -> None:
    (tmp_path / "given").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "given/x.parquet")
    assert repaired("validate", f"--from={tmp_path / 'given'}") == 2
    assert told in capsys.readouterr().err
