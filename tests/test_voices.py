"""The engines that speak: which there are, what their tables may say, how each is asked."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from speaking import demand

from resplice.io import voices
from resplice.transforms.records import Reason, Refusal, UserError
from resplice.transforms.voices import BUILT_IN, engines

COMMAND = ["say", "{voice}", "{text}", "{wav}"]


def test_the_built_in_engines_have_the_voices_of_the_contract() -> None:
    assert BUILT_IN["kokoro"].voices == ("af_bella", "af_sarah", "bf_emma", "am_adam", "bm_george")
    assert BUILT_IN["xtts"].voices == ("claribel_dervla", "gracie_wise", "ana_florence", "daisy_studious")
    assert {name: engine.default_voice for name, engine in BUILT_IN.items()} == {
        "espeak": "en-gb", "kokoro": "af_bella", "xtts": "claribel_dervla",
    }  # fmt: skip


def test_a_table_defines_an_engine_or_overrides_one() -> None:
    known = engines(
        [
            ("kokoro", {"command": COMMAND}),
            ("mine", {"command": COMMAND, "voices": ["a", "b"]}),
            ("xtts", {"model": "m"}),
        ]
    )
    assert known["kokoro"].kind == "command" and known["kokoro"].default_voice == "af_bella"
    assert known["mine"].default_voice == "a" and known["xtts"].model == "m" and known["xtts"].kind == "xtts"
    assert known["mine"].words("b", "t.txt", "o.wav") == ["say", "b", "t.txt", "o.wav"]


def test_placeholders_are_filled_once_also_where_a_path_holds_one() -> None:
    mine = engines([("m", {"command": ["x", "--in={text}:{wav}", "{voice}{voice}", "{else}"], "voices": ["v"]})])["m"]
    assert mine.words("v", "/a/{wav}.txt", "/o.wav") == ["x", "--in=/a/{wav}.txt:/o.wav", "vv", "{else}"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"voices": ["a"]}, r"\[synthesis.engines.mine\] must have a command and voices"),
        ({"command": COMMAND}, "must have a command and voices"),
        ({"command": ["say", "{text}"], "voices": ["a"]}, r"command must hold \{text\} and \{wav\}, got \['say'"),
        ({"command": COMMAND, "voices": ["a"], "default_voice": "c"}, r"must be one of its voices \(a\), got 'c'"),
    ],
)
def test_a_table_that_lacks_something_is_told(table: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        engines([("mine", table)])


def test_espeak_has_the_voices_that_it_lists_also_with_a_variant() -> None:
    demand()
    espeak = BUILT_IN["espeak"]
    assert {"en", "en-gb", "en-us", "de", "fr-fr"} <= set(voices.voices(espeak))
    assert [voices.is_voice(espeak, voice) for voice in ("en-us", "en+f3", "en+f333", "xx", "xx+f3", "")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_a_package_or_program_that_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert voices.lacks(BUILT_IN["kokoro"]).startswith("engine kokoro: the Python package kokoro is not installed: pip")
    with pytest.raises(UserError, match=r"coqui-tts is not installed: pip install 'resplice\[xtts\]'"):
        voices.make(BUILT_IN["xtts"], "ana_florence", "t", "w", ".", {})
    mine = engines([("mine", {"command": ["no-such-program", "{text}", "{wav}"], "voices": ["a"]})])["mine"]
    assert "engine mine: there is no program no-such-program" in voices.lacks(mine)
    with pytest.raises(Refusal, match="no-such-program") as error:
        voices.make(mine, "a", "t", "w", ".", {})
    assert error.value.reason == Reason.ENGINE_FAILED


@pytest.mark.parametrize("model", [False, True])
def test_kokoro_is_asked_as_its_package_documents_it(
    model: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package needs gigabytes of PyTorch: what stands for it here has the signatures of kokoro 0.9.4."""
    asked: list[Any] = []

    class KModel:
        def __init__(
            self, repo_id: str | None = None, config: str | None = None, model: str | None = None,
            disable_complex: bool = False,
        ) -> None:  # fmt: skip
            asked.append((repo_id, config, model))

        def eval(self) -> KModel:
            return self

    class KPipeline:
        def __init__(self, lang_code: str, repo_id: str | None = None, model: Any = True) -> None:
            asked.append((lang_code, type(model)))

        def __call__(self, text: str, voice: str | None = None, speed: float = 1) -> Any:
            asked.append((text, voice))
            tensor = types.SimpleNamespace(numpy=lambda: np.full(12000, 0.25, np.float32))
            yield from (types.SimpleNamespace(audio=audio) for audio in (tensor, None, tensor))

    package = types.SimpleNamespace(KModel=KModel, KPipeline=KPipeline, __spec__=True)
    monkeypatch.setitem(sys.modules, "kokoro", package)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(set_num_threads=lambda n: None))
    voices._kokoro.cache_clear()
    (tmp_path / "t.txt").write_text("Hello there.")
    folder = str(tmp_path) if model else ""
    engine = engines([("kokoro", {"model": folder})])["kokoro"]
    for voice in ("bf_emma", "bf_emma"):
        voices.make(engine, voice, str(tmp_path / "t.txt"), str(tmp_path / "o.wav"), ".", {})
    voices._kokoro.cache_clear()
    samples, rate = soundfile.read(tmp_path / "o.wav")
    assert (len(samples), rate) == (24000, 24000) and samples.max() == pytest.approx(0.25, abs=1e-3)
    spoken = ("Hello there.", f"{folder}/voices/bf_emma.pt" if model else "bf_emma")
    local = (f"{folder}/config.json", f"{folder}/kokoro-v1_0.pth") if model else (None, None)
    assert asked == [("hexgrad/Kokoro-82M", *local), ("b", KModel), spoken, spoken]  # loaded once


