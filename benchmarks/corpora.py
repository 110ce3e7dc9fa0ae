"""Synthetic corpora of any size, made by column: rows, sparse tars with the index of an earlier baseline, history."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import adbc_driver_sqlite.dbapi
import hollow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from planted import RATE, Damage, Numbers, Plan, Style, samples

from resplice.io import refusals, results, shards, sidecars, tarindex, work
from resplice.io.context import Context
from resplice.io.judging import shard_key
from resplice.io.local import local_token
from resplice.io.tarstate import RAW, TRANSCRIBED
from resplice.pipelines import config
from resplice.pipelines.baseline import World
from resplice.transforms import provenance
from resplice.transforms.provenance import Run
from resplice.transforms.ranges import partition

AT_ONCE = 10_000
"""Videos whose rows are made together."""
PER_SHARD = 1_000_000
EARLIER = "earlier"


@dataclass(frozen=True)
class Made:
    """A corpus that was made: what the commands should find in it."""

    videos: int
    rows: int
    split_rows: int
    historical_rows: int
    affected: int


def make(root: Path, videos: int) -> Made:
    """Make a corpus of so many videos."""
    plan = Plan(videos)
    hollow.begin(root)
    _add_rows(root, plan)
    _write_tars(root, plan)
    historical = _write_history(root, plan)
    split = int(plan.counts[np.isin(plan.styles, (Style.SPLIT, Style.BUG))].sum())
    return Made(videos, int(plan.counts.sum()), split, historical, int((plan.damages > 0).sum()))


def _add_rows(root: Path, plan: Plan) -> None:
    """Fill both tables of the database."""
    rng, first = np.random.default_rng(1), 0
    texts, moments = _texts(rng), _moments()
    with adbc_driver_sqlite.dbapi.connect(str(root / "corpus.sqlite")) as database, database.cursor() as cursor:
        cursor.execute("pragma cache_size = -200000")
        for start in range(0, plan.videos, AT_ONCE):
            numbers = np.arange(start, min(start + AT_ONCE, plan.videos))
            of_row, place = plan.rows(numbers)
            rows = {
                "id": pa.array(np.arange(first, first + len(place))),
                "video_id": plan.ids.take(pa.array(of_row)),
                "segment_file": plan.names(of_row, place),
                "transcription": texts.take(pa.array(rng.integers(0, len(texts), len(place)))),
                "language": pa.array(["de", "en", "fr"]).take(pa.array(of_row % 3)),
                "duration_s": pa.array(samples(of_row, place) / RATE),
                "created_at": moments.take(pa.array((of_row + place) % len(moments))),
            }
            cursor.adbc_ingest("transcription_results", pa.table(rows), mode="append")
            status = pa.array(["validated", hollow.FAILED]).take(pa.array((plan.damages[numbers] == Damage.STATUS) * 1))
            seen = moments.take(pa.array(numbers % len(moments)))
            names = ("video_id", "status", "validation_status", "updated_at")
            columns = (plan.ids.take(pa.array(numbers)), pa.repeat("done", len(numbers)), status, seen)
            cursor.adbc_ingest("videos", pa.table(columns, names), mode="append")
            database.commit()
            first += len(place)


def _texts(rng: np.random.Generator) -> pa.Array:
    """Return texts of 60 to 100 characters, some of them not ASCII."""
    words = np.array("and the of größe über time people would that when it was façade naïve later".split())  # noqa: SIM905
    drawn = [" ".join(words[rng.integers(0, len(words), 20)]) for _ in range(20_000)]
    return pa.array([text[:size] for text, size in zip(drawn, rng.integers(60, 100, len(drawn)), strict=True)])


def _moments() -> pa.Array:
    return pa.array(np.datetime_as_string(np.datetime64("2025-05-01") + np.arange(90_000) * np.timedelta64(61, "s")))


def _write_history(root: Path, plan: Plan) -> int:
    """Write the historical shards, in each videos of the whole corpus; return their rows."""
    total, count = 0, max(1, int(plan.counts.sum()) // PER_SHARD)
    for index in range(count):
        numbers = np.arange(index, plan.videos, count)
        of_row, place = plan.rows(numbers)
        there = ~((plan.damages[of_row] == Damage.NO_RESULT) & (place == plan.counts[of_row] - 1))
        of_row, place, rng = of_row[there], place[there], np.random.default_rng(index)
        ids, names = plan.ids.take(pa.array(of_row)), plan.names(of_row, place)
        table = pa.table({"video_id": ids, "segment_file": names, **hollow.verdicts(len(place), rng)})
        pq.write_table(table, root / "validation" / f"part-{index:05d}.parquet", compression="zstd")
        total += len(place)
    return total


def _write_tars(root: Path, plan: Plan) -> None:
    """Write both tars of all videos, and the baseline that has read them."""
    bounds = partition(dict(zip(plan.ids.to_pylist(), plan.counts.tolist(), strict=True)))
    stage = root / "workspace" / "runs" / EARLIER / "baseline"
    (stage / "index").mkdir(parents=True)
    (stage / "world.json").write_bytes(provenance.document(asdict(World(bounds, ()))))
    (stage / "baseline.json").write_text("{}\n")
    record = {"run_id": EARLIER, "processes": [{"start": provenance.now()}]}
    (stage.parent / "run.json").write_bytes(provenance.document(record))
    run, ends = (
        Run(EARLIER, "", "baseline", ""),
        [*(plan.ids.index(bound).as_py() + 1 for bound in bounds), plan.videos],
    )
    for index, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        sides = _tars(root, plan, np.arange(start, end), np.random.default_rng(index))
        for kind, table in sides.items():
            data = shards.encode(table, run.metadata())
            (stage / "index" / f"{index:05d}-{kind}.parquet").write_bytes(data)


def _tars(root: Path, plan: Plan, numbers: Numbers, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Write the tars of some videos; return what the index has of them."""
    there = numbers[plan.damages[numbers] != Damage.NO_TAR]
    of_row, place = plan.rows(there)
    counts, raw = plan.originals(numbers)
    stems, damage, last = plan.stems(of_row, place), plan.damages[of_row], place == plan.counts[of_row] - 1
    jsons = stems.filter(pa.array(~((damage == Damage.NO_JSON) & last)))
    of_json = plan.counts[there] - (plan.damages[there] == Damage.NO_JSON)
    extra = (plan.damages[there] == Damage.EXTRA) * 1
    sides = {
        RAW: (numbers, counts, raw, np.full(len(raw), 6 * RATE), 0 * numbers, raw.slice(0, 0), 0 * numbers),
        TRANSCRIBED: (there, plan.counts[there], stems, samples(of_row, place), of_json, jsons, extra),
    }
    tables = {}
    for kind, (videos, of_flac, flacs, lengths, of_it, texts, others) in sides.items():
        ids = plan.ids.take(pa.array(videos))
        suffix = "_transcribed.tar" if kind == TRANSCRIBED else ".tar"
        tokens = [_sparse(root / kind / f"{name}{suffix}", int(size) << 16)
                  for name, size in zip(ids.to_pylist(), of_flac, strict=True)]  # fmt: skip
        more = pa.array([f"{name}/notes.txt" for name in ids.filter(pa.array(others > 0)).to_pylist()], pa.string())
        lists = (_lists(of_flac, _infos(flacs, lengths, rng)), _lists(of_it, texts), _lists(others, more))
        tables[kind] = pa.table([ids, pa.array(tokens), pa.repeat(False, len(ids)), *lists], schema=tarindex.TAR_INDEX)
    return tables


