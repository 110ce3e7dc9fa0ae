"""The inventory of one range of videos: rows, raw tars and transcribed tars, read once and kept as an index.

The index of range i stands under `baseline/index/`: what the rows mean (`{i}-rows.parquet`, in the order of
`baseline/rows/{i}.parquet`), what is in the tars (`{i}-raw.parquet`, `{i}-transcribed.parquet`) and one row a video
(`{i}-found.parquet`; with its historical rows, `{i}-videos.parquet`). Each name only ever holds the same bytes, so that
two processes of one run do no harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import listing, shards, tarindex
from resplice.io.context import Context
from resplice.io.former import Former
from resplice.io.rows import Row
from resplice.io.store import Head
from resplice.io.tarstate import RAW, TRANSCRIBED, Side, TarState, open_sides
from resplice.transforms import provenance, rowtext, settled
from resplice.transforms.affected import MISSING, OK
from resplice.transforms.audit import RowName, TarContent
from resplice.transforms.flac import StreamInfo
from resplice.transforms.names import read_row, read_row_or_none, segment_of, stem
from resplice.transforms.provenance import shown
from resplice.transforms.ranges import limits
from resplice.transforms.records import Refusal, Segment

VIDEO_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("rows", pa.int64()),
        ("split_rows", pa.int64()),
        ("raw_tar", pa.string()),
        ("raw_token", pa.string()),
        ("raw_bytes", pa.int64()),
        ("transcribed_tar", pa.string()),
        ("transcribed_token", pa.string()),
        ("tar_segments", pa.int64()),
        ("tar_transcriptions", pa.int64()),
        ("historical_rows", pa.int64()),
        ("validation_status", pa.string()),
        ("rows_digest", pa.string()),
    ]
)
ROW_INDEX = pa.schema([("stem", pa.string()), ("duration_s", pa.float64())])


def read_names(rows: Iterable[Row], raw_names: frozenset[str] | None) -> tuple[list[RowName], list[Refusal]]:
    """Read the names of a video's rows; return them, and the refusals of the bad ones."""
    names, bad = [], []
    for row in rows:
        segment: Segment | None = None
        try:
            segment = read_row(row.segment_file, raw_names)
        except Refusal as refusal:
            bad.append(Refusal(refusal.reason, shown(refusal.detail), shown(row.segment_file)))
        names.append(RowName(row.id, shown(row.segment_file), segment, row.duration_s))
    return names, bad