@pytest.mark.parametrize("model", [False, True])
def test_xtts_is_asked_for_its_built_in_speaker_and_never_for_a_clone(
    model: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package needs gigabytes of PyTorch: what stands for it here has the signatures of coqui-tts 0.28."""
    asked: list[Any] = []

    class TTS:
        def __init__(
            self, model_name: str = "", *, model_path: str | None = None, config_path: str | None = None,
            progress_bar: bool = True,
        ) -> None:  # fmt: skip
            asked.append((model_name, model_path, config_path))

        def tts_to_file(
            self, text: str, speaker: str | None = None, language: str | None = None, speaker_wav: Any = None,
            file_path: str = "output.wav",
        ) -> str:  # fmt: skip
            asked.append((text, speaker, language, speaker_wav))
            if "fail" in text:
                raise RuntimeError("CUDA out of memory")
            return file_path

    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(set_num_threads=lambda n: None))
    monkeypatch.setitem(sys.modules, "TTS", types.SimpleNamespace(__spec__=True))
    monkeypatch.setitem(sys.modules, "TTS.api", types.SimpleNamespace(TTS=TTS))
    voices._xtts.cache_clear()
    (tmp_path / "t.txt").write_text("Hello there.")
    (tmp_path / "f.txt").write_text("This will fail.")
    folder = str(tmp_path) if model else ""
    engine = engines([("xtts", {"model": folder})])["xtts"]
    voices.make(engine, "claribel_dervla", str(tmp_path / "t.txt"), "o.wav", ".", {})
    with pytest.raises(Refusal, match="RuntimeError: CUDA out of memory"):
        voices.make(engine, "claribel_dervla", str(tmp_path / "f.txt"), "o.wav", ".", {})
    voices._xtts.cache_clear()
    name = (
        ("", folder, f"{folder}/config.json")
        if model
        else ("tts_models/multilingual/multi-dataset/xtts_v2", None, None)
    )
    assert asked[:2] == [name, ("Hello there.", "Claribel Dervla", "en", None)] and len(asked) == 3
