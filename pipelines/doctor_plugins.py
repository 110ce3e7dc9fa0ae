"""The checks of `doctor` on what works with audio: libsndfile, killable workers, and the plug-ins in them.

What is heavy is imported where it is probed: a package that cannot be imported is a finding, too.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resplice.io.voices import lacks
from resplice.pipelines.doctor_checks import Situation, wrong_packages
from resplice.transforms import checkup, voices
from resplice.transforms.again import ALL_UNSURE
from resplice.transforms.checkup import Finding, State
from resplice.transforms.records import Reason, Refusal, UserError

if TYPE_CHECKING:
    from resplice.io.sandbox import Sandbox

PLUGIN_S = 10.0
HANG_S = 0.5
LIMIT_MB = 256
RATE = 16_000


def tone() -> Any:
    """Return a second of a tone: int16, shape (16000, 1), at 16 kHz."""
    import numpy as np

    return (12_000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.int16).reshape(-1, 1)


def audio(_: Any) -> Iterator[Finding]:
    """Check that FLAC goes through libsndfile and back without a change."""
    import soundfile

    from resplice.io import audio as codec

    samples = tone()
    decoded = codec.decode(codec.encode(samples, RATE, 16))
    codec.verify(decoded)
    if decoded.md5 != codec.pcm_md5(samples, 16):
        raise UserError("FLAC does not decode to the samples that it was made of")
    yield Finding("audio", State.OK, f"libsndfile {soundfile.__libsndfile_version__}: FLAC comes back as it was")


def worker(_: Any) -> Iterator[Finding]:
    """Check that workers start, that a hang is killed, and that their memory is limited."""
    from resplice.io.sandbox import Sandbox

    with Sandbox(HANG_S, LIMIT_MB) as sandbox:
        if (refusal := _refused(sandbox, "time:sleep", 600)) is None or refusal.reason != Reason.TIMEOUT:
            raise UserError(f"a worker that hangs is not killed by its timeout: {refusal or 'it came back'}")
    with Sandbox(PLUGIN_S, LIMIT_MB) as sandbox:
        refusal = _refused(sandbox, "builtins:bytearray", 2 * LIMIT_MB << 20)
    if refusal is None or refusal.reason != Reason.OUT_OF_MEMORY:
        yield Finding("worker", State.WARNING, "starts and can be killed; its memory is not limited on this system",
                      "limit the memory of the whole command, e.g. by a container")  # fmt: skip
    else:
        yield Finding("worker", State.OK, "starts; a hang is killed, a huge allocation is stopped")


def _refused(sandbox: Sandbox, function: str, argument: Any) -> Refusal | None:
    try:
        sandbox.call(function, argument)
    except Refusal as refusal:
        return refusal
    return None


def splitter(situation: Situation) -> Iterator[Finding]:
    """Check that the splitter loads in a killable worker, and cuts a second of audio."""
    from resplice.io.rebuild import splitter_settings

    polish = situation.settings.polish
    version = _in_worker(situation, "resplice.io.cut:version", polish.splitter)
    made = _in_worker(situation, "resplice.io.cut:regenerate", _flac(), polish.splitter, splitter_settings(polish),
                      None)  # fmt: skip
    cut = f"a second of audio gives {len(made.cuts)} piece{'' if len(made.cuts) == 1 else 's'}"
    yield Finding("splitter", State.OK, f"{polish.splitter}{_called(version)}: {cut}")


def json_writer(situation: Situation) -> Iterator[Finding]:
    """Check that the JSON writer loads in a killable worker, and writes a segment."""
    writer, columns = situation.settings.repair.json, vars(situation.settings.database.columns)
    row: dict[str, Any] = {theirs: "probe" for theirs in columns.values() if theirs}
    row |= {columns["id"]: 1, columns["created_at"]: "2026-01-01T00:00:00Z"}
    row |= {columns["duration_s"]: 1.0} if columns["duration_s"] else {}
    segment = {"video_id": "probe", "segment_file": "a.flac_split0", "stem": "a_split0", "original": "a",
               "split_index": 0, "start_s": 0.0, "end_s": 1.0, "row": row}  # fmt: skip
    version = _in_worker(situation, "resplice.io.cut:version", writer)
    [data] = _in_worker(situation, "resplice.io.cut:write_json", writer, [segment])
    yield Finding("json", State.OK, f"{writer}{_called(version)}: {len(data)} bytes for a segment")


def engines(situation: Situation) -> Iterator[Finding]:
    """Check that each configured engine loads in a killable worker, and judges a second of audio."""
    from resplice.io import engines as installed

    chain, missing = installed.chain_of(situation.settings.validate)
    whole = situation.settings.run.timeout_s  # a large model takes its time to load
    for name in missing:
        yield checkup.missing_engine(name, _extras())
    for name, given in chain.engines:
        spec = installed.ChainSpec(((name, given),))
        try:
            version = _in_worker(situation, "resplice.io.engines:versions", spec, seconds=whole)[name]
            row = {"transcription": "a second of audio", "duration_s": 1.0}
            judged = _in_worker(situation, "resplice.io.chain:judge_segment", _flac(), row, spec, None,
                                seconds=whole)  # fmt: skip
        except UserError as error:
            remedy = f"mend [validate.{name}] or what the engine needs, or leave it out of [validate] engines"
            yield Finding(f"engine {name}", State.FAILED, error.message, remedy)
            continue
        if judged.status == "error" and judged.detail != ALL_UNSURE:
            yield Finding(f"engine {name}", State.FAILED, f"version {version}: {judged.detail}",
                          f"see why it cannot judge audio, or leave {name} out of [validate] engines")  # fmt: skip
        else:
            yield Finding(f"engine {name}", State.OK, f"version {version}: judges a second of audio")


def speech(situation: Situation) -> Iterator[Finding]:
    """Tell which engines that speak can be asked here; none is started."""
    known = voices.engines((name, dict(table)) for name, table in situation.settings.synthesis.engines)
    for name, engine in known.items():
        if lack := lacks(engine):
            yield Finding(f"speech {name}", State.ABSENT, *lack.removeprefix(f"engine {name}: ").split(": ", 1))
        else:
            yield Finding(f"speech {name}", State.OK, "is there, for `synthesize`")


def optional(_: Any) -> Iterator[Finding]:
    """Tell which optional engines and extras there are not."""
    points, provided = importlib.metadata.entry_points(group="resplice.engines"), _extras()
    others = {point.name for point in points if point.name not in provided}
    there = {name for name in (*checkup.EXTRAS, *checkup.ENGINES) if name in provided and not wrong_packages(name)}
    yield from checkup.optional(there | others, provided)


def _extras() -> list[str]:
    return importlib.metadata.metadata("resplice").get_all("Provides-Extra") or []


def _called(version: str) -> str:
    return f" {version}" if version else ""


def _flac() -> bytes:
    from resplice.io.audio import encode

    return encode(tone(), RATE, 16)


def _in_worker(situation: Situation, function: str, *arguments: Any, seconds: float = PLUGIN_S) -> Any:
    """Call a function in a killable worker; UserError tells what became of it if it does not answer."""
    from resplice.io.pool import borrowed

    run = situation.settings.run
    with borrowed(min(run.timeout_s, seconds), run.memory_mb) as sandbox:
        try:
            return sandbox.call(function, *arguments)
        except Refusal as refusal:
            raise UserError(str(refusal)) from None