class Inventory:
    """Read one range: write its frozen rows and its index, and yield (range, number of videos).

    `listed` is the object that tells what lies in each range, `snapshot` names the state of the database that is frozen
    ("": it has none), `former` are the baselines that came before.
    """

    def __init__(
        self, context: Context, bounds: Sequence[str], listed: str, snapshot: str = "", former: Sequence[Former] = ()
    ) -> None:
        self._context = context
        self._bounds = tuple(bounds)
        self._listed = listed
        self._snapshot = snapshot
        self._former = tuple(former)

    def __call__(self, index: int) -> Iterator[tuple[int, int]]:
        """Inventory the range."""
        listed = listing.read(self._context.workspace.store, self._listed, index)
        rows, tars = self._rows(index, listed), self._tars(index, listed)
        stems = _stems(rows, tars[RAW])
        videos = _videos(listed, rows, stems, tars)
        self._context.rows_at(self._snapshot).check_snapshot()  # a lost one is frozen anew, perhaps by another thread
        self._write(f"rows/{index:05d}", rows.select(["id", "video_id", "segment_file"]))
        self._write(f"index/{index:05d}-rows", pa.table([stems, rows["duration_s"]], schema=ROW_INDEX))
        for kind, side in tars.items():
            self._write(f"index/{index:05d}-{kind}", side.index)
        self._write(f"index/{index:05d}-found", videos)
        yield index, len(videos)

    def _rows(self, index: int, listed: pa.Table) -> pa.Table:
        """Return the rows of the range, those of a video together."""
        reader, ids = self._context.rows_at(self._snapshot), None
        if not reader.by_range:
            ids = listed.filter(pc.greater(listed["rows"], 0))["video_id"].to_pylist()
        rows = reader.table(*limits(self._bounds, index), ids)
        _, ids, _ = _runs(rows["video_id"])
        return rows if ids == sorted(set(ids)) else shards.sorted_by(rows, "video_id")

    def _tars(self, index: int, listed: pa.Table) -> dict[str, _Tars]:
        """Return both sides: what earlier baselines tell, and for the others what their tars do."""
        store, code = self._context.workspace.store, self._context.run.code
        places = {RAW: self._context.raw.store, TRANSCRIBED: self._context.transcribed.store}
        known, sides = {}, []
        for kind, place in places.items():
            heads = listing.heads(listed, kind)
            keys = [key for one in self._former for key in one.keys(kind, *limits(self._bounds, index))]
            wanted = pa.table([listed["video_id"], listed[f"{kind}_token"]], ["video_id", "token"])
            known[kind] = tarindex.known(store, keys, code, wanted)
            there = set(known[kind]["video_id"].to_pylist())
            sides.append(Side(kind, place, {video: head for video, head in heads.items() if video not in there}))
        names = sorted({video for side in sides for video in side.heads})
        opened = list(zip(names, open_sides(names, *sides), strict=True))
        return {
            side.kind: _Tars.of(known[side.kind], listing.heads(listed, side.kind),
                                {video: states[number] for video, states in opened if video in side.heads})
            for number, side in enumerate(sides)
        }  # fmt: skip

    def _write(self, name: str, table: pa.Table) -> None:
        data = shards.encode(table.combine_chunks(), self._context.run.metadata())
        self._context.workspace.store.replace(f"{self._context.stage('baseline')}/{name}.parquet", data, None)


