"""The story: a table of damages, all stages, exact buckets."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpus import Corpus

from resplice.transforms.flac import parse_streaminfo


def test_every_row_of_the_truth_ends_in_its_bucket_with_its_reason(recovered: Corpus) -> None:
    expected = {
        (video, name): (row["bucket"], row["reason"])
        for video, facts in recovered.truth.items()
        for name, row in facts["rows"].items()
    }
    found = {key: (row["bucket"], row["reason"]) for key, row in recovered.coverage().items()}
    assert found == expected


def test_the_plan_names_every_affected_video_with_all_its_reasons(recovered: Corpus) -> None:
    affected = {video: facts["affected"] for video, facts in recovered.truth.items() if facts["affected"]}
    assert recovered.plan() == affected


def test_repaired_tars_hold_the_audio_that_was_composed(recovered: Corpus) -> None:
    tars = sorted(recovered.path("repair/transcribed").glob("*_transcribed.tar"))
    assert len(tars) == recovered.json("repair/summary.json")["done"] > 40
    for path in tars:
        video = path.name.removesuffix("_transcribed.tar")
        with tarfile.open(path) as tar:
            found = {
                Path(member.name).name.removesuffix(".flac"): parse_streaminfo(tar.extractfile(member).read(42)).md5
                for member in tar
                if member.name.endswith(".flac")
            }
        assert found == recovered.truth[video]["audio_md5"], video


def test_a_repaired_tar_holds_one_json_a_row_and_an_index_of_every_member(recovered: Corpus) -> None:
    for path in recovered.path("repair/transcribed").glob("*_transcribed.tar"):
        video = path.name.removesuffix("_transcribed.tar")
        with tarfile.open(path) as tar:
            names = tar.getnames()
            segments = [json.load(tar.extractfile(name)) for name in names if "/transcriptions/" in name]
        assert names == sorted(names)
        assert {segment["segment_file"] for segment in segments} == set(recovered.truth[video]["rows"])
        assert all(segment["video_id"] == segment["row"]["video_id"] == video for segment in segments)
        index = json.loads(path.with_name(f"{video}.index.json").read_text("utf-8"))
        assert [entry["name"] for entry in index] == names


def test_every_summary_balances_and_every_refusal_has_a_line(recovered: Corpus) -> None:
    for stage in ("baseline", "plan", "repair", "validate", "merge", "verify"):
        summary = recovered.json(f"{stage}/summary.json")
        assert summary["in"] == summary["done"] + summary["skipped"] + summary["refused"]
        assert (
            sum(summary["by_reason"].values()) == summary["refused"] == len(recovered.lines(f"{stage}/refused.jsonl"))
        )


def test_coverage_sums_to_the_rows_and_is_complete(recovered: Corpus) -> None:
    coverage = recovered.json("verify/coverage.json")
    assert sum(coverage["buckets"].values()) == coverage["rows"] == recovered.json("baseline/baseline.json")["rows"]
    assert coverage["validated"] == coverage["passed"] + coverage["failed"] + coverage["unjudged"]
    assert coverage["complete"]
    assert set(coverage) == {
        "run_id", "snapshot", "rows", "validated", "passed", "failed", "unjudged", "buckets", "orphans", "drifted",
        "kept", "complete",
    }  # fmt: skip


def test_the_signal_engine_finds_the_bad_segments_that_were_planted(recovered: Corpus) -> None:
    reasons = Counter(reason for row in recovered.results() for reason in row["reasons"])
    assert {"silent", "clipped", "too_quiet", "too_short", "shifted_transcripts", "undecodable"} <= set(reasons)


def test_a_new_run_plans_exactly_what_is_not_validated_and_tars_without_rows(again: Corpus) -> None:
    outside = {video for (video, _), row in again.coverage().items() if row["bucket"] != "validated"}
    without_rows = {v for v, facts in again.truth.items() if facts["affected"] and not facts["rows"]}
    refused_ids = {line["unit"] for line in again.lines("plan/refused.jsonl")}
    assert again("baseline", run_id="second") == 0
    assert again("plan", run_id="second") == 0
    assert set(again.plan("second")) == (outside | without_rows) - refused_ids


def test_a_second_recovery_keeps_the_objects_of_untouched_shards(again: Corpus) -> None:
    assert again("recover", "--yes", run_id="second") == 0
    first, second = again.snapshot(1), again.snapshot(2)
    planned = set(again.plan("second"))
    key = {shard["source"]: (shard["key"], shard["sha256"]) for shard in first["shards"]}
    for shard in second["shards"]:
        if shard["run_id"] != "second":
            assert (shard["key"], shard["sha256"]) == key[shard["source"]]
    untouched = [s for s in first["shards"] if not planned & set(pq.read_table(
        again.workspace / s["key"], columns=["video_id"]).column(0).to_pylist())]  # fmt: skip
    assert all(shard in second["shards"] for shard in untouched)
    assert {k: v["bucket"] for k, v in again.coverage("second").items()} == {
        k: v["bucket"] for k, v in again.coverage().items()
    }


def test_a_planned_video_without_new_results_loses_its_old_ones_or_keeps_them_counted(fresh: Corpus) -> None:
    assert fresh("recover", "--yes", "--on-missing=keep") == 0
    coverage = fresh.json("verify/coverage.json")
    kept = [r for r in fresh.lines("merge/replacements.jsonl") if r["kept"]]
    rows = {video: facts["rows"] for video, facts in fresh.truth.items()}
    assert coverage["kept"] == sum(len(rows[record["video_id"]]) for record in kept) > 0
    assert coverage["complete"]
    refused = {key for key, row in fresh.coverage().items() if row["bucket"] not in ("validated",)}
    assert {video for video, _ in refused} >= {r["video_id"] for r in kept if rows[r["video_id"]]}


def test_a_wave_leaves_the_other_affected_videos_unaccounted(fresh: Corpus) -> None:
    assert fresh("recover", "--yes", "--limit=7") == 3
    plan, coverage = fresh.json("plan/plan.json"), fresh.json("verify/coverage.json")
    assert plan["videos"] == 7
    affected = {video for video, facts in fresh.truth.items() if facts["affected"]}
    assert plan["not_selected"] == len(affected) - 7
    left = affected - set(fresh.plan())
    unaccounted = {key for key, row in fresh.coverage().items() if row["bucket"] == "unaccounted"}
    assert unaccounted == {(v, name) for v in left for name in fresh.truth[v]["rows"]}
    assert coverage["buckets"]["unaccounted"] == len(unaccounted)


def test_waves_of_a_reason_or_a_list_add_up_to_the_whole(fresh: Corpus, tmp_path: Path) -> None:
    assert fresh("baseline") == 0
    assert fresh("plan", "--reason=tar_unreadable") == 0
    first = fresh.plan()
    assert first == {v: f["affected"] for v, f in fresh.truth.items() if "tar_unreadable" in f["affected"]}
    rest = sorted({v for v, f in fresh.truth.items() if f["affected"]} - set(first))
    (tmp_path / "rest.txt").write_text("".join(f"{v}\n" for v in rest), "utf-8")
    assert fresh("plan", f"--videos={tmp_path / 'rest.txt'}") == 0
    assert sorted(fresh.plan()) == rest


def test_a_canary_is_continued_by_the_full_run(fresh: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert fresh("recover", "--canary=9") == 0
    printed = capsys.readouterr().out
    assert "canary: 9 of" in printed and "95 %" in printed
    done = {path: path.stat().st_mtime_ns for path in fresh.path("repair/transcribed").glob("*.tar")}
    assert 0 < len(done) <= 9
    assert not list(fresh.workspace.glob("snapshots/*"))
    assert fresh("recover", "--yes") == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_a_canary_that_is_refused_too_often_stops(fresh: Corpus) -> None:
    assert fresh("recover", "--canary=9", "--max-refused=0.01") == 3


def test_recover_stops_after_the_plan_without_yes(fresh: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert fresh("recover") == 2
    assert "--yes" in capsys.readouterr().err
    assert fresh.path("plan/plan.json").is_file() and not fresh.path("repair").exists()


def test_a_stage_out_of_order_names_the_command_to_run(fresh: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    before = {"plan": "baseline", "repair": "plan", "validate": "repair", "merge": "validate", "verify": "merge"}
    for stage, missing in before.items():
        assert fresh(stage) == 2
        assert f"resplice {missing} --run-id r" in capsys.readouterr().err
        if missing != "merge":
            assert fresh(missing) == 0
            capsys.readouterr()


def test_an_edited_plan_is_a_conflict(again: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    with again.path("plan/affected.txt").open("a") as file:
        file.write("intruder\n")
    for stage in ("repair", "validate", "merge", "verify"):
        assert again(stage) == 4
        assert "affected.txt" in capsys.readouterr().err


def test_another_run_that_replaced_the_same_videos_is_a_conflict(again: Corpus) -> None:
    shutil.copytree(again.path("."), again.workspace / "runs/other")
    snapshot = again.workspace / "snapshots"
    shutil.rmtree(snapshot)
    for run_id in ("one", "two"):
        assert again("baseline", run_id=run_id) == 0
        assert again("plan", "--limit=3", run_id=run_id) == 0
        assert again("repair", run_id=run_id) == 0
        assert again("validate", run_id=run_id) == 0
    assert again("merge", run_id="one") == 0
    assert again("merge", run_id="two") == 4
    assert len(list(snapshot.glob("*.json"))) == 2
