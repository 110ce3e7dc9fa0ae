"""Tier-1 validation of spoken chunks: thresholds on both sides, and what a WAV header tells."""

from __future__ import annotations

import io
import struct
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from resplice.io import wav
from resplice.transforms.records import Damage
from resplice.transforms.settings import Synthesis
from resplice.transforms.speech import VALID, Attempt, allowed_s, explained, row, verdict, wav_frames

ACX = Synthesis()
GOOD = {"duration_s": 10.0, "rms_dbfs": -20.0, "peak_dbfs": -3.0, "longest_gap_s": 0.5}


@pytest.mark.parametrize(
    ("measures", "chars", "limits", "reason"),
    [
        ({}, 146, ACX, "valid"),
        ({"duration_s": 30.0}, 146, ACX, "valid"),
        ({"duration_s": 30.2}, 146, ACX, "duration_mismatch"),
        ({"duration_s": 200.0}, 3500, ACX, "valid"),
        ({"duration_s": 191.9}, 3500, ACX, "duration_mismatch"),
        ({"longest_gap_s": 2.0}, 146, ACX, "valid"),
        ({"longest_gap_s": 2.01}, 146, ACX, "silence_gap"),
        ({"rms_dbfs": -23.0}, 146, ACX, "valid"),
        ({"rms_dbfs": -23.01}, 146, ACX, "rms_too_low"),
        ({"rms_dbfs": -18.0}, 146, ACX, "valid"),
        ({"rms_dbfs": -17.99}, 146, ACX, "rms_too_high"),
        ({"rms_dbfs": -39.9}, 146, replace(ACX, level="legacy"), "valid"),
        ({"rms_dbfs": -40.1}, 146, replace(ACX, level="legacy"), "too_quiet"),
        ({"rms_dbfs": -5.0}, 146, replace(ACX, level="legacy"), "valid"),
        ({"duration_s": 0.3}, 2, ACX, "valid"),
        ({"duration_s": 0.29}, 2, ACX, "too_short"),
        ({"duration_s": 40.0, "longest_gap_s": 3.0, "rms_dbfs": -60.0}, 146, ACX, "duration_mismatch"),
        ({"longest_gap_s": 3.0, "rms_dbfs": -60.0}, 146, ACX, "silence_gap"),
    ],
)
def test_the_first_reason_that_holds_fails_a_chunk(
    measures: dict[str, float], chars: int, limits: Synthesis, reason: str
) -> None:
    found, details = verdict({**GOOD, **measures}, chars, limits)
    assert found == reason
    assert details["actual_duration"] == measures.get("duration_s", 10.0) and details["validation_mode"] == limits.level
    assert (explained(found, details) == "") == (found == VALID)


def test_the_tolerance_grows_with_the_text() -> None:
    limits = [allowed_s(seconds, 1.0) for seconds in (1.0, 10.0, 19.9, 20.0, 59.0, 60.0, 1000.0)]
    assert limits == pytest.approx([1.0, 8.0, 15.92, 5.0, 14.75, 12.0, 200.0])
    assert allowed_s(10.0, 20.0) == 20.0


def test_nothing_but_zeros_fails_in_both_modes(tmp_path: Path) -> None:
    for seconds in (1.0, 5.0):
        soundfile.write(tmp_path / "z.wav", np.zeros(int(seconds * 8000), np.int16), 8000)
        measures = wav.measured(str(tmp_path / "z.wav"))
        for mode in ("acx", "legacy"):
            assert verdict(measures, 15, replace(ACX, level=mode))[0] in ("rms_too_low", "too_quiet", "silence_gap")


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_kind_of_pcm_and_float_is_measured_alike(tmp_path: Path, subtype: str) -> None:
    tone = 0.1 * np.sin(np.arange(24000) / 24000 * 2 * np.pi * 440)
    soundfile.write(tmp_path / "t.wav", np.stack([tone, tone], 1), 24000, subtype)
    assert wav.frames(tmp_path / "t.wav") == 24000 and wav.fault(tmp_path / "t.wav") == ""
    measures = wav.measured(str(tmp_path / "t.wav"))
    assert measures["duration_s"] == 1.0 and measures["rms_dbfs"] == pytest.approx(-23.01, abs=0.1)