@dataclass(frozen=True)
class _Tars:
    """The tars of one kind in a range: the index of the readable ones, and (state, token, bytes) of each video."""

    index: pa.Table
    states: dict[str, tuple[str, str | None, int | None]]

    @classmethod
    def of(cls, known: pa.Table, heads: Mapping[str, Head], opened: Mapping[str, TarState]) -> _Tars:
        states = {video: (tar.state, tar.token, tar.bytes) for video, tar in opened.items()}
        for video in known["video_id"].to_pylist():
            states[video] = (OK, heads[video].token, heads[video].size)
        readable = [(video, tar) for video, tar in opened.items() if tar.state == OK]
        return cls(tarindex.joined([known, tarindex.table(readable)]), states)

    def counts(self, name: str) -> dict[str, int]:
        """Return how many members of a kind each readable tar has."""
        lengths = pc.list_value_length(self.index[name]).to_pylist()
        return dict(zip(self.index["video_id"].to_pylist(), lengths, strict=True))

    def names(self, videos: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the FLAC file names of some readable raw tars, as rule 2 of the names wants them."""
        some = self.index.filter(pc.is_in(self.index["video_id"], pa.array(list(videos), pa.string())))
        return {video: frozenset(f"{stem}.flac" for stem in content.flacs)
                for video, (content, _) in tarindex.by_video(some)}  # fmt: skip


def _runs(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str], list[int]]:
    """Return where each run of one value begins, its value, and how long it is."""
    whole = column.combine_chunks()
    if not len(whole):
        return np.zeros(0, np.int64), [], []
    runs = pc.run_end_encode(whole)
    ends = runs.run_ends.to_numpy()
    starts = np.concatenate([[0], ends[:-1]])
    return starts, runs.values.to_pylist(), (ends - starts).tolist()


def _stems(rows: pa.Table, raw: _Tars) -> pa.Array:
    """Return the stem of each row's segment, null where the name is bad."""
    stems, unsure = settled.plain_stems(rows["segment_file"])
    if pc.any(unsure).as_py():
        odd = raw.index.filter(raw.index["split_like"])["video_id"].combine_chunks()
        unsure = pc.and_(unsure, pc.is_in(rows["video_id"], value_set=odd))
        stems = pc.if_else(unsure, None, stems)
    slow = pc.and_(pc.is_null(stems), rows["utf8"])
    if not pc.any(slow).as_py():
        return stems.combine_chunks()
    some = rows.filter(slow).select(["video_id", "segment_file"]).to_pylist()
    raw_names = raw.names({row["video_id"] for row in some})
    read = [read_row_or_none(row["segment_file"], raw_names.get(row["video_id"])) for row in some]
    found = pa.array([segment and stem(segment) for segment in read], pa.string())
    return pc.replace_with_mask(stems.combine_chunks(), slow.combine_chunks(), found)


def _videos(listed: pa.Table, rows: pa.Table, stems: pa.Array, tars: Mapping[str, _Tars]) -> pa.Table:
    """Return one row a video: all that are listed, or have a row."""
    starts, with_rows, counts = _runs(rows["video_id"])
    split = pc.fill_null(settled.splits(stems), False).to_numpy(zero_copy_only=False)
    splits = np.add.reduceat(split, starts, dtype=np.int64).tolist() if len(starts) else []
    digests = rowtext.digests(rows["text"], counts)
    of_rows = dict(zip(with_rows, zip(counts, splits, digests, strict=True), strict=True))
    statuses = dict(zip(*(listed[name].to_pylist() for name in ("video_id", "status")), strict=True))
    flacs, jsons = (tars[TRANSCRIBED].counts(name) for name in ("flacs", "jsons"))
    nothing = (0, 0, provenance.rows_digest([]))

    def facts(video: str) -> tuple[Any, ...]:
        number, of_splits, digest = of_rows.get(video, nothing)
        raw, token, size = tars[RAW].states.get(video, (MISSING, None, None))
        transcribed, of_it, _ = tars[TRANSCRIBED].states.get(video, (MISSING, None, None))
        return (video, number, of_splits, raw, token, size, transcribed, of_it, flacs.get(video), jsons.get(video), 0,
                statuses.get(video), digest)  # fmt: skip

    found = [facts(video) for video in sorted({*statuses, *of_rows})]
    columns = [pa.array([row[place] for row in found], kind.type) for place, kind in enumerate(VIDEO_SCHEMA)]
    return pa.table(columns, schema=VIDEO_SCHEMA)


class IndexedRange:
    """The index of one range as `Inventory` wrote it, per video; `videos` restricts it to some."""

    def __init__(self, context: Context, index: int, videos: pa.Array | None = None) -> None:
        self._store = context.workspace.store
        self._stage = context.stage("baseline")
        self._index = index
        self._some = videos

    def videos(self) -> list[dict[str, Any]]:
        """Return one record a video (VIDEO_SCHEMA), sorted."""
        found: list[dict[str, Any]] = self._restricted(self.read("index", "-videos")).to_pylist()
        return found

    def rows_table(self, *columns: str) -> pa.Table:
        """Return columns of the frozen rows, beside their stems and durations."""
        index = self.read("index", "-rows")
        return self.read("rows", "", columns).append_column("stem", index["stem"]).append_column(
            "duration_s", index["duration_s"]
        )  # fmt: skip

    def rows(self) -> dict[str, list[RowName]]:
        """Return the rows of each video, by video and id."""
        found: dict[str, list[RowName]] = {}
        for row in self._restricted(self.rows_table("id", "video_id", "segment_file")).to_pylist():
            segment = None if row["stem"] is None else segment_of(row["stem"])
            name = RowName(row["id"], row["segment_file"], segment, row["duration_s"])
            found.setdefault(row["video_id"], []).append(name)
        return found

    def tars(self, kind: str) -> dict[str, tuple[TarContent, dict[str, StreamInfo | None]]]:
        """Return the members of each readable raw or transcribed tar, with the STREAMINFO of its FLACs."""
        return dict(tarindex.by_video(self._restricted(self.read("index", f"-{kind}"))))

    def read(self, folder: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Return columns of a file of the range."""
        file = shards.open_file(self._store, f"{self._stage}/{folder}/{self._index:05d}{name}.parquet")
        return file.read(columns=columns)

    def _restricted(self, table: pa.Table) -> pa.Table:
        return table if self._some is None else table.filter(pc.is_in(table["video_id"], value_set=self._some))
