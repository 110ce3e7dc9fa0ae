"""The shards of an embedding: written once under names of the plan, and which rows of all of them are current.

A folder of shards is written by one run after another; each writing has a number, `DIR/{number:06d}-{run}/…`, that its
shards carry too. Of a file or segment the rows of the highest writing count, all others have been replaced; rows of
many windows (`fixed`), whose keys name the window, are counted by themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resplice.io import conditional, shards
from resplice.io.store import Store, mapped
from resplice.transforms import provenance
from resplice.transforms.embedding import Present, Vector
from resplice.transforms.library import Identity
from resplice.transforms.records import Damage, UserError
from resplice.transforms.windows import FIXED

SUFFIX = ".parquet"
WRITING, EMBEDDER, WINDOWS, RUN = "writing", "embedder_digest", "windows", "run_id"
OF_A_FILE = {"path": pa.string()}
OF_A_SEGMENT = {"video_id": pa.string(), "segment_file": pa.string()}
COLUMNS: dict[str, pa.DataType] = {
    "content_sha256": pa.string(), "embedder": pa.string(), "embedder_digest": pa.string(), "windows": pa.string(),
    "start_s": pa.float64(), "dim": pa.int64(), "vector": pa.list_(pa.float32()), "duration_s": pa.float64(),
    "sample_rate": pa.int64(), "run_id": pa.string(),
}  # fmt: skip
"""The columns of a shard after its key and owner; the vectors of one shard are lists of one size."""
_RESULT = {"status": pa.string(), "reasons": pa.list_(pa.string())}


def folder(writing: int, run_id: str) -> str:
    """Return the folder of a writing."""
    return f"{writing:06d}-{run_id}"


def claim(writing: int) -> str:
    """Return the key of the object that gives a number to one run, whose name it holds; it is created only."""
    return f"{writing:06d}.claim"


def encode(
    rows: Sequence[Mapping[str, Any]], vectors: Sequence[NDArray[np.float32]], of_videos: bool, with_results: bool,
    metadata: Mapping[str, str],
) -> bytes:  # fmt: skip
    """Return a shard as parquet bytes; `vectors` have one shape (dim,), a row each."""
    dim, owner = len(vectors[0]), OF_A_SEGMENT if of_videos else OF_A_FILE
    wanted = {"key": pa.string(), **owner, **COLUMNS, **(_RESULT if with_results else {})}
    kinds = {**wanted, "vector": pa.list_(pa.float32(), dim)}
    flat = pa.array(np.concatenate(vectors).astype(np.float32, copy=False))
    columns = [
        pa.FixedSizeListArray.from_arrays(flat, dim) if name == "vector" else pa.array([r[name] for r in rows], kind)
        for name, kind in kinds.items()
    ]
    return shards.encode(pa.table(columns, names=list(kinds)), metadata)


def publish(store: Store, key: str, data: bytes) -> None:
    """Create a shard. What is there under its name from before, e.g. of a file that could not be read then, stays:
    rows that it lacks make a shard beside it. RuntimeError if the same input gave other vectors.
    """
    if conditional.create(store, key, data):
        return
    before, now = _by_row(whole(store, key)), _by_row(pq.read_table(pa.BufferReader(data)))
    if any(before[row] != now[row] for row in before.keys() & now.keys()):
        raise RuntimeError(f"{store.url}/{key} is there with other vectors: an embedder is not deterministic")
    if now.keys() - before.keys():
        name = f"{key.removesuffix(SUFFIX)}_{provenance.sha256(data)[:12]}{SUFFIX}"  # sorts after the first
        if not conditional.create(store, name, data):
            raise RuntimeError(f"{store.url}/{name} is there with other bytes")


def agreed_dim(store: Store, stage: str, embedder: str, dim: int) -> int:
    """Return how many numbers a vector of an embedder has in a run: what the first of its processes that asked said."""
    key, said = f"{stage}/dims/{embedder}", str(dim).encode()
    return dim if conditional.create(store, key, said) else int(store.read(key))


def _by_row(table: pa.Table) -> dict[tuple[str, str], bytes]:
    """Return the bytes of each vector by its key and content."""
    names = zip(table.column("key").to_pylist(), table.column("content_sha256").to_pylist(), strict=True)
    return {name: vector.tobytes() for name, vector in zip(names, matrix(table), strict=True)}


class Index:
    """The current rows of a folder of shards, by file or segment: those of one window each, or of `many`.

    `dims`: how many numbers vectors have, by the digest of their embedder. A shard never changes: it is read once.
    """

    def __init__(self, store: Store, many: bool = False) -> None:
        self._store, self._many = store, many
        self._read: set[str] = set()
        self.present: dict[str, Present] = {}
        self.foreign: list[str] = []
        self.owners: dict[tuple[int, str], set[str]] = {}
        self.dims: dict[str, int] = {}
        self.writing, self.run_id = 0, ""

    def refresh(self) -> None:
        """Read the shards that are new. UserError for one that is broken."""
        keys = [head.key for head in self._store.list() if head.key.endswith(SUFFIX) and head.key not in self._read]
        for key, (table, metadata) in zip(keys, mapped(self._store, self._load, keys), strict=True):
            self._read.add(key)
            if WRITING.encode() in metadata:
                self._take(key, table, metadata)
            else:
                self.foreign.append(key)

    @property
    def shards(self) -> list[str]:
        """Return the keys of all shards that were read, sorted."""
        return sorted(self._read.difference(self.foreign))

    def _load(self, key: str) -> tuple[pa.Table, Mapping[bytes, bytes]]:
        with _opened(self._store, key, own=True) as file:
            wanted = ("path", "video_id", "segment_file", "content_sha256", "dim", *_RESULT)
            names = [name for name in wanted if name in file.schema_arrow.names]
            return file.read(columns=names), file.metadata.metadata or {}

    def _take(self, key: str, table: pa.Table, metadata: Mapping[bytes, bytes]) -> None:
        said = {name: metadata.get(name.encode(), b"").decode() for name in (WRITING, EMBEDDER, WINDOWS, RUN)}
        writing = int(said[WRITING] or 0), said[RUN]
        if writing > (self.writing, self.run_id):
            self.writing, self.run_id = writing
        if len(table):
            self.dims.setdefault(said[EMBEDDER], table.column("dim")[0].as_py())
        if said[WINDOWS].startswith(FIXED) != self._many:
            return
        owners, contents = owners_of(table), table.column("content_sha256").to_pylist()
        self.owners.setdefault(writing, set()).update(owners)
        results = table.select(list(_RESULT)).to_pylist() if set(_RESULT) <= set(table.column_names) else None
        first = 0
        for row, owner in enumerate(owners):
            if row + 1 == len(owners) or owners[row + 1] != owner:
                there = self.present.get(owner)
                if there is None or writing >= there.writing:
                    identity = Identity(contents[row], said[EMBEDDER], said[WINDOWS])
                    at = Vector(key, first, row + 1 - first)
                    self.present[owner] = Present(identity, writing, at, results[row] if results else None)
                first = row + 1

    def begin(self, run_id: str, replaced: Sequence[Present], resume: bool) -> int:
        """Return the number of the writing of a run: a new one, which no other run gets; with `resume` its last one,
        unless another run has written since, or it would itself replace rows of that.
        """
        own = self.run_id == run_id and not any(there.writing == (self.writing, run_id) for there in replaced)
        if resume and own:
            return self.writing
        numbers = itertools.count(self.writing + 1)
        return next(n for n in numbers if conditional.create(self._store, claim(n), run_id.encode()))

    def of_run(self, run_id: str) -> set[str]:
        """Return the files or segments that have rows of a run, current or not."""
        return {owner for (_, run), owners in self.owners.items() if run == run_id for owner in owners}


def owners_of(table: pa.Table) -> list[str]:
    """Return the file or segment of each row: its path, or `video_id/stem`."""
    if "path" in table.column_names:
        return table.column("path").to_pylist()  # type: ignore[no-any-return]
    videos, segments = (table.column(name).to_pylist() for name in ("video_id", "segment_file"))
    return [f"{video}/{segment}" for video, segment in zip(videos, segments, strict=True)]


def read(store: Store, at: Vector) -> pa.Table:
    """Return the rows of a unit."""
    return whole(store, at.shard).slice(at.first, at.rows)


def whole(store: Store, key: str) -> pa.Table:
    """Return all rows of a shard."""
    with _opened(store, key) as file:
        return file.read()


@contextmanager
def _opened(store: Store, key: str, own: bool = False) -> Iterator[pq.ParquetFile]:
    """Open a shard. UserError, also while it is read, for one that is broken: its rows can be made again."""
    try:
        with shards.open_file(store, key, own) as file:
            yield file
    except (Damage, pa.ArrowException, OSError) as error:
        told = error if isinstance(error, Damage) else shards.unreadable(key, error)
        if not isinstance(told, Damage):
            raise
        raise UserError(
            f"{store.url}/{key} cannot be read ({told.code}: {told.text.removeprefix(f'{key}: ')}): restore it, or "
            "delete it and embed with --resume, which makes its rows again"
        ) from None


def matrix(table: pa.Table) -> NDArray[np.float32]:
    """Return the vectors of some rows, shape (rows, dim)."""
    column = table.column("vector").combine_chunks()
    return np.asarray(column.flatten(), np.float32).reshape(len(table), -1)


def indexes(store: Store) -> tuple[Index, Index]:
    """Return what is current in a folder: rows of one window each, and rows of many."""
    both = Index(store), Index(store, many=True)
    for index in both:
        index.refresh()
    return both


def current(store: Store, both: Sequence[Index] = ()) -> Iterator[tuple[str, pa.Table]]:
    """Yield of each shard that has current rows its key and these rows, in the order of the shards; `both` are the
    indexes, if they were read before.
    """
    spans: dict[str, list[Vector]] = {}
    for index in both or indexes(store):
        for there in index.present.values():
            spans.setdefault(there.at.shard, []).append(there.at)
    for key in sorted(spans):
        table = whole(store, key)
        rows = sorted(row for at in spans[key] for row in range(at.first, at.first + at.rows))
        yield key, table.take(pa.array(rows, pa.int64()))