def _sparse(path: Path, size: int) -> str:
    """Make a file without any block; return its version."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.ftruncate(handle, size)
        return local_token(os.fstat(handle))
    finally:
        os.close(handle)


def _infos(stems: pa.Array, lengths: Numbers, rng: np.random.Generator) -> pa.Array:
    """Return FLACs of some stems, each with a sound of its own."""
    count = len(stems)
    md5 = pa.Array.from_buffers(
        pa.string(), count, [None, pa.py_buffer(np.arange(0, 32 * count + 1, 32, np.int32)),
                             pa.py_buffer(rng.bytes(16 * count).hex().encode())],
    )  # fmt: skip
    whole = (pa.array(np.full(count, value)) for value in (RATE, 1, 16))
    return pa.StructArray.from_arrays([stems, *whole, pa.array(lengths), md5], ["stem", *tarindex.INFO])


def _lists(counts: Numbers, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)), values)


def validated(root: Path, videos: int, run_id: str) -> None:
    """Write what `repair` and `validate` leave for the planned videos: a verdict on each row, in real shards."""
    context, plan = _context(root, run_id), Plan(videos)
    planned, found = work.planned(context), _results(plan, run_id)
    for item in work.items(context, "validate", planned):
        made = [row for video in item.videos for row in found[video.video_id].to_pylist()]
        data, key = results.encode(made, "int64", context.run.metadata()), shard_key(context, item)
        path = Path(context.workspace.url) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        described = sidecars.known(context.workspace, key, provenance.sha256(data), len(data))
        content = sidecars.content(context, "validate", stats={}, inputs={}, outputs={"shard": described})
        Path(f"{path}{sidecars.SUFFIX}").write_bytes(provenance.document(content))
    for stage in ("repair", "validate"):
        refusals.write(context.workspace.store, context.stage(stage), [])
        refusals.summarise(context.workspace.store, context.stage(stage), stage, len(planned), len(planned), 0)


def _results(plan: Plan, run_id: str) -> dict[str, pa.Table]:
    """Return the results of each affected video."""
    numbers = np.flatnonzero(plan.damages)
    of_row, place = plan.rows(numbers)
    first = np.cumsum(plan.counts) - plan.counts
    rows = len(place)
    table = pa.table(
        {
            "video_id": plan.ids.take(pa.array(of_row)), "segment_file": plan.stems(of_row, place),
            "db_segment_file": plan.names(of_row, place), "row_id": pa.array(first[of_row] + place),
            "status": pa.repeat("passed", rows), "reasons": pa.array([[]] * rows, pa.list_(pa.string())),
            "engine": pa.repeat("signal", rows), "attempts": pa.repeat(1, rows), "run_id": pa.repeat(run_id, rows),
            "duration_s": pa.array(samples(of_row, place) / RATE), "chars": pa.repeat(80, rows),
        }
    )  # fmt: skip
    ends = np.cumsum(plan.counts[numbers])
    ids = plan.ids.take(pa.array(numbers)).to_pylist()
    return {video: table.slice(end - count, count)
            for video, end, count in zip(ids, ends, plan.counts[numbers], strict=True)}  # fmt: skip


def _context(root: Path, run_id: str) -> Context:
    arguments = hollow.command(root, "validate", root / "workspace", run_id)
    settings = config.resolve(str(root / "resplice.toml"), [f"corpus.workspace={root / 'workspace'}"], {}).settings
    return Context(Run(run_id, str(root / "workspace"), "validate", "", argv=tuple(arguments)), settings)
