"""The chain of engines: who decides, what is recorded, and what a bad engine or a bad FLAC costs."""

from __future__ import annotations

import math
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plugins
import pytest

from resplice.io import engines
from resplice.io.audio import encode
from resplice.io.chain import judge_segment
from resplice.io.engines import ChainSpec, Judged, Signal, chain_of, missing, versions
from resplice.io.sandbox import Sandbox
from resplice.transforms.records import Reason, Refusal, UserError
from resplice.transforms.settings import SignalThresholds, Validate
from resplice.transforms.signal import MEASURES

RATE = 16_000
ROW = {"id": 1, "transcription": "some words that somebody said"}
GOOD = encode((np.sin(np.arange(2 * RATE) / 9) * 9000).astype(np.int16)[:, None], RATE, 16)
ENTRY_POINTS = """[resplice.engines]
scripted = plugins:Scripted
other = plugins:Scripted
third = plugins:Scripted
no_extra = no_such_module:Engine
broken = plugins:NoSuchClass
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a distribution with engines of third parties, as pip would."""
    folder = tmp_path / "thirdparty-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    engines._factory.cache_clear()


def chain(*parts: tuple[str, dict[str, Any]] | str) -> ChainSpec:
    pairs = [(part, {}) if isinstance(part, str) else part for part in parts]
    return ChainSpec(tuple((name, tuple(settings.items())) for name, settings in pairs))


def judged(*parts: tuple[str, dict[str, Any]] | str, flac: bytes = GOOD, row: dict[str, Any] | None = None) -> Judged:
    return judge_segment(flac, ROW if row is None else row, chain(*parts), 10**8)


def says(status: str, *reasons: str, **measures: Any) -> dict[str, Any]:
    return {"status": status, "reasons": reasons, "measures": tuple(measures.items())}


def test_the_built_in_engine_passes_good_audio_with_all_measures() -> None:
    verdict = judged("signal")
    assert (verdict.status, verdict.reasons, verdict.engine, verdict.attempts) == ("passed", (), "signal", 1)
    assert tuple(verdict.measures) == MEASURES
    assert verdict.measures["duration_s"] == 2.0
    assert verdict.measures["chars"] == 25
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_the_pcm_digest_is_the_one_of_the_header_also_when_the_engine_is_used_alone() -> None:
    samples = (np.arange(300) << 8).astype(np.int32)[:, None]
    flac = encode(samples, RATE, 24)
    alone = Signal().judge(samples, RATE, {})[2]
    assert alone["pcm_md5"] == judged("signal", flac=flac).measures["pcm_md5"] == flac[26:42].hex()


@pytest.mark.parametrize("row", [{}, {"transcription": None}, {"transcription": ""}])
def test_a_row_without_text_is_an_empty_text(row: dict[str, Any]) -> None:
    assert "empty_text" in judged("signal", row=row).reasons


def test_settings_move_thresholds_and_what_is_measured() -> None:
    verdict = judged(("signal", {"too_long_s": 1.5, "silence_gap_dbfs": 0.0, "silence_gap_s": 1.0}))
    assert (verdict.status, verdict.reasons) == ("failed", ("too_long", "silence_gap"))
    assert verdict.measures["silence_ratio"] == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"too_longs": 1}, "[validate.signal] too_longs is not a setting; the nearest known one is too_long_s"),
        ({"margin_rate_lo": 1}, "the nearest known one is margin_rate_low"),
        ({"rate_low": "1"}, "rate_low = '1': give a finite number"),
        ({"rate_low": True}, "give a finite number"),
        ({"rate_low": math.nan}, "give a finite number"),
        ({"margin_rate_low": -1}, "a margin is at least 0"),
    ],
)
def test_a_wrong_setting_of_signal_is_the_users_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        Signal(**settings)
    assert message in str(caught.value)
    with pytest.raises(UserError):
        judged(("signal", settings))


def test_within_a_margin_signal_is_unsure_and_the_next_engine_decides_with_its_own_settings() -> None:
    close = {"too_long_s": 1.9, "margin_too_long_s": 0.2}
    verdict = judged(("signal", close), ("scripted", says("failed", "odd", score=0.25)))
    assert (verdict.status, verdict.reasons, verdict.engine, verdict.attempts) == ("failed", ("odd",), "scripted", 2)
    assert verdict.measures["score"] == 0.25
    assert verdict.measures["duration_s"] == 2.0
    assert verdict.detail == "signal: unsure, too_long"


def test_a_certain_reason_outweighs_a_doubtful_one() -> None:
    verdict = judged(("signal", {"too_long_s": 1.9, "margin_too_long_s": 0.2, "rate_high": 2.0}))
    assert (verdict.status, verdict.reasons) == ("failed", ("too_long", "rate_high"))


@pytest.mark.parametrize("status", ["passed", "failed"])
def test_a_decision_ends_the_chain(status: str) -> None:
    verdict = judged(("scripted", says(status, "why")), ("other", {"raises": "never asked"}))
    assert (verdict.status, verdict.engine, verdict.attempts, verdict.detail) == (status, "scripted", 1, "")


