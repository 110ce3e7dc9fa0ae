"""The engine `asr`: real audio through the real runtime, heard by a graph of one matrix that the test builds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tonespeech
from hypothesis import given
from hypothesis import strategies as st

from resplice.io import asking, rejudging
from resplice.io.asr import Asr, agreement
from resplice.io.audio import encode
from resplice.io.chain import judge_segments
from resplice.io.context import Context
from resplice.io.engines import ChainSpec, chain_of
from resplice.io.pool import close_all
from resplice.io.rows import Row
from resplice.transforms.agreement import normal
from resplice.transforms.kinds import ASR
from resplice.transforms.provenance import Run
from resplice.transforms.records import UserError
from resplice.transforms.settings import RunOptions, Settings, Validate

SAID = "head bag cafe deaf fade"
SEGMENTS = [SAID, "gab bed fade cafe head bag deaf", "bag head fade cafe deaf bed", "deaf cafe bag head"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tonespeech.build(tmp_path_factory.mktemp("model")))


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_what_was_said_agrees_with_its_text(model: str, rate: int) -> None:
    status, reasons, found = Asr(model=model).judge(
        tonespeech.say(SAID, rate), rate, {"transcription": "Head, bag; CAFE deaf — fade!"}
    )
    assert (status, reasons, found["asr_text"]) == ("passed", [], SAID)
    assert [found[name] for name in ("wer", "cer", "cer_start", "cer_end")] == [0.0] * 4


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("deed " + SAID.removesuffix(" fade"), ["cer_start_high", "cer_end_high"]),
        ("added beef " + SAID, ["cer_start_high"]),
        (SAID.removesuffix(" fade"), ["cer_end_high"]),
        ("a gee", ["wer_high", "cer_high", "cer_start_high", "cer_end_high"]),
    ],
)
def test_a_text_that_moved_by_a_word_is_found_at_its_edges(model: str, text: str, reasons: list[str]) -> None:
    given_ = {"wer_high": 0.75, "cer_start_high": 0.4, "cer_end_high": 0.4}
    status, found, _ = Asr(model=model, **given_).judge(tonespeech.say(SAID), 16000, {"transcription": text})
    assert (status, found) == ("failed", reasons)


@pytest.mark.parametrize(("word", "rate"), [("I ", 4 / 12), ("he ", 6 / 12), ("then ", 10 / 12)])
def test_a_short_word_too_many_or_too_few_at_an_edge_is_found_by_default(word: str, rate: float) -> None:
    said = "walked along the river bank"
    for text, heard in ((word + said, said), (said, word + said)):
        found = agreement(text, heard)
        assert found["cer_start"] == pytest.approx(rate, abs=0.01)
        assert "cer_start_high" in Asr.kind.decider({}).decide(found)[1]


def test_an_edge_that_ends_with_a_space_has_12_characters_too() -> None:
    assert agreement("the old dog walked", "the old dogs walked")["cer_start"] == 1 / 12


def test_the_version_says_what_computes(model: str) -> None:
    import onnxruntime

    assert f"; onnxruntime {onnxruntime.__version__} CPUExecutionProvider; model " in Asr(model=model).version
    assert "; soxr " in Asr(model=model).version


def test_no_text_agrees_with_silence_alone(model: str) -> None:
    assert Asr(model=model).measure(tonespeech.say(SAID), 16000, {})["wer"] == 1.0
    assert agreement("", "") == {"wer": 0.0, "cer": 0.0, "cer_start": 0.0, "cer_end": 0.0, "asr_text": ""}
    assert agreement("…!", "")["cer"] == 0.0


def segments() -> list[tuple[Any, int, dict[str, Any]]]:
    return [(tonespeech.say(text), 16000, {"transcription": text}) for text in SEGMENTS]


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_a_batch_of_any_size_gives_the_same(model: str, batch: int) -> None:
    alone = [Asr(model=model).judge(*segment) for segment in segments()]
    assert Asr(model=model, batch=batch).judge_all(segments()) == alone
    assert [answer[2]["asr_text"] for answer in alone] == SEGMENTS


def test_a_segment_that_the_model_cannot_take_costs_itself_alone(model: str) -> None:
    engine = Asr(model=model, batch=8)
    real, calls = engine._model, []

    class Sour:
        def recognize(self, signals: list[Any], sample_rate: int) -> Any:
            calls.append(len(signals))
            if any(abs(len(signal) - 0.1 * sample_rate) < 1 for signal in signals):
                raise RuntimeError("too short for me")
            return real.recognize(signals, sample_rate=sample_rate)

    engine.__dict__["_model"] = Sour()
    short = (np.zeros((10, 1), np.int16), 16000, {})
    answers = engine.judge_all([segments()[0], short, segments()[1]])
    assert [answer[0] if isinstance(answer, tuple) else str(answer) for answer in answers] == [
        "passed", "too short for me", "passed"]  # fmt: skip
    assert calls == [3, 1, 1, 1]


def test_the_chain_asks_it_only_what_the_others_left_open(model: str) -> None:
    spec = ChainSpec((
        ("signal", (("too_long_s", 6.0), ("margin_too_long_s", 0.1))), ("asr", (("model", model), ("batch", 2))),
    ))  # fmt: skip
    made = [tonespeech.say(text) for text in SEGMENTS]
    length = sorted(len(samples) / 16000 for samples in made)[2]
    spec = ChainSpec((("signal", (("too_long_s", length), ("margin_too_long_s", 0.05))), spec.engines[1]))
    flacs = [encode(samples, 16000, 16) for samples in made]
    judged = judge_segments(flacs, [{"transcription": text} for text in SEGMENTS], spec, None)
    assert spec.batch == 2
    assert sorted(verdict.engine for verdict in judged) == ["asr", "signal", "signal", "signal"]
    for verdict in judged:
        assert verdict.asked == (("signal", "asr") if verdict.engine == "asr" else ("signal",))
        assert ("asr_text" in verdict.measures) == (verdict.engine == "asr")
        assert [name for name, _ in verdict.spent] == ["decode", *verdict.asked]


@pytest.fixture
def poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install an engine that does what a text says."""
    folder = tmp_path / "site/thirdparty-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[resplice.engines]\npoisoned = plugins:Poisoned\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    close_all()
    yield
    close_all()