def header(**more: Any) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sink:
        sink.setnchannels(more.get("channels", 1))
        sink.setsampwidth(2)
        sink.setframerate(8000)
        sink.writeframes(bytes(more.get("bytes", 200)))
    return out.getvalue()


def frames_of(data: bytes, size: int | None = None) -> int | None:
    return wav_frames(lambda at, count: data[at : at + count], len(data) if size is None else size)


def test_the_header_of_a_wav_says_whether_it_is_whole() -> None:
    data = header()
    assert frames_of(data) == 100
    for length in (3, 70_000):
        listed = data[:36] + b"LIST" + struct.pack("<I", length) + bytes(length + length % 2) + data[36:]
        assert frames_of(listed) == 100
        with pytest.raises(Damage, match="wav_truncated"):
            frames_of(listed[:-1])
    for cut in range(12, len(data)):
        with pytest.raises(Damage, match="wav_"):
            frames_of(data[:cut])
    streamed = data[:40] + b"\xff\xff\xff\xff" + data[44:]  # what a program writes that cannot seek
    with pytest.raises(Damage, match="wav_truncated: 200 bytes of audio, its header says 4294967295"):
        frames_of(streamed)


@given(st.binary(max_size=80), st.integers(0, 10**6))
def test_any_bytes_are_a_wav_or_damage(data: bytes, size: int) -> None:
    for head in (data, header()[:36] + data, b"RIFF\0\0\0\0WAVE" + data):
        try:
            assert (frames_of(head, size) or 0) >= 0
        except Damage as damage:
            assert damage.code in ("wav_header", "wav_truncated")


KINDS = [
    *(("WAV", subtype) for subtype in ("ULAW", "ALAW", "MS_ADPCM", "IMA_ADPCM", "GSM610")),
    *(("RF64", subtype) for subtype in ("PCM_16", "ULAW")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")),
]


@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_audio_of_another_kind_is_good_if_it_can_be_decoded_to_its_end(tmp_path: Path, kind: str, subtype: str) -> None:
    file, tone = tmp_path / "t.wav", 0.1 * np.sin(np.arange(8000) / 8000 * 2 * np.pi * 440)
    soundfile.write(file, tone, 8000, subtype, format=kind)
    assert wav.fault(file) == "" and wav.frames(file) >= 8000
    if kind in ("FLAC", "OGG", "MP3"):
        with pytest.raises(Damage, match=f"it is {kind}, not WAV"):
            wav.measured(str(file))  # an engine must make WAV
    else:
        assert wav.measured(str(file))["rms_dbfs"] == pytest.approx(-23.01, abs=0.3)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 2 // 3])
    assert wav.fault(file) == "unreadable_audio"


def test_a_file_that_is_missing_empty_or_no_audio_has_its_fault(tmp_path: Path) -> None:
    for name, data in {"empty": b"", "text": b"hello", "none": header(bytes=0)}.items():
        (tmp_path / name).write_bytes(data)
    faults = [wav.fault(tmp_path / name) for name in ("gone", ".", "empty", "text", "none", "x" * 300, "empty/x", "\0")]
    assert faults == [None, None, "empty_audio", "unreadable_audio", "empty_audio", None, None, None]


def test_a_row_tells_who_made_it_and_who_failed_before() -> None:
    attempts = [Attempt("k", "a", "timeout", "no answer in 1 s", seconds=1.0), Attempt("x", "b", VALID, "", {"d": 1})]
    made = row(3, 875, ACX, attempts, 2, audio_path="p", audio_sha256="s", text_sha256="t")
    assert (made["chunk_id"], made["status"], made["engine"], made["voice"]) == ("chunk_0003", "success", "x", "b")
    assert (made["attempts"], made["errors"], made["est_dur"]) == (4, ["k (a): timeout: no answer in 1 s"], 60.0)
    bare = row(1, 0, ACX, [], 0, audio_path=None, audio_sha256=None, text_sha256=None, why="empty_text")
    assert (bare["status"], bare["validation_reason"], bare["engine"]) == ("failed", "empty_text", None)