def test_signal_measures_what_another_engine_decided_for_the_sake_of_the_neighbours() -> None:
    first = judged(("scripted", says("passed", score=0.5)), "signal", row={})
    assert (first.status, first.reasons, first.engine, first.attempts) == ("passed", (), "scripted", 1)
    assert first.asked == ("scripted", "signal")
    assert {"score", *MEASURES} == set(first.measures)


def test_unsure_by_every_engine_is_an_error_with_the_measures_of_all() -> None:
    verdict = judged(("scripted", says("unsure", a=1)), ("other", says("unsure", b=2)))
    assert verdict == Judged("error", ("engine_failed",), "other", 2, {"a": 1, "b": 2}, "unsure by every engine")


def test_errors_are_told_by_engine() -> None:
    verdict = judged(("scripted", {"raises": "no model"}), ("other", says("error", "busy")), ("third", says("unsure")))
    assert (verdict.status, verdict.reasons, verdict.engine, verdict.attempts) == (
        "error",
        ("engine_failed",),
        "third",
        3,
    )
    assert verdict.detail == "scripted: error, RuntimeError: no model; other: error, busy; third: unsure"


MALFORMED = [
    ({"status": "fine"}, "status 'fine'"),
    ({"status": None}, "status None"),
    ({"reasons": "silent"}, "reasons 'silent'"),
    ({"reasons": (1,)}, "reasons [1]"),
    ({"reasons": ("\ud800",)}, "UnicodeEncodeError"),
    ({"measures": (("x", math.nan),)}, "measure x is nan"),
    ({"measures": (("x", np.float32("inf")),)}, "measure x is inf"),
    ({"measures": (("x", 2**53 + 1),)}, "integers up to 2**53"),
    ({"measures": (("duration_s", "2.0 s"),)}, "measure duration_s is '2.0 s'; a number is expected"),
    ({"measures": (("chars", 3.5),)}, "measure chars is 3.5; a whole number is expected"),
    ({"measures": (("channels", True),)}, "measure channels is True"),
    ({"measures": (("pcm_md5", 5),)}, "measure pcm_md5 is 5; a string is expected"),
    ({"measures": (("snr_db", "n/a"),)}, "measure snr_db is 'n/a'; a number is expected"),
    ({"measures": (("x", [1]),)}, "measure x is a list"),
    ({"measures": (("x", "\ud800"),)}, "UnicodeEncodeError"),
    ({"measures": ((1, 1),)}, "measure 1"),
    ({"measures": (("status", "passed"),)}, "measure 'status'"),
    ({"raises": "short"}, "ValueError"),
    ({"raises": "write"}, "read-only"),
    ({"no_such_setting": 1}, "TypeError"),
]


@pytest.mark.parametrize(("settings", "detail"), MALFORMED)
def test_a_malformed_answer_is_an_error_of_that_engine_and_the_chain_goes_on(
    settings: dict[str, Any], detail: str
) -> None:
    verdict = judged(("scripted", settings))
    assert (verdict.status, verdict.reasons) == ("error", ("engine_failed",))
    assert detail in verdict.detail
    assert judged(("scripted", settings), "signal").status == "passed"


def test_numpy_scalars_are_plain_measures() -> None:
    found = judged(
        ("scripted", says("passed", a=np.float32(0.5), b=np.int64(3), c=np.bool_(True), d=None, e="x"))
    ).measures
    assert found == {"a": 0.5, "b": 3, "c": True, "d": None, "e": "x"}
    assert [type(value) for value in found.values()] == [float, int, bool, type(None), str]


def test_the_measures_of_signal_are_always_its_own() -> None:
    close = {"too_long_s": 2.0, "margin_too_long_s": 0.1}
    foreign = ("scripted", says("unsure", duration_s=99.0))
    assert judged(foreign, "signal").measures["duration_s"] == 2.0
    assert judged(("signal", close), ("other", says("passed", duration_s=99.0))).measures["duration_s"] == 2.0


def test_an_engine_cannot_change_the_row_of_the_next() -> None:
    row = dict(ROW)
    assert judged(("scripted", says("unsure")), "signal", row=row).measures["chars"] == 25
    assert row == ROW


def test_an_engine_is_made_once_for_its_settings() -> None:
    plugins.Scripted.made = 0
    for label in ("a", "a", "b", "a"):
        judged(("scripted", {"reasons": (f"once {label}",)}))
    assert plugins.Scripted.made == 2


def test_memory_is_for_the_sandbox_to_report() -> None:
    with pytest.raises(MemoryError):
        judged(("scripted", {"raises": "memory"}), "signal")