@dataclass
class Tar:
    """Segments as the tar of a video gives them."""

    flacs: list[bytes]

    def read(self, member: Any) -> bytes:
        return self.flacs[member.name]


def test_a_segment_of_a_batch_that_kills_or_hangs_its_worker_costs_itself_alone(model: str, poisoned: None) -> None:
    texts = ["abort", SAID, "nan", "hang", SAID]
    flac = encode(tonespeech.say(SAID), 16000, 16)
    settings = replace(Settings(), run=replace(RunOptions(), timeout_s=6.0))
    context = Context(Run("r", "w", "test", ""), settings)
    spec = ChainSpec((("poisoned", ()), ("asr", (("model", model), ("batch", 8)))))
    tasks = [(SimpleNamespace(name=number, size=len(flac)), Row(number, "v", "s.flac", text, None, {}))
             for number, text in enumerate(texts)]  # fmt: skip
    judged = asking.judged(context, spec, Tar([flac] * len(texts)), tasks)  # type: ignore[arg-type]
    assert [(verdict.status, verdict.reasons) for verdict in judged] == [
        ("error", ("crashed",)), ("passed", ()), ("failed", tuple(rule.reason for rule in ASR.rules)),
        ("error", ("timeout",)), ("passed", ()),
    ]  # fmt: skip
    assert "measure level is nan" in judged[2].detail and judged[2].asked == ("asr",)


def test_the_place_of_a_model_is_no_part_of_what_it_says(model: str, tmp_path: Path) -> None:
    other = str(tonespeech.build(tmp_path / "elsewhere"))
    assert Asr(model=other).version == Asr(model=model).version
    (Path(other) / "vocab.txt").write_text((Path(other) / "vocab.txt").read_text().replace("a 0", "x 0"))
    assert Asr(model=other).version != Asr(model=model).version
    specs = [
        ChainSpec((("asr", (("model", where), ("batch", size), ("wer_high", 0.5))),))
        for where, size in ((model, 1), (other, 9))
    ]
    assert specs[0].deciding == specs[1].deciding == ChainSpec((("asr", (("wer_high", 0.5),)),))


def test_judging_again_refuses_another_model_and_tells_of_one_that_is_gone(model: str, tmp_path: Path) -> None:
    stored = [("asr", Asr(model=model).version), ("signal", "1")]
    other = tonespeech.build(tmp_path / "other")
    (other / "vocab.txt").write_text((other / "vocab.txt").read_text().replace("a 0", "x 0"))

    def notes(folder: Path | str) -> list[str]:
        return rejudging.other_models(ChainSpec((("signal", ()), ("asr", (("model", str(folder)),)))), stored)

    assert notes(model) == []
    with pytest.raises(UserError, match="the stored measures were made with"):
        notes(other)
    assert "is not there: the stored measures" in notes(tmp_path / "gone")[0] and len(notes("")) == 1


def test_the_last_engine_must_pass_something() -> None:
    validate = Validate(("vad", "snr"), engine_settings=(("vad", (("passes", False),)), ("snr", (("passes", False),))))
    with pytest.raises(UserError, match=r"\[validate.snr\] passes = false, and snr is the last"):
        chain_of(validate)
    assert chain_of(replace(validate, engines=("snr", "signal")))[0].names == ("snr", "signal")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "model is not set"),
        ({"model": "/nowhere/at/all"}, "there is no such folder"),
        ({"model": 3}, "give a string"),
        ({"model": "m", "batch": 0}, "give a whole number of at least 1"),
        ({"model": "m", "modle": "m"}, "the nearest known one is model"),
    ],
)
def test_a_wrong_setting_is_the_users_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Asr(**settings)


def test_a_folder_without_a_model_or_of_another_kind_is_told(model: str, tmp_path: Path) -> None:
    for settings in ({"model": str(tmp_path)}, {"model": model, "kind": "whisper"}):
        with pytest.raises(UserError, match="cannot be loaded: "):
            _ = Asr(**settings).version


@given(st.text(max_size=40))
def test_a_normal_text_is_its_own(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def test_what_does_not_sound_is_left_out() -> None:
    assert normal("“Don’t — STOP”,  said Ｎo. 5: 'yes'!") == "don't stop said no 5 yes"
