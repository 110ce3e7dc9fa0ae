"""`corpus konvid-pairs` and `corpus full-features`, from the outside; the tool is the real ffmpeg."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from clips import FFMPEG, copy, counted, konvid, pair, sidecar, truncated, video, wrapper

from resplice.pipelines.__main__ import main
from resplice.transforms.vmaf import FULL_FEATURES

KONVID = ["key", "frame_index", "vif_scale0", "vif_scale1", "vif_scale2", "vif_scale3", "adm2", "motion2", "vmaf"]
FEATURES = ["source", "dis_basename", "frame_index", "codec", "teacher_model", "vmaf", *FULL_FEATURES]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(*more: str, root: str = "k", out: str = "k.parquet") -> int:
    return main(["corpus", "konvid-pairs", "--konvid-root", root, "--out", out, "--quiet", *more])


def features(*more: str) -> int:
    return main(["corpus", "full-features", "--data-root", "n", "--out", "n.parquet", "--quiet", *more])


def table(path: str) -> Any:
    return pq.read_table(path)


def failed(out: str = "k.parquet") -> dict[str, str]:
    told = sidecar(Path(out))
    assert told["failed_clips"] == [{"clip": line["unit"], "reason": line["reason"]} for line in told["refused"]]
    stats = told["stats"]
    assert stats["clips_selected"] == stats["clips_processed"] + stats["clips_failed"]
    return {line["clip"]: line["reason"] for line in told["failed_clips"]}


def log_of_calls(here: Path) -> str:
    return wrapper(here / "counting", f'echo "$@" >> {here}/calls')


def calls(here: Path, of: str) -> int:
    """Return how often the tool was called for something since the last look."""
    file = here / "calls"
    text = file.read_text() if file.exists() else ""
    file.unlink(missing_ok=True)
    return sum(of in line for line in text.splitlines() if "gray.yuv" not in line)


def test_each_frame_of_each_clip_is_a_row_and_a_broken_clip_is_one_failed_clip(here: Path) -> None:
    root = konvid(here / "k", "a", "b") / "KoNViD_1k_videos"
    (root / "torn.mp4").write_bytes(truncated())
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("no video")
    video(root / "odd.mp4", "65x48", 3, 25, "-vf", "scale=65:48,format=yuv444p", "-pix_fmt", "yuv444p")
    subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", root / "sound.mp4"], check=True
    )
    assert pairs() == 0
    made = table("k.parquet")
    assert made.schema.names == KONVID and made.num_rows == 5 + 6
    assert made["key"].to_pylist() == ["KoNViD_1k_videos_a"] * 5 + ["KoNViD_1k_videos_b"] * 6
    assert made["frame_index"].to_pylist() == [*range(5), *range(6)]
    assert made["vmaf"].null_count == made["adm2"].null_count == 0
    assert failed() == {"torn.mp4": "unreadable", "empty.mp4": "no_frames", "text.mp4": "unreadable",
                        "odd.mp4": "odd_size", "sound.mp4": "unreadable"}  # fmt: skip
    assert {key.decode() for key in made.schema.metadata} >= {"run_id", "code_version", "settings_sha256"}
    told = sidecar(Path("k.parquet"))
    assert told["schema"] == "konvid-vmaf-pairs-manifest-v1" and told["stats"]["frames"] == 11
    assert set(told["run_provenance"]["inputs"]) == {"konvid_root", "videos_dir", "vmaf_bin", "model"}
    assert {"ffmpeg", "libvmaf"} <= set(told["tools"])
    before = [Path(name).read_bytes() for name in ("k.parquet", "k.parquet.manifest.json")]
    assert pairs() == 0  # what failed is tried again, and fails in the same words
    assert before == [Path(name).read_bytes() for name in ("k.parquet", "k.parquet.manifest.json")]


def test_an_unchanged_rerun_makes_nothing_and_another_crf_makes_all_anew(here: Path) -> None:
    konvid(here / "k", "a", "b")
    tool = log_of_calls(here)
    assert pairs("--vmaf-bin", tool) == 0
    before = [Path(name).read_bytes() for name in ("k.parquet", "k.parquet.manifest.json")]
    assert calls(here, "libx264") == 2
    assert pairs("--vmaf-bin", tool) == 0
    assert calls(here, "file:") == 0
    assert before == [Path(name).read_bytes() for name in ("k.parquet", "k.parquet.manifest.json")]
    assert pairs("--vmaf-bin", tool, "--crf", "20") == 0
    assert calls(here, "-crf 20") == 2
    assert table("k.parquet")["vmaf"].to_pylist() != pq.read_table(_written(here, before[0]))["vmaf"].to_pylist()
    assert pairs("--vmaf-bin", tool) == 0  # the cache holds both
    assert calls(here, "libx264") == 0 and Path("k.parquet").read_bytes() == before[0]


def _written(here: Path, data: bytes) -> Path:
    (here / "before.parquet").write_bytes(data)
    return here / "before.parquet"


def test_a_clip_is_known_by_its_content_and_not_by_its_name(here: Path) -> None:
    root = konvid(here / "k", "a") / "KoNViD_1k_videos"
    tool = log_of_calls(here)
    assert pairs("--vmaf-bin", tool) == 0 and calls(here, "libx264") == 1
    copy(root / "a.mp4", root / "same.mp4")
    assert pairs("--vmaf-bin", tool) == 0 and calls(here, "libx264") == 0
    video(root / "a.mp4", frames=9)
    assert pairs("--vmaf-bin", tool) == 0 and calls(here, "libx264") == 1
    assert table("k.parquet").num_rows == 9 + 5


@pytest.mark.parametrize("damage", ["torn", "changed", "empty"])
def test_a_torn_cache_entry_is_made_again(here: Path, damage: str) -> None:
    konvid(here / "k", "a")
    tool = log_of_calls(here)
    assert pairs("--vmaf-bin", tool, "--cache-dir", "cache") == 0
    whole = Path("k.parquet").read_bytes()
    (entry,) = Path("cache").glob("*.json")
    data = entry.read_bytes()
    entry.write_bytes({"torn": data[:-40], "changed": data.replace(b'"vmaf":[', b'"vmaf":[1'), "empty": b""}[damage])
    Path("k.parquet").unlink()
    calls(here, "")
    assert pairs("--vmaf-bin", tool, "--cache-dir", "cache") == 0
    assert calls(here, "libx264") == 1 and entry.read_bytes() == data and Path("k.parquet").read_bytes() == whole


def test_without_a_cache_all_is_made_and_nothing_kept(here: Path) -> None:
    konvid(here / "k", "a")
    assert pairs() == 0
    cached = Path("k.parquet").read_bytes()
    Path("k.parquet").unlink()
    assert pairs("--no-cache", "--workspace", "w") == 0
    assert Path("k.parquet").read_bytes() == cached and not list(Path("w").glob("**/cache/**"))
    told = sidecar(Path("k.parquet"))
    assert told["cache_enabled"] is False and told["cache_dir"] is None


def test_an_empty_folder_is_an_empty_table_of_the_whole_schema_and_failure_alone_is_3(here: Path) -> None:
    (here / "k/KoNViD_1k_videos").mkdir(parents=True)
    assert pairs() == 0
    assert table("k.parquet").schema.names == KONVID and table("k.parquet").num_rows == 0
    (here / "k/KoNViD_1k_videos/a.mp4").touch()
    assert pairs() == 3
    assert table("k.parquet").schema.names == KONVID and failed() == {"a.mp4": "no_frames"}


def test_a_crashing_or_hanging_tool_costs_the_clip(here: Path) -> None:
    konvid(here / "k", "a", "b", "c")
    script = 'case "$*" in *a.mp4*libvmaf*) kill -SEGV $$;; *b.mp4*libvmaf*) sleep 60;; esac'
    assert pairs("--vmaf-bin", wrapper(here / "tool", script), "--timeout", "3") == 0
    assert failed() == {"a.mp4": "crashed", "b.mp4": "timeout"}
    assert pairs() == 0 and failed() == {}


def test_max_clips_takes_the_first_by_name(here: Path) -> None:
    konvid(here / "k", "b", "a")
    assert pairs("--max-clips", "1") == 0
    assert set(table("k.parquet")["key"].to_pylist()) == {"KoNViD_1k_videos_a"}


def test_every_frame_counts_where_the_rate_varies(here: Path) -> None:
    path = here / "k/KoNViD_1k_videos/vfr.mp4"
    video(path, "64x48", 12, 30, "-vf", "setpts='if(lt(N,6),N,N*3)/30/TB'", "-fps_mode", "vfr")
    assert pairs() == 0
    assert table("k.parquet").num_rows == counted(path) == 12


def test_a_header_without_a_count_of_frames_is_no_failure(here: Path) -> None:
    path = here / "k/KoNViD_1k_videos/live.mp4"
    video(path, "64x48", 7, 25, "-movflags", "frag_keyframe+empty_moov+default_base_moof")
    assert pairs() == 0 and failed() == {} and table("k.parquet").num_rows == 7


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--konvid-root", "nowhere", "--out", "o"], "there is no such folder"),
        (["--konvid-root", ".", "--out", "o"], "has no folder KoNViD_1k_videos"),
        (["--konvid-root", "k", "--out", "o", "--crf", "52"], "--crf must be at most 51"),
        (["--konvid-root", "k", "--out", "o", "--vmaf-bin", "nothing"], "there is no such program"),
        (["--konvid-root", "k", "--out", "o", "--vmaf-bin", "/bin/true"], "is no ffmpeg"),
        (["--konvid-root", "k", "--out", "o", "--model", "vmaf_v9"], "the model vmaf_v9"),
        (["--konvid-root", "k", "--out", "o", "--model", "a:b"], "is no model"),
        (["--konvid-root", "k", "--out", "o", "--timeout", "0"], "--timeout must be"),
        (["--konvid-root", "k", "--out", "o", "--cache-dir", "afile"], "afile is no folder"),
        (["--konvid-root", "k", "--out", "o", "--cache-dir", "afile/c"], "afile is no folder"),
        (["--konvid-root", "k", "--out", "o", "--cache-dir", "s3://b/p"], "--cache-dir is a URL"),
        (["--konvid-root", "k", "--out", "k/KoNViD_1k_videos/1.mp4"], "is called like a file that is read"),
        (["--konvid-root", "k", "--out", "tool", "--vmaf-bin", "./tool"], "name another output"),
        (["--konvid-root", "k", "--out", "o", "--no-cache", "--cache-dir", "c"], "give one of them"),
    ],
)
def test_what_cannot_be_meant_is_2(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    clip = copy(Path(wrapper(here / "tool", "")), here / "k/KoNViD_1k_videos/1.mp4")
    (here / "afile").write_text("x")
    before = clip.read_bytes()
    assert main(["corpus", "konvid-pairs", *words]) == 2
    assert told in capsys.readouterr().err and not Path("o").exists() and not Path("s3:").exists()
    assert clip.read_bytes() == Path("tool").read_bytes() == before


@pytest.mark.parametrize("out", ["n/ref/Src_a_25fps.mp4", "n/dis/Src_a_40_48_100.mp4"])
def test_a_pair_is_not_overwritten(here: Path, out: str) -> None:
    pair(here / "n")
    before = Path(out).read_bytes()
    assert main(["corpus", "full-features", "--data-root", "n", "--out", out]) == 2
    assert Path(out).read_bytes() == before


def test_an_output_among_the_pairs_is_none_of_them_and_each_folder_is_an_input(here: Path) -> None:
    pair(here / "elsewhere")
    (here / "n").mkdir()
    for name in ("ref", "dis"):
        (here / "n" / name).symlink_to(here / "elsewhere" / name)
    told = []
    for _ in range(2):
        assert main(["corpus", "full-features", "--data-root", "n", "--out", "n/dis/f.parquet", "--quiet"]) == 0
        told.append(sidecar(Path("n/dis/f.parquet")))
    assert told[0] == told[1] and told[0]["refused"] == []
    inputs = told[0]["run_provenance"]["inputs"]
    assert (inputs["data_root"]["files"], inputs["ref"]["files"], inputs["dis"]["files"]) == (2, 1, 1)
    assert told[0]["cache_dir"].endswith("cache/full-features") and "cache_dir" not in inputs
    assert main(["manifest", "verify", "n/dis/f.parquet.manifest.json"]) == 0
    Path("n/ref/Src_a_25fps.mp4").write_bytes(b"")
    assert main(["manifest", "verify", "n/dis/f.parquet.manifest.json"]) == 4


def test_a_dry_run_tries_no_clip_and_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    konvid(here / "k", "a")
    assert pairs("--dry-run") == 0 and "1 clips to make, not tried, 0 cannot be made" in capsys.readouterr().out
    (here / "k/KoNViD_1k_videos/a.mp4").unlink()
    os.mkfifo(here / "k/KoNViD_1k_videos/p.mp4")
    assert pairs("--dry-run") == pairs() == 3


def test_without_the_package_the_remedy_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "k/KoNViD_1k_videos").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert pairs() == 2
    assert "pip install 'resplice[vmaf]'" in capsys.readouterr().err


def test_every_feature_is_a_column_and_what_the_tool_lacks_is_null_and_named(here: Path) -> None:
    pair(here / "n", size="320x240")
    assert features("--codec", "h264") == 0
    made = table("n.parquet")
    assert made.schema.names == FEATURES and made.num_rows == 5
    told = sidecar(Path("n.parquet"))
    null = [name for name in FULL_FEATURES if made[name].null_count == made.num_rows]
    assert told["features_unavailable"] == null == ["ssimulacra2"]
    assert all(made[name].null_count in (0, 5) for name in made.schema.names)
    assert set(made["source"].to_pylist()) == {"Src_a"} and set(made["codec"].to_pylist()) == {"h264"}
    assert set(made["dis_basename"].to_pylist()) == {"Src_a_40_48_100.mp4"}
    assert set(made["teacher_model"].to_pylist()) == {"vmaf_v0.6.1"}
    assert [line["extractor"] for line in told["failed_extractors"]] == ["ssimulacra2"]
    assert told["schema"] == "netflix-full-features-manifest-v1" and told["stats"]["pairs"] == 1


def test_one_crashing_extractor_costs_its_columns_only(here: Path) -> None:
    pair(here / "n")
    tool = wrapper(here / "tool", 'case "$*" in *name=psnr:*) kill -SEGV $$;; *name=ciede*) exit 3;; esac')
    assert features("--vmaf-bin", tool) == 0
    made = table("n.parquet")
    lost = {"psnr_y", "psnr_cb", "psnr_cr", "ciede2000"}
    assert lost <= set(sidecar(Path("n.parquet"))["features_unavailable"])
    assert made["vmaf"].null_count == made["psnr_hvs"].null_count == made["adm2"].null_count == 0
    reasons = {line["extractor"]: line["reason"] for line in sidecar(Path("n.parquet"))["failed_extractors"]}
    assert (reasons["psnr"], reasons["ciede"]) == ("crashed", "engine_failed")


def test_a_score_that_no_frame_has_is_named_as_unavailable(here: Path) -> None:
    pair(here / "n")
    assert features("--vmaf-bin", wrapper(here / "tool", 'case "$*" in *dis/*model=version*) exit 3;; esac')) == 0
    assert table("n.parquet")["vmaf"].null_count == table("n.parquet").num_rows
    assert sidecar(Path("n.parquet"))["features_unavailable"][0] == "vmaf"


def test_a_time_too_short_for_a_call_is_not_one_for_the_trial_of_the_tool(here: Path) -> None:
    konvid(here / "k", "a")
    assert pairs("--timeout", "0.01") == 3 and failed() == {"a.mp4": "timeout"}


def test_raw_frames_pair_by_number_and_stop_at_the_shorter(here: Path) -> None:
    pair(here / "n", suffix="yuv")
    distorted = next((here / "n/dis").iterdir())
    assert features() == 3
    (line,) = sidecar(Path("n.parquet"))["refused"]
    assert line["reason"] == "size_unknown" and table("n.parquet").schema.names == FEATURES
    assert features("--yuv-size", "64x48") == 0 and table("n.parquet").num_rows == 5
    distorted.write_bytes(distorted.read_bytes()[: 64 * 48 * 3 // 2 * 3])
    assert features("--yuv-size", "64x48") == 0
    assert table("n.parquet").num_rows == 3 and table("n.parquet")["frame_index"].to_pylist() == [0, 1, 2]


def test_pairs_of_other_rates_pair_frame_by_frame(here: Path) -> None:
    video(here / "n/ref/A_25fps.mp4", rate=25, frames=8)
    video(here / "n/dis/A_1_48_9.mp4", "64x48", 10, 30)
    assert features() == 0
    made = table("n.parquet")
    assert made.num_rows == 8 and made["vmaf"].null_count == 0


def test_a_pair_that_is_none_is_refused_and_the_others_go_on(here: Path) -> None:
    pair(here / "n")
    video(here / "n/dis/Lost_1_48_9.mp4")
    video(here / "n/dis/Src_a_2_48_9.mp4", "32x32")
    (here / "n/dis/Src_a_3_48_9.mp4").write_bytes(truncated())
    (here / "n/dis/notes.txt").write_text("x")
    assert features() == 0
    refused = {line["unit"]: line["reason"] for line in sidecar(Path("n.parquet"))["refused"]}
    assert refused == {"Lost_1_48_9.mp4": "no_reference", "Src_a_2_48_9.mp4": "size_mismatch",
                       "Src_a_3_48_9.mp4": "unreadable", "notes.txt": "bad_name"}  # fmt: skip
    stats = sidecar(Path("n.parquet"))["stats"]
    assert (stats["pairs_selected"], stats["pairs"], stats["pairs_failed"]) == (5, 1, 4)


def test_a_timeout_is_tried_again_and_what_was_computed_is_not(here: Path) -> None:
    pair(here / "n")
    slow = wrapper(
        here / "tool", f'echo "$@" >> {here}/calls; [ -e {here}/now ] || case "$*" in *name=vif:*) sleep 60;; esac'
    )
    assert features("--vmaf-bin", slow, "--timeout", "3") == 0
    assert "vif_scale0" in sidecar(Path("n.parquet"))["features_unavailable"]
    (here / "now").touch()
    calls(here, "")
    assert features("--vmaf-bin", slow, "--timeout", "30") == 0
    assert calls(here, "libvmaf=") == 1
    assert "vif_scale0" not in sidecar(Path("n.parquet"))["features_unavailable"]


def test_a_killed_extractor_is_tried_again_and_a_crashed_one_is_not(here: Path) -> None:
    pair(here / "n")
    script = (f'[ -e {here}/now ] && {{ echo "$@" >> {here}/calls; exec {FFMPEG} "$@"; }}\n'
              'case "$*" in *name=vif:*) kill -KILL $$;; *name=psnr:*) kill -TERM $$;; *name=ciede*) kill -SEGV $$;;\n'
              '*name=adm:*) echo "Error: Cannot allocate memory" >&2; exit 1;; esac')  # fmt: skip
    tool = wrapper(here / "tool", script)
    assert features("--vmaf-bin", tool) == 0
    reasons = {line["extractor"]: line["reason"] for line in sidecar(Path("n.parquet"))["failed_extractors"]}
    assert {name: reasons[name] for name in ("vif", "psnr", "ciede", "adm")} == {
        "vif": "out_of_memory", "psnr": "interrupted", "ciede": "crashed", "adm": "out_of_memory"
    }  # fmt: skip
    (here / "now").touch()
    assert features("--vmaf-bin", tool) == 0
    assert calls(here, "libvmaf=") == 3
    reasons = {line["extractor"]: line["reason"] for line in sidecar(Path("n.parquet"))["failed_extractors"]}
    assert reasons["ciede"] == "crashed" and not {"vif", "psnr", "adm"} & {*reasons}


def test_a_full_disk_stops_the_run_and_blames_no_clip(here: Path) -> None:
    konvid(here / "k", "a")
    full = 'case "$*" in *a.mp4*libx264*) echo "x: No space left on device" >&2; exit 1;; esac'
    assert pairs("--vmaf-bin", wrapper(here / "tool", full), "--cache-dir", "c") not in (0, 3)
    assert not Path("k.parquet").exists() and not list(Path("c").glob("*.json"))


def test_one_flipped_byte_of_any_input_or_output_is_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair(here / "n", suffix="yuv")
    copy(Path(FFMPEG), here / "ffmpeg")
    assert features("--yuv-size", "64x48", "--vmaf-bin", str(here / "ffmpeg")) == 0
    told = ["manifest", "verify", "n.parquet.manifest.json"]
    assert main(told) == 0
    for path in (*(here / "n").rglob("*.yuv"), here / "ffmpeg", here / "n.parquet"):
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        capsys.readouterr()
        assert main(told) == 4 and "sha256" in capsys.readouterr().out, path
        path.write_bytes(data)
    assert main(told) == 0


def test_a_file_that_changes_while_it_is_read_is_refused_and_not_cached(here: Path) -> None:
    clip = konvid(here / "k", "a") / "KoNViD_1k_videos/a.mp4"
    tool = wrapper(here / "tool", f'case "$*" in *a.mp4*libvmaf*) printf x >> {clip};; esac')
    assert pairs("--vmaf-bin", tool, "--cache-dir", "cache") == 3
    assert failed() == {"a.mp4": "drifted"} and not list(Path("cache").glob("*.json"))


def test_the_report_tells_what_is_in_the_corpus_and_what_is_left_out(here: Path) -> None:
    pair(here / "n")
    video(here / "n/dis/Lost_1_48_9.mp4")
    assert features("--run-id", "r") == 0
    page = Path("resplice-work/runs/r/report.html").read_text("utf-8")
    assert "Made, without 1 pairs that could not be" in page
    assert "Lost_1_48_9.mp4" in page and "no_reference" in page and "ssimulacra2" in page
    facts = json.loads(Path("resplice-work/runs/r/report.json").read_text("utf-8"))
    assert facts["made"]["rows"] == 5 and facts["summary"]["in"] == 2 and facts["corpus"] == "full-features"
    assert main(["report", "--run-id", "r", "--workspace", "resplice-work"]) == 0
    assert main(["failed", "--run-id", "r", "--workspace", "resplice-work", "--stage", "full-features"]) == 0


def command(here: Path, out: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "resplice.pipelines", "corpus", "konvid-pairs", "--konvid-root", "k", "--out", out,
            "--run-id", "r", "--quiet", *more]  # fmt: skip


@pytest.mark.slow
def test_killed_at_any_clip_and_run_again_it_ends_with_the_same_bytes(here: Path) -> None:
    konvid(here / "k", *"abcdef")
    assert subprocess.run(command(here, "whole.parquet", "--workspace", "v")).returncode == 0
    whole = Path("whole.parquet").read_bytes()
    for entries in range(6):
        out, cache = f"{entries}.parquet", Path(f"w{entries}/cache/konvid-pairs")
        process = subprocess.Popen(command(here, out, "--workspace", f"w{entries}"), start_new_session=True)
        deadline = time.monotonic() + 60
        while len(list(cache.glob("*.json"))) < entries and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if not entries:
            time.sleep(1.0)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert subprocess.run(command(here, out, "--workspace", f"w{entries}")).returncode == 0
        assert Path(out).read_bytes() == whole
        assert main(["manifest", "verify", f"{out}.manifest.json"]) == 0


@pytest.mark.slow
def test_two_runs_at_once_do_no_harm(here: Path) -> None:
    konvid(here / "k", *"abcd")
    both = [subprocess.Popen(command(here, "k.parquet")) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert table("k.parquet").num_rows == 5 + 6 + 7 + 8
    assert main(["manifest", "verify", "k.parquet.manifest.json"]) == 0
    before = Path("k.parquet").read_bytes()
    assert pairs("--run-id", "r") == 0 and Path("k.parquet").read_bytes() == before