UNDECODABLE = [
    (b"", "flac_header"),
    (b"RIFF" + GOOD[4:], "flac_header"),
    (GOOD[: len(GOOD) // 2], "flac_truncated"),
]


@pytest.mark.parametrize(("flac", "code"), UNDECODABLE)
@pytest.mark.parametrize(("engine", "decider", "attempts"), [("signal", "signal", 1), ("scripted", "decode", 0)])
def test_what_does_not_decode_fails(flac: bytes, code: str, engine: str, decider: str, attempts: int) -> None:
    verdict = judged(engine, flac=flac)
    assert (verdict.status, verdict.reasons, verdict.measures) == ("failed", ("undecodable",), {})
    assert (verdict.engine, verdict.attempts) == (decider, attempts)
    assert verdict.detail.startswith(code)


def test_audio_above_the_cap_is_undecodable() -> None:
    verdict = judge_segment(GOOD, ROW, chain("signal"), 1000)
    assert verdict.reasons == ("undecodable",)
    assert verdict.detail.startswith("flac_too_large")


def with_count(count: int) -> bytes:
    packed = int.from_bytes(GOOD[18:26], "big") >> 36 << 36 | count
    return GOOD[:18] + packed.to_bytes(8, "big") + GOOD[26:]


MISMATCHES = [
    (with_count(RATE), "flac_truncated"),
    (with_count(3 * RATE), "flac_truncated"),
    (GOOD[:26] + bytes([GOOD[26] ^ 1]) + GOOD[27:], "flac_md5"),
]


@pytest.mark.parametrize(("flac", "code"), MISMATCHES)
def test_a_header_that_lies_fails_with_the_measures_and_reasons_of_signal(flac: bytes, code: str) -> None:
    verdict = judged(("scripted", says("passed")), ("signal", {"too_long_s": 1.0}), flac=flac)
    assert (verdict.status, verdict.reasons) == ("failed", ("header_mismatch", "too_long"))
    assert (verdict.engine, verdict.attempts) == ("signal", 1)
    assert verdict.measures["duration_s"] == 2.0
    assert verdict.detail.startswith(code)


def test_a_header_that_lies_fails_whatever_other_engines_say() -> None:
    verdict = judged(("scripted", says("passed")), flac=MISMATCHES[0][0])
    assert (verdict.status, verdict.reasons, verdict.engine, verdict.attempts, verdict.measures) == (
        *("failed", ("header_mismatch",), "decode"),
        *(0, {}),
    )


def test_unknown_count_and_digest_are_no_mismatch() -> None:
    assert judged("signal", flac=with_count(0)[:26] + bytes(16) + GOOD[42:]).status == "passed"


def test_engines_that_are_not_installed_or_lack_their_extra_are_missing() -> None:
    assert missing(["signal", "nowhere", "scripted", "no_extra"]) == ["nowhere", "no_extra"]


def test_without_any_engine_the_user_is_told_which_can_be_used() -> None:
    with pytest.raises(UserError) as caught:
        missing(["nowhere", "no_extra"])
    assert caught.value.exit_code == 2
    assert "['nowhere', 'no_extra']" in str(caught.value)
    assert "those that can: asr, loudness, other, scripted, signal, snr, third, vad" in str(caught.value)


def test_an_engine_whose_import_fails_otherwise_is_not_skipped() -> None:
    with pytest.raises(UserError, match="engine broken is installed, but cannot be loaded: AttributeError"):
        missing(["signal", "broken"])


def test_the_chain_of_the_settings_leaves_missing_engines_out_and_names_them() -> None:
    own = (("signal", (("margin_rate_low", 0.5),)), ("scripted", (("status", "unsure"),)), ("unused", (("x", 1),)))
    validate = Validate(("scripted", "nowhere", "signal"), SignalThresholds(too_long_s=9.0), own)
    spec, skipped = chain_of(validate)
    assert (spec.names, skipped) == (("scripted", "signal"), ["nowhere"])
    settings = {name: dict(values) for name, values in spec.engines}
    assert settings["scripted"] == {"status": "unsure"}
    assert (settings["signal"]["too_long_s"], settings["signal"]["margin_rate_low"]) == (9.0, 0.5)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert versions(spec) == {"scripted": "7", "signal": "1"}


def test_settings_that_an_engine_refuses_show_before_the_work() -> None:
    with pytest.raises(UserError, match=r"engine scripted cannot be made from \[validate.scripted\]: TypeError"):
        versions(chain(("scripted", {"statsu": 1})))
    with pytest.raises(UserError, match="nearest known one is too_long_s"):
        versions(chain(("signal", {"too_longs": 1})))


def test_the_chain_runs_in_the_killable_worker() -> None:
    with Sandbox(timeout_s=20, memory_mb=600) as box:
        work = "resplice.io.chain:judge_segment"
        assert box.call(work, GOOD, ROW, chain("scripted", "signal"), 10**8).engine == "scripted"
        with pytest.raises(Refusal) as caught:
            box.call(work, GOOD, ROW, chain(("scripted", {"raises": "abort"})), 10**8)
        assert caught.value.reason is Reason.CRASHED
        with pytest.raises(UserError, match="nearest known one is too_long_s"):
            box.call(work, GOOD, ROW, chain(("signal", {"too_longs": 1})), 10**8)
        assert box.call(work, GOOD, ROW, chain("signal"), 10**8) == judged("signal")
        loaded = box.call("plugins:heavy_modules")
    assert loaded == []
    assert str(Path(plugins.__file__).parent) in sys.path
