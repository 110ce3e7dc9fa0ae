"""The rows of a log of libvmaf, and the names of clips and pairs."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from typing import Any

import pytest

from resplice.io import documents
from resplice.transforms import corpus_rows, pairs, vmaf
from resplice.transforms.corpus_rows import UNAVAILABLE, Clip, Labels, clip
from resplice.transforms.records import Damage, Reason, Refusal
from resplice.transforms.vmaf import CANONICAL

LABELS = Labels("libx264", "fast", 35, "yuv420p10le", "vmaf_v0.6.1", "r", "2026-01-01T00:00:00.000Z")
LEGACY = Labels("libx264", "fast", 35, "yuv420p10le", "vmaf_v0.6.1", "r", "t", legacy_defaults=True)
FOO = clip("Foo_1920x1080_25fps_10bit")
KEYS = """adm2_mean adm2_std bitrate_kbps clip_mode crf duration_s enc_internal_bits_mean enc_internal_bits_std
enc_internal_intra_ratio enc_internal_itex_mean enc_internal_mv_mean enc_internal_mv_std enc_internal_ptex_mean
enc_internal_qp_mean enc_internal_qp_std enc_internal_skip_ratio encode_path encode_size_bytes encode_time_ms encoder
encoder_version exit_status extra_params ffmpeg_version framerate hdr_forced hdr_primaries hdr_transfer height
motion2_mean motion2_std pix_fmt preset run_id schema_version score_time_ms shot_avg_duration_sec shot_count
shot_duration_std_sec src src_sha256 timestamp vif_scale0_mean vif_scale0_std vif_scale1_mean vif_scale1_std
vif_scale2_mean vif_scale2_std vif_scale3_mean vif_scale3_std vmaf_binary_version vmaf_model vmaf_score width"""


def log(frames: int = 3, prefix: str = "integer_", pooled: bool = True, **pool: Any) -> dict[str, Any]:
    """Return a log as libvmaf writes them: pooled values of the names that its frames have, without stddev."""
    told = [
        {"frameNum": n, "metrics": {**{prefix + name: 0.5 + n / 10 for name in CANONICAL}, "vmaf": 90.0 + n}}
        for n in range(frames)
    ]
    names = [*(prefix + name for name in CANONICAL), "vmaf"]
    means = {name: {"mean": statistics.fmean(f["metrics"][name] for f in told), **pool} for name in names}
    return {"version": "x", "frames": told, **({"pooled_metrics": means} if pooled and frames else {})}


def test_a_row_has_the_54_keys_and_what_a_log_cannot_tell_is_null() -> None:
    row = corpus_rows.row(FOO, log(), LABELS)
    assert sorted(row) == sorted(KEYS.split()) and len(row) == 54
    assert {row[name] for name in UNAVAILABLE} == {None} and len(UNAVAILABLE) == 25
    assert (row["schema_version"], row["clip_mode"], row["hdr_forced"]) == (3, "full", False)
    assert (row["width"], row["height"], row["framerate"], row["duration_s"]) == (1920, 1080, 25.0, 3 / 25)
    assert (row["run_id"], row["timestamp"]) == ("r", "2026-01-01T00:00:00.000Z")
    assert row["src"] == f"bvi-dvc:{FOO.key}" and row["src_sha256"] == hashlib.sha256(FOO.key.encode()).hexdigest()


def test_the_old_sentinels_are_there_on_demand_and_still_strict_json() -> None:
    row = corpus_rows.row(FOO, log(pooled=False, frames=1), LEGACY)
    assert {name: row[name] for name in UNAVAILABLE} == UNAVAILABLE
    assert {UNAVAILABLE[name] for name in ("ffmpeg_version", "hdr_transfer")} == {""}
    assert all(type(UNAVAILABLE[name]) is type(row[name]) for name in UNAVAILABLE)
    broken = corpus_rows.row(FOO, documents.lenient(b'{"frames": [{"frameNum": 0, "metrics": {"vmaf": NaN}}]}'), LEGACY)
    assert broken["vmaf_score"] is None and broken["adm2_mean"] is None
    json.dumps(broken, allow_nan=False)


@pytest.mark.parametrize("prefix", ["integer_", ""])
def test_means_are_the_pools_and_deviations_those_of_the_population_of_frames(prefix: str) -> None:
    row = corpus_rows.row(FOO, log(prefix=prefix), LABELS)
    values = [0.5, 0.6, 0.7]
    for name in CANONICAL:
        assert row[f"{name}_mean"] == pytest.approx(0.6)
        assert row[f"{name}_std"] == pytest.approx(statistics.pstdev(values))
        assert row[f"{name}_std"] != pytest.approx(statistics.stdev(values), rel=1e-3)


def test_the_plain_name_comes_before_the_integer_one_and_a_stddev_of_the_pool_counts() -> None:
    both = log(stddev=0.25)
    both["pooled_metrics"]["adm2"] = {"mean": 0.125, "stddev": 0.0625}
    row = corpus_rows.row(FOO, both, LABELS)
    assert (row["adm2_mean"], row["adm2_std"]) == (0.125, 0.0625)
    assert row["motion2_std"] == 0.25


def test_one_frame_deviates_by_nothing() -> None:
    assert corpus_rows.row(FOO, log(1), LABELS)["adm2_std"] == 0.0


def test_a_mean_that_is_not_pooled_is_that_of_the_frames_and_never_the_last_one() -> None:
    assert corpus_rows.row(FOO, log(pooled=False), LABELS)["vmaf_score"] == pytest.approx(91.0)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 10**400, -(10**400)])
def test_a_value_that_is_none_is_null(value: Any) -> None:
    pooled = log()
    pooled["pooled_metrics"]["integer_adm2"]["mean"] = value
    pooled["frames"][1]["metrics"]["integer_motion2"] = value
    row = corpus_rows.row(FOO, pooled, LABELS)
    assert row["adm2_mean"] is None and row["adm2_std"] is not None
    assert row["motion2_mean"] is not None and row["motion2_std"] is None


def test_what_the_frames_amount_to_is_null_where_no_float_holds_it() -> None:
    huge = log(3, pooled=False)
    for frame, value in zip(huge["frames"], (1.7e308, 1.7e308, -1.7e308), strict=True):
        frame["metrics"].update(vmaf=1.7e308, integer_adm2=value)
    row = corpus_rows.row(FOO, huge, LABELS)
    assert row["vmaf_score"] is None and row["adm2_mean"] is None
    assert row["motion2_mean"] == pytest.approx(0.6)


@pytest.mark.parametrize("frames", [[], None])
def test_a_log_without_frames_is_refused_even_with_pooled_means(frames: Any) -> None:
    empty = {**log(), "frames": frames}
    if frames is None:
        del empty["frames"]
    with pytest.raises(Refusal) as refused:
        corpus_rows.row(FOO, empty, LABELS)
    assert refused.value.reason == Reason.NO_FRAMES


@pytest.mark.parametrize(
    "broken",
    [
        [],
        7,
        {"frames": {}},
        {"frames": [1]},
        {"frames": [{"frameNum": 0}]},
        {"frames": [{"metrics": {}}]},
        {"frames": [{"frameNum": True, "metrics": {}}]},
        {"frames": [{"frameNum": 0, "metrics": {"vmaf": "90"}}]},
        {**log(), "pooled_metrics": [1]},
        {**log(), "pooled_metrics": {"vmaf": 3}},
        {**log(), "pooled_metrics": {"vmaf": {"mean": "x"}}},
    ],
)
def test_what_is_no_log_is_damage(broken: Any) -> None:
    with pytest.raises(Damage):
        corpus_rows.row(FOO, broken, LABELS)


@pytest.mark.parametrize(
    ("name", "width", "height", "fps"),
    [
        ("Foo_3840x2160_60fps_10bit_420", 3840, 2160, 60.0),
        ("Foo_Bar_Baz_1920x1080_59.94fps_x", 1920, 1080, 59.94),
        ("Foo_max_10x20_Bar_480x270_25fps_", 480, 270, 25.0),
        ("Foo_480x270_25fps", 480, 270, 25.0),
    ],
)
def test_a_name_tells_size_and_rate_whatever_the_clip_is_called(name: str, width: int, height: int, fps: float) -> None:
    assert clip(name) == Clip(name, width, height, fps)


@pytest.mark.parametrize(
    "name",
    ["", "Foo", "Foo_max_25fps_x", "Foo_1920x1080_x", "Foo_1920x1080_fps_x", "_1920x1080", "Foo_0x1080_25fps_x",
     "Foo_1920x1080_0fps_x", "Foo_1920x1080_1.2.3fps_x", "1920x1080_25fps_x"],
)  # fmt: skip
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refused:
        clip(name)
    assert refused.value.reason == Reason.BAD_NAME


def test_a_feature_is_found_by_its_plain_its_integer_or_its_longer_name() -> None:
    assert vmaf.named({"adm2": 1, "integer_adm2": 1}, "adm2") == "adm2"
    assert vmaf.named({"integer_adm2_egl_1": 1, "integer_adm2": 1}, "adm2") == "integer_adm2"
    assert vmaf.named({"integer_adm2_egl_1": 1}, "adm2") == "integer_adm2_egl_1"
    assert vmaf.named({"integer_adm_scale0": 1}, "adm2") is None


def test_a_column_without_a_value_is_none_and_frames_are_in_order() -> None:
    told = vmaf.frames(
        {"frames": [{"frameNum": 1, "metrics": {"a": 2}}, {"frameNum": 0, "metrics": {"a": 1, "b": None}}]}
    )
    assert vmaf.columns(told, ("a", "b", "c")) == {"a": [1.0, 2.0]}


def test_every_feature_belongs_to_one_extractor() -> None:
    made = [name for names in vmaf.EXTRACTORS.values() for name in names]
    assert sorted(made) == sorted(vmaf.FULL_FEATURES) and len(made) == 26


def test_a_distorted_file_finds_its_reference_by_the_source() -> None:
    known = pairs.references(["A_b_25fps.yuv", "C_23.976fps.mp4", "notes.txt", "D_0fps.yuv"])
    assert pairs.pair("A_b_20_288_375.yuv", known, True) == pairs.Pair(
        "A_b", "A_b_20_288_375.yuv", "A_b_25fps.yuv", "25"
    )
    assert pairs.pair("C_20_288_375.mp4", known, False).fps == "23.976"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("A_b.yuv", "bad_name"),
        ("A_b_20_288_375.mkv", "bad_name"),
        ("Z_20_288_375.yuv", "no_reference"),
        ("D_20_288_375.yuv", "no_reference"),
        ("T_20_288_375.mp4", "name_collision"),
        ("A_b_20_288_375.yuv", "size_unknown"),
        ("A_b_20_288_375.mp4", "size_unknown"),
    ],
)
def test_a_distorted_file_that_has_no_pair_is_refused(name: str, reason: str) -> None:
    known = pairs.references(["A_b_25fps.yuv", "D_0fps.yuv", "T_25fps.mp4", "T_30fps.mp4"])
    with pytest.raises(Refusal) as refused:
        pairs.pair(name, known, False)
    assert refused.value.reason == reason


@pytest.mark.parametrize("text", ["", "1920", "1920x", "0x10", "axb", "10x10x10", "-1x2"])
def test_a_size_is_two_numbers(text: str) -> None:
    assert pairs.size("1920x1080") == (1920, 1080)
    with pytest.raises(ValueError, match="is no size"):
        pairs.size(text)
