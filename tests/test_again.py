"""Judging again from stored measures: row by row, and a whole shard by column, which is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resplice.io import results
from resplice.transforms.again import again, alone, is_ambiguous, with_video_reasons
from resplice.transforms.again_columns import Shard, judged, written
from resplice.transforms.kinds import KINDS
from resplice.transforms.rules import Decider

GOOD: dict[str, Any] = {
    "duration_s": 3.0, "sample_rate": 16000, "channels": 1, "peak_dbfs": -3.0, "rms_dbfs": -20.0, "clipped_ratio": 0.0,
    "silence_ratio": 0.1, "longest_gap_s": 0.4, "chars": 45, "chars_per_s": 15.0, "words_per_s": 3.0,
    "unique_word_ratio": 1.0,
}  # fmt: skip
OTHERS: dict[str, dict[str, float]] = {
    "loudness": {"loudness_lufs": -20.0, "true_peak_dbtp": -3.0},
    "vad": {"speech_ratio": 0.8, "longest_pause_s": 0.5, "speech_lead_s": 0.1, "speech_tail_s": 0.1},
    "snr": {"snr_db": 30.0},
    "asr": {"wer": 0.1, "cer": 0.1, "cer_start": 0.1, "cer_end": 0.1},
}
LOST = ("crashed", "timeout", "out_of_memory")


def row(video: str, number: int, engines: tuple[str, ...] = ("signal",), **values: Any) -> dict[str, Any]:
    """Return a stored row with the measures of some engines, which passed."""
    measures = {**GOOD, "pcm_md5": f"{video}{number}"} if "signal" in engines else {}
    for name in engines:
        measures |= OTHERS.get(name, {})
    return {
        "video_id": video, "segment_file": f"s{number:03d}", "db_segment_file": f"s{number}.flac", "row_id": number,
        "split_index": None, "status": "passed", "reasons": [], "engine": "signal", "attempts": 1, "run_id": "r",
        "detail": None, "engine_versions": [f"{name} 1" for name in engines], **measures, **values,
    }  # fmt: skip


def chain(*names: str, **given: float) -> list[tuple[str, Decider]]:
    settings_ = {name: {k: v for k, v in given.items() if k.removeprefix("margin_") in KINDS[name].thresholds}
                 for name in names}  # fmt: skip
    return [(name, KINDS[name].decider(settings_[name])) for name in names]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    import io

    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(results.encode(rows, "int64", {})))


def by_column(rows: list[dict[str, Any]], asked: list[tuple[str, Decider]]) -> list[dict[str, Any]]:
    shard = Shard(table(rows))
    return written(shard, judged(shard, asked)).to_pylist()  # type: ignore[no-any-return]


def by_row(rows: list[dict[str, Any]], asked: list[tuple[str, Decider]]) -> list[dict[str, Any]]:
    videos: dict[str, list[dict[str, Any]]] = {}
    for one in table(rows).to_pylist():
        videos.setdefault(one["video_id"], []).append(one)
    return [new for video in videos.values() for new in again(video, asked)]


FAIRLY = st.sampled_from([-60.0, -50.5, -50.0, -49.5, -20.0, -3.0])
ENGINES = st.lists(st.sampled_from(["signal", *OTHERS]), unique=True, max_size=5).map(tuple)


@st.composite
def stored(draw: st.DrawFn, video: str, number: int) -> dict[str, Any]:
    """Draw a row: of any engines, with measures on both sides of every threshold, or one that has no measures."""
    engines = draw(ENGINES)
    values: dict[str, Any] = {}
    if "signal" in engines:
        chars, seconds = draw(st.sampled_from([0, 1, 2, 30, 45, 60])), draw(st.floats(0, 40) | st.just(3.0))
        values |= {
            "duration_s": seconds, "chars": chars, "chars_per_s": chars / seconds if seconds else 0.0,
            "rms_dbfs": draw(FAIRLY), "peak_dbfs": draw(FAIRLY), "pcm_md5": draw(st.sampled_from("abcdefghij")),
            "longest_gap_s": draw(st.sampled_from([0.0, 2.9, 3.0, 3.1])),
        }  # fmt: skip
    for name in engines:
        for measure in OTHERS.get(name, {}):
            values[measure] = draw(st.none() | st.floats(-70, 70, width=16))
    made = row(video, number, engines, **values)
    if not engines:
        kind = draw(st.sampled_from(["undecodable", *LOST]))
        made |= {"status": "failed" if kind == "undecodable" else "error", "reasons": [kind], "detail": "why"}
    elif draw(st.integers(0, 9)) == 0:
        made |= {"status": "failed", "reasons": ["header_mismatch"], "detail": "flac_md5: other"}
    if draw(st.integers(0, 9)) == 0:
        made["engine_versions"] = None
    return with_video_reasons(made, draw(st.sampled_from([[], ["duplicate_audio"], ["shifted_transcripts"]])))


@st.composite
def shards(draw: st.DrawFn) -> list[dict[str, Any]]:
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    return [draw(stored(f"v{v}", n)) for v, size in enumerate(sizes) for n in range(size)]


@st.composite
def chains(draw: st.DrawFn) -> list[tuple[str, Decider]]:
    found = []
    for name in draw(st.lists(st.sampled_from(["signal", *OTHERS]), unique=True, min_size=1)):
        given_ = {key: draw(st.floats(-60, 60, width=16)) for key in draw(st.sets(st.sampled_from(
            sorted(KINDS[name].thresholds))))}  # fmt: skip
        margins = {f"margin_{key}": draw(st.floats(0, 5, width=16)) for key in given_ if draw(st.booleans())}
        found.append((name, KINDS[name].decider({**given_, **margins, "passes": draw(st.booleans())})))
    return found


@settings(max_examples=120, deadline=None)
@given(shards(), chains())
def test_a_shard_by_column_is_each_video_by_row(rows: list[dict[str, Any]], asked: list[tuple[str, Decider]]) -> None:
    assert by_column(rows, asked) == by_row(rows, asked)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1.5), st.integers(-1, 1))
def test_shifted_texts_and_outliers_are_found_by_column_as_by_row(seed: int, noise: float, shift: int) -> None:
    random = np.random.default_rng(seed)
    rows = []
    for video in range(3):
        seconds = random.uniform(1, 9, 14)
        chars = np.maximum(0, np.roll(seconds, shift) * 15 * np.exp(noise * random.normal(size=14))).astype(int)
        rows += [row(f"v{video}", n, duration_s=float(s), chars=int(c), chars_per_s=float(c / s))
                 for n, (s, c) in enumerate(zip(seconds, chars, strict=True))]  # fmt: skip
    asked = chain("signal", duration_outlier_iqr=0.5 + noise)
    assert by_column(rows, asked) == by_row(rows, asked)


def test_shifted_texts_are_told_of_every_row_of_their_video_alone() -> None:
    seconds = [1.0, 8.0, 2.0, 9.0, 3.0, 7.0, 1.5, 6.0, 2.5, 5.0]
    moved = [*seconds[1:], 4.0]
    rows = [
        row(video, n, duration_s=s, chars=int(16 * c), chars_per_s=16 * c / s)
        for video, texts in (("a", moved), ("b", seconds))
        for n, (s, c) in enumerate(zip(seconds, texts, strict=True))
    ]
    found = by_column(rows, chain("signal", rate_low=0.0, rate_high=1e9, duration_outlier_iqr=1e9))
    assert [one["reasons"] for one in found] == [["shifted_transcripts"]] * 10 + [[]] * 10


CASES = [
    (("signal",), {"too_quiet_dbfs": -10.0}, ("failed", ["too_quiet"], "signal", 1, None)),
    (("signal", "snr"), {"too_quiet_dbfs": -20.5, "margin_too_quiet_dbfs": 1.0},
     ("error", ["engine_failed"], "snr", 1, "signal: unsure; snr: not measured")),
    (("signal",), {"too_quiet_dbfs": -19.5, "margin_too_quiet_dbfs": 1.0},
     ("error", ["engine_failed"], "signal", 1, "unsure by every engine")),
    (("asr",), {}, ("error", ["engine_failed"], "asr", 0, "asr: not measured")),
]  # fmt: skip


@pytest.mark.parametrize(("names", "given_", "verdict"), CASES)
def test_a_verdict_follows_from_the_new_thresholds_alone(
    names: tuple[str, ...], given_: dict[str, float], verdict: tuple[Any, ...]
) -> None:
    for found in (by_row([row("v", 1)], chain(*names, **given_)), by_column([row("v", 1)], chain(*names, **given_))):
        assert tuple(found[0][key] for key in ("status", "reasons", "engine", "attempts", "detail")) == verdict


def test_a_row_whose_first_engine_raised_keeps_what_was_told_of_it() -> None:
    told = {"attempts": 2, "detail": "snr: error, ValueError: no"}
    quiet = {"status": "failed", "reasons": ["too_quiet"], "rms_dbfs": -60.0}
    lost = {"status": "error", "reasons": ["engine_failed"], "engine": "signal", "rms_dbfs": -45.0}
    rows = [row("v", 1, **told), row("v", 2, **told, **quiet), row("v", 3, **told, **lost)]
    asked = chain("snr", "signal", margin_too_quiet_dbfs=1.0)
    assert by_column(rows, asked) == by_row(rows, asked) == table(rows).to_pylist()
    other = by_column(rows, chain("snr", "signal", too_quiet_dbfs=-70.0))
    assert [one["detail"] for one in other] == [told["detail"], "snr: not measured", "snr: not measured"]


OTHERS_SAY = [
    ("passed", ["a_note"], [], ("passed", ["a_note"])),
    ("passed", ["a_note"], ["duplicate_audio"], ("failed", ["a_note", "duplicate_audio"])),
    ("passed", [], ["duplicate_audio"], ("failed", ["duplicate_audio"])),
    ("failed", ["duplicate_audio"], [], ("failed", ["duplicate_audio"])),
    ("failed", ["duplicate_audio"], ["duplicate_audio"], ("failed", ["duplicate_audio"])),
    ("failed", [], [], ("failed", [])),
    ("error", ["engine_failed"], ["shifted_transcripts"], ("error", ["engine_failed", "shifted_transcripts"])),
]


@pytest.mark.parametrize(("status", "reasons", "found", "verdict"), OTHERS_SAY)
def test_neighbours_change_the_verdict_of_an_engine_of_others_by_what_they_show_alone(
    status: str, reasons: list[str], found: list[str], verdict: tuple[str, list[str]]
) -> None:
    said = row("v", 1, status=status, reasons=reasons, engine="foreign")
    told = with_video_reasons(said, found)
    assert (told["status"], told["reasons"]) == verdict
    assert is_ambiguous(told) or (status != "passed" and not found) or alone(told) == said
    ours = with_video_reasons({**said, "engine": "signal", "reasons": [], "status": "passed"}, found)
    assert not is_ambiguous(ours) and (alone(ours)["status"], alone(ours)["reasons"]) == ("passed", [])


def test_what_no_engine_measured_keeps_its_verdict() -> None:
    lost = row("v", 1, (), status="error", reasons=["timeout"], detail="no answer", engine="", attempts=2)
    broken = row("v", 2, (), status="failed", reasons=["undecodable"], detail="flac_header: no", attempts=1)
    kept = by_column([lost, broken], chain("signal", "vad"))
    keys = ("status", "reasons", "engine", "attempts", "detail", "engine_versions")
    assert [[one[key] for key in keys] for one in kept] == [[one[key] for key in keys] for one in (lost, broken)]
