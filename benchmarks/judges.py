"""What each engine costs on one core, and how long a million stored results take to decide again.

    python benchmarks/judges.py [--audio FOLDER] [--model FOLDER] [--minutes 10] [--rows 1000000]

Audio: the FLACs of a folder, else made at 16 kHz: noise shaped as speech is, in bursts of words (what speech costs the
detector and a model depends little on what is said). Each engine judges every segment alone, through the same calls as
in a worker, after one segment to warm up; the factor is seconds of audio by seconds of work. `asr` needs --model;
without one a graph of a single matrix stands in for it, which tells what the runtime and the rates of edits cost, and
nothing of a model.

Rows: what `validate` leaves of 20,000 videos of 50 segments, with the measures of `signal` and `snr`: shards, sidecars
and ledger in 128 work items. All of `validate --rejudge` but the start of Beam, in one thread: digests, reading, every
reason of every row by other thresholds, shards, sidecars and ledger written. Exit 1 if that takes 10 s of CPU or more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile

from resplice.io import ledger, rejudging, results, shards, sidecars
from resplice.io.audio import encode
from resplice.io.chain import judge_segments
from resplice.io.context import Context
from resplice.io.engines import ChainSpec
from resplice.io.judging import shard_key
from resplice.io.ledger import Entry
from resplice.io.work import Item, Planned
from resplice.transforms import provenance
from resplice.transforms.provenance import Run
from resplice.transforms.settings import Corpus, Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
LIMIT_S = 10.0
SEGMENT_S = 8.0
PER_VIDEO = 50
ITEMS = 128


def made(minutes: float) -> Iterator[bytes]:
    """Return segments of bursts of noise: FLACs of 8 s at 16 kHz."""
    random, rate = np.random.default_rng(0), 16_000
    for _ in range(max(2, round(minutes * 60 / SEGMENT_S))):
        frames = int(SEGMENT_S * rate)
        burst = np.clip(np.sin(2 * np.pi * 2.5 * np.arange(frames) / rate + random.uniform(0, 6)), 0, 1)
        noise = np.convolve(random.normal(size=frames), np.hanning(24) / 6, "same")
        yield encode(np.round(3000 * burst * noise).clip(-32768, 32767).astype(np.int16)[:, None], rate, 16)


def given(folder: Path) -> Iterator[bytes]:
    """Return the FLACs of a folder as they are."""
    return (path.read_bytes() for path in sorted(folder.rglob("*.flac")))


def seconds_of(flac: bytes) -> float:
    """Return the length of a FLAC."""
    import io

    return float(soundfile.info(io.BytesIO(flac)).duration)


def factor(flacs: list[bytes], spec: ChainSpec, together: int = 1) -> tuple[float, float]:
    """Return how many seconds of audio a second of work judges, and the seconds of work; decoding is left out."""
    rows: list[dict[str, Any]] = [{"transcription": "some words that somebody said in this segment"}] * len(flacs)
    judge_segments(flacs[:1], rows[:1], spec, None)
    verdicts = [v for n in range(0, len(flacs), together)
                for v in judge_segments(flacs[n : n + together], rows[n : n + together], spec, None)]  # fmt: skip
    spent = sum(seconds for verdict in verdicts for name, seconds in verdict.spent if name != "decode")
    return sum(map(seconds_of, flacs)) / spent, spent


def table(rows: int) -> pa.Table:
    """Return a shard with the measures of `signal` and `snr`, whose values stand on both sides of the thresholds."""
    random, columns = np.random.default_rng(0), {}
    seconds = random.uniform(1, 12, rows)
    chars = (seconds * random.normal(15, 2, rows)).clip(0).astype(np.int64)
    video = [f"video-{number // PER_VIDEO:08d}" for number in range(rows)]
    stems = [f"s_{number % PER_VIDEO:04d}" for number in range(rows)]
    columns = {
        "video_id": pa.array(video), "segment_file": pa.array(stems),
        "db_segment_file": pa.array([f"{stem}.flac" for stem in stems]),
        "row_id": pa.array(np.arange(rows)), "split_index": pa.nulls(rows, pa.int64()),
        "status": pa.array(["passed"] * rows), "reasons": pa.array([[]] * rows, pa.list_(pa.string())),
        "engine": pa.array(["signal"] * rows), "attempts": pa.array(np.ones(rows, np.int64)),
        "run_id": pa.array(["r"] * rows), "detail": pa.nulls(rows, pa.string()),
        "engine_versions": pa.array([["signal 1", "snr 1"]] * rows, pa.list_(pa.string())),
        "duration_s": pa.array(seconds), "sample_rate": pa.array(np.full(rows, 16_000)),
        "channels": pa.array(np.ones(rows, np.int64)), "peak_dbfs": pa.array(random.uniform(-65, 0, rows)),
        "rms_dbfs": pa.array(random.uniform(-50, -10, rows)),
        "clipped_ratio": pa.array(random.exponential(0.003, rows)),
        "silence_ratio": pa.array(random.uniform(0, 1, rows)), "longest_gap_s": pa.array(random.exponential(1, rows)),
        "chars": pa.array(chars), "chars_per_s": pa.array(chars / seconds),
        "words_per_s": pa.array(chars / seconds / 5), "unique_word_ratio": pa.array(random.uniform(0.5, 1, rows)),
        "pcm_md5": pa.array([f"{number:032x}" for number in random.integers(0, 1 << 60, rows)]),
        "snr_db": pa.array(random.uniform(0, 60, rows)),
    }  # fmt: skip
    assert set(results.BASE) <= set(columns)
    return pa.table(columns)


def stored(context: Context, rows: int) -> list[Item]:
    """Write what `validate` leaves of so many results: shards, sidecars and the ledger, in ITEMS work items."""
    store, whole, made = context.workspace.store, table(rows), []
    per_item = -(-rows // ITEMS // PER_VIDEO) * PER_VIDEO
    chain = {"engines": [["signal", []], ["snr", []]]}
    for number in range(-(-rows // per_item)):
        part = whole.slice(number * per_item, per_item)
        ids = sorted(set(part.column("video_id").to_pylist()))
        videos = tuple(Planned(video, False, PER_VIDEO, 0.0, None, None, "0" * 64, None) for video in ids)
        name, inputs = f"{number:05d}-{number:08x}", {"tar": ["token", "0" * 64]}
        entries = [Entry(video, "done", "1" * 64, 1, inputs=inputs, counts={"segments": 50}) for video in ids]
        item = Item(name, videos, tuple(entries))
        key, data = shard_key(context, item), shards.encode(part, context.run.metadata())
        store.replace(key, data, None)
        described = sidecars.known(context.workspace, key, provenance.sha256(data), len(data))
        tars = {f"tar:{video}": described for video in ids}
        sidecars.write(store, key, sidecars.content(
            context, "validate-shard", stats={}, inputs=tars, outputs={"shard": described}, chain=chain,
            engine_versions={"signal": "1", "snr": "1"}))  # fmt: skip
        ledger.save(store, context.stage("validate"), name, entries)
        made.append(item)
    return made


def rejudged(folder: Path, rows: int) -> float:
    """Return the seconds of CPU that the stored results take: all that `validate --rejudge` does but to start Beam."""
    settings = replace(Settings(), corpus=replace(Corpus(), workspace=str(folder / "workspace")))
    context = Context(Run("r", settings.corpus.workspace, "validate", "", seq=2), settings)
    todo = stored(context, rows)
    thresholds = (("too_quiet_dbfs", -40.0), ("margin_too_quiet_dbfs", 1.0), ("duration_outlier_iqr", 2.0))
    chain = ChainSpec((("signal", thresholds), ("snr", (("snr_low", 10.0),))))
    began, cpu = time.perf_counter(), time.process_time()
    for sidecar in rejudging.finished(context, todo).values():
        rejudging.check_measures(chain, sidecar)
    again = rejudging.Rejudge(context, chain, {})
    failed = sum(int(entry.counts.get("failed", 0)) for item in todo for entry in again(item))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    told = f"{rows:,} stored results in {len(todo)} shards decided again in"
    print(f"{told} {took:.1f} s ({cpu:.1f} s of CPU): {failed:,} failed")
    return cpu


def chains(model: str, stand_in: Callable[[], str]) -> Iterator[tuple[str, ChainSpec, int]]:
    """Return each engine as a chain of its own, and how many segments it gets at once."""
    for name in ("signal", "loudness", "vad", "snr"):
        yield name, ChainSpec(((name, ()),)), 1
    for batch in (1, 8):
        settings = (("model", model or stand_in()), ("batch", batch))
        what = "" if model else " (no model: a single matrix)"
        yield f"asr, batch {batch}{what}", ChainSpec((("asr", settings),)), batch


def main() -> int:
    """Measure, and print a line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--model", default="")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    flacs = list(given(args.audio) if args.audio else made(args.minutes))
    print(f"{len(flacs)} segments, {sum(map(seconds_of, flacs)) / 60:.1f} min of audio, one core")
    with tempfile.TemporaryDirectory() as folder:

        def stand_in() -> str:
            from tonespeech import build

            return str(build(Path(folder) / "model"))

        for name, spec, together in chains(args.model, stand_in):
            times, spent = factor(flacs, spec, together)
            print(f"{name:40} {times:>9,.0f} x real time ({spent:.2f} s)")
        return int(rejudged(Path(folder), args.rows) >= LIMIT_S)


if __name__ == "__main__":
    raise SystemExit(main())
