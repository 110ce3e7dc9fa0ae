"""The engines that speak, as they are asked: command lines, and the Python packages kokoro and coqui-tts.

`make` runs in a killable worker (`resplice.io.sandbox`): what hangs there is killed with all that it has started, and a
model stays loaded in it for the next chunk.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from resplice.transforms.records import Reason, Refusal, UserError
from resplice.transforms.voices import COMMAND, Engine

_PACKAGES = {"kokoro": ("kokoro", "kokoro"), "xtts": ("TTS", "coqui-tts")}
"""Adapter → the module that it imports, and the package that has it."""
_KOKORO = "hexgrad/Kokoro-82M"
_KOKORO_HZ = 24000
_XTTS = "tts_models/multilingual/multi-dataset/xtts_v2"
_TAIL = 2000
_Speak = Callable[[str, str, str], None]


def voices(engine: Engine) -> tuple[str, ...]:
    """Return the voices of an engine; those of espeak-ng are the ones that it lists, and any of them with a variant."""
    if engine.voices:
        return engine.voices
    program = engine.command[0]
    if shutil.which(program) is None:
        return (engine.default_voice,)
    listed = _listed(program, "--voices")
    codes = {row[1] for row in listed} | {row[4].rpartition("/")[2] for row in listed if len(row) > 4}
    codes |= {word.strip("()") for row in listed for word in row[5:] if word.startswith("(")}
    return tuple(sorted(codes))


def is_voice(engine: Engine, voice: str) -> bool:
    """Return whether an engine has a voice."""
    base, plus, variant = voice.partition("+")
    known = voices(engine)
    if engine.voices or not plus:
        return voice in known
    names = {row[4].rpartition("/")[2] for row in _listed(engine.command[0], "--voices=variant") if len(row) > 4}
    return base in known and variant in names


def _listed(program: str, option: str) -> list[list[str]]:
    try:
        done = subprocess.run([program, option], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{program} {option} does not list its voices: {error}") from None
    return [line.split() for line in done.stdout.splitlines()[1:]]


def lacks(engine: Engine) -> str:
    """Return what an engine lacks here and the remedy, "" if it can be asked; nothing is imported or started."""
    if engine.kind == COMMAND:
        program = engine.command[0]
        if shutil.which(program):
            return ""
        remedy = " (Debian: apt install espeak-ng)" if program == "espeak-ng" else ""
        return f"engine {engine.name}: there is no program {program}: install it{remedy}, or name another engine"
    module, package = _PACKAGES[engine.kind]
    if importlib.util.find_spec(module) is not None:
        return ""
    return (
        f"engine {engine.name}: the Python package {package} is not installed: pip install 'resplice[{engine.kind}]', "
        f"or give it a command in [synthesis.engines.{engine.name}]"
    )


def make(engine: Engine, voice: str, text: str, wav: str, folder: str, environ: Mapping[str, str]) -> None:
    """Speak the text file `text` with a voice into the file `wav`; a command runs in a folder and an environment.

    Raises Refusal `engine_failed` for an engine that ends with an error, and UserError for one that is not here.
    """
    if engine.kind == COMMAND:
        _run(engine.words(voice, text, wav), folder, environ)
        return
    if missing := lacks(engine):
        raise UserError(missing)
    try:
        _ADAPTERS[engine.kind](engine.model)(Path(text).read_text("utf-8-sig"), voice, wav)
    except Exception as error:  # whatever a foreign package raises is its failure of this chunk
        raise Refusal(Reason.ENGINE_FAILED, f"{type(error).__name__}: {error}") from error


def _run(words: list[str], folder: str, environ: Mapping[str, str]) -> None:
    with tempfile.TemporaryFile() as told:
        quiet: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": told, "stderr": told}
        try:
            done = subprocess.run(words, cwd=folder, env=dict(environ), **quiet)
        except (OSError, ValueError) as error:
            raise Refusal(Reason.ENGINE_FAILED, f"{words[0]}: {error}") from None
        if done.returncode:
            told.seek(max(told.seek(0, os.SEEK_END) - _TAIL, 0))
            lines = told.read().decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
            raise Refusal(Reason.ENGINE_FAILED, f"{Path(words[0]).name} ended with {done.returncode}: {last}")


@functools.cache
def _kokoro(model: str) -> _Speak:
    """Load kokoro: from a folder laid out as its repository (config.json, *.pth, voices/), or as its package does."""
    import soundfile
    import torch
    from kokoro import KModel, KPipeline

    torch.set_num_threads(os.cpu_count() or 1)
    folder = Path(model)
    weights = str(next(iter(sorted(folder.glob("*.pth"))), folder / "kokoro-v1_0.pth"))
    local: dict[str, Any] = {"config": str(folder / "config.json"), "model": weights} if model else {}
    loaded = KModel(repo_id=_KOKORO, **local).eval()

    @functools.cache
    def pipeline(language: str) -> Any:
        return KPipeline(lang_code=language, repo_id=_KOKORO, model=loaded)

    def speak(text: str, voice: str, wav: str) -> None:
        named = str(folder / "voices" / f"{voice}.pt") if model else voice
        with soundfile.SoundFile(wav, "w", _KOKORO_HZ, 1, "PCM_16") as sink:
            for part in pipeline(voice[0])(text, voice=named):  # the first letter of a voice is its language
                if part.audio is not None:
                    sink.write(part.audio.numpy())

    return speak


@functools.cache
def _xtts(model: str) -> _Speak:
    """Load XTTS: from a folder with its checkpoint and config.json, or the model that its package fetches."""
    import torch
    from TTS.api import TTS

    torch.set_num_threads(os.cpu_count() or 1)
    local = {"model_path": model, "config_path": str(Path(model) / "config.json")}
    loaded = TTS(**local, progress_bar=False) if model else TTS(_XTTS, progress_bar=False)

    def speak(text: str, voice: str, wav: str) -> None:
        speaker = voice.replace("_", " ").title()  # its built-in speakers: "Claribel Dervla"
        loaded.tts_to_file(text=text, speaker=speaker, language="en", file_path=wav)

    return speak


_ADAPTERS: dict[str, Callable[[str], _Speak]] = {"kokoro": _kokoro, "xtts": _xtts}
